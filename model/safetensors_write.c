/* Writing .safetensors files (model/safetensors_write.h). */
#include "model/safetensors_write.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LENGTH_BYTES = 8, HEADER_UNIT = 64 }; /* data begin at a multiple of the latter */

static bool fail(const tnl_safetensors_writer *writer, const char *path, const char *text) {
    snprintf(writer->error, writer->error_bytes, "%s: can't be written: %s", path, text);
    return false;
}

/* {"name":{"dtype":..,"shape":[..],"data_offsets":[..]},..}; NULL: out of memory. */
static json_t *make_header(const tnl_safetensors_tensor *tensor, size_t count, json_t *metadata,
                           size_t *data_bytes) {
    json_t *header = json_object();
    if (metadata)
        json_object_set(header, "__metadata__", metadata);
    *data_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        json_t *shape = json_array();
        for (int j = 0; j < tensor[i].rank; j++)
            json_array_append_new(shape, json_integer(tensor[i].shape[j]));
        const size_t end = *data_bytes + tensor[i].bytes;
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor[i].type, "shape", shape,
                                  "data_offsets", (json_int_t)*data_bytes, (json_int_t)end);
        if (json_object_set_new(header, tensor[i].name, entry) != 0) {
            json_decref(header);
            return NULL;
        }
        *data_bytes = end;
    }
    return header;
}

/* The length, and the header with spaces behind it. */
static bool write_header(FILE *stream, const char *text) {
    const size_t length = strlen(text);
    const size_t padded =
        (LENGTH_BYTES + length + HEADER_UNIT - 1) / HEADER_UNIT * HEADER_UNIT - LENGTH_BYTES;
    unsigned char bytes[LENGTH_BYTES];
    for (int i = 0; i < LENGTH_BYTES; i++)
        bytes[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    return fwrite(bytes, 1, LENGTH_BYTES, stream) == LENGTH_BYTES &&
           fprintf(stream, "%-*s", (int)padded, text) == (int)padded;
}

bool tnl_safetensors_create(tnl_safetensors_writer *writer, const char *path,
                            const tnl_safetensors_tensor *tensor, size_t count, json_t *metadata,
                            char *error, size_t error_bytes) {
    static const char suffix[] = ".part";
    *writer = (tnl_safetensors_writer){.error = error, .error_bytes = error_bytes};
    json_t *header = make_header(tensor, count, metadata, &writer->left);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    const size_t size = strlen(path) + sizeof suffix;
    json_decref(header);
    writer->path = strdup(path);
    writer->temporary = malloc(size);
    bool good = text && writer->path && writer->temporary;
    if (good) {
        snprintf(writer->temporary, size, "%s%s", path, suffix);
        writer->stream = fopen(writer->temporary, "wbe");
        good = writer->stream && write_header(writer->stream, text);
    }
    free(text);
    if (!good) {
        fail(writer, path, strerror(errno));
        tnl_safetensors_finish(writer, false);
    }
    return good;
}

bool tnl_safetensors_append(tnl_safetensors_writer *writer, const void *data, size_t bytes) {
    if (bytes > writer->left)
        return fail(writer, writer->path, "more data than tensors");
    writer->left -= bytes;
    return fwrite(data, 1, bytes, writer->stream) == bytes ||
           fail(writer, writer->path, strerror(errno));
}

bool tnl_safetensors_finish(tnl_safetensors_writer *writer, bool good) {
    if (good && writer->left > 0)
        good = fail(writer, writer->path, "less data than tensors");
    if (writer->stream) {
        const bool flushed = fflush(writer->stream) == 0 && fsync(fileno(writer->stream)) == 0;
        const bool closed = fclose(writer->stream) == 0;
        if (good && (!flushed || !closed || rename(writer->temporary, writer->path) != 0))
            good = fail(writer, writer->path, strerror(errno));
        if (!good)
            remove(writer->temporary);
    }
    free(writer->path);
    free(writer->temporary);
    *writer = (tnl_safetensors_writer){0};
    return good;
}
