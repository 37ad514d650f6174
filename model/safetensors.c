/*
 * Reading .safetensors files. Nothing in a file is believed: every number of the header is checked
 * against the file's size before an address is made of it.
 */
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/file_error.h"

enum { LENGTH_BYTES = 8 }; /* the header's length, in front of it */

static const struct {
    const char *name;
    size_t size;
} types[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}};

static bool map_file(tnl_safetensors *file, const tnl_file_error *to) {
    int descriptor = open(to->path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return tnl_file_fail(to, NULL, "%s", strerror(errno));
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
        tnl_file_fail(to, NULL, "%s", strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        tnl_file_fail(to, NULL, "not a regular file");
    } else if (status.st_size == 0) {
        tnl_file_fail(to, NULL, "is empty");
    } else {
        void *map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (map == MAP_FAILED) {
            tnl_file_fail(to, NULL, "%s", strerror(errno));
        } else {
            file->bytes = file->map = map;
            file->byte_count = (size_t)status.st_size;
        }
    }
    close(descriptor); /* the mapping stays */
    return file->map != NULL;
}

static bool parse_header(tnl_safetensors *file, uint64_t *header_bytes, const tnl_file_error *to) {
    const unsigned char *bytes = file->bytes;
    uint64_t length = 0;
    if (file->byte_count < LENGTH_BYTES)
        return tnl_file_fail(to, NULL, "is %zu bytes long, expected at least %d", file->byte_count,
                             LENGTH_BYTES);
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > file->byte_count - LENGTH_BYTES)
        return tnl_file_fail(
            to, NULL, "header length is %llu, expected at most %llu, what the file has",
            (unsigned long long)length, (unsigned long long)(file->byte_count - LENGTH_BYTES));
    json_error_t error;
    file->header =
        json_loadb((const char *)bytes + LENGTH_BYTES, length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return tnl_file_fail(to, NULL, "header is not JSON: %s at byte %d", error.text,
                             error.position);
    if (!json_is_object(file->header))
        return tnl_file_fail(to, NULL, "header is not a JSON object");
    *header_bytes = length;
    return true;
}

static bool read_type(tnl_safetensors_tensor *tensor, size_t *size, const json_t *entry,
                      const tnl_file_error *to) {
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (!name)
        return tnl_file_fail(to, tensor->name, "dtype is missing or no string");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(name, types[i].name) == 0) {
            tensor->type = types[i].name;
            *size = types[i].size;
            return true;
        }
    }
    return tnl_file_fail(to, tensor->name,
                         "dtype is %.32s, expected F64, F32, F16, BF16, I64 or I32", name);
}

/* The shape, and in *bytes, which holds an element's size before, the whole tensor's. */
static bool read_shape(tnl_safetensors_tensor *tensor, size_t *bytes, const json_t *entry,
                       const tnl_file_error *to) {
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return tnl_file_fail(to, tensor->name, "shape is missing or no array");
    if (json_array_size(shape) > TNL_SAFETENSORS_MAX_RANK)
        return tnl_file_fail(to, tensor->name, "shape has %zu dimensions, expected at most %d",
                             json_array_size(shape), TNL_SAFETENSORS_MAX_RANK);
    tensor->rank = (int)json_array_size(shape);
    for (int i = 0; i < tensor->rank; i++) {
        const json_t *length = json_array_get(shape, (size_t)i);
        if (!json_is_integer(length) || json_integer_value(length) < 0)
            return tnl_file_fail(to, tensor->name, "shape[%d] is not a whole number >= 0", i);
        tensor->shape[i] = json_integer_value(length);
        if (__builtin_mul_overflow(*bytes, (size_t)tensor->shape[i], bytes))
            return tnl_file_fail(to, tensor->name, "shape[%d] is %lld: the size overflows", i,
                                 (long long)tensor->shape[i]);
    }
    return true;
}

/* One tensor's entry. data: the bytes behind the header. */
static bool read_entry(tnl_safetensors_tensor *tensor, const json_t *entry, const char *data,
                       size_t data_bytes, const tnl_file_error *to) {
    size_t bytes = 0;
    if (!json_is_object(entry))
        return tnl_file_fail(to, tensor->name, "entry is not a JSON object");
    if (!read_type(tensor, &bytes, entry, to) || !read_shape(tensor, &bytes, entry, to))
        return false;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return tnl_file_fail(to, tensor->name, "data_offsets is missing or not two whole numbers");
    long long begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin)
        return tnl_file_fail(to, tensor->name,
                             "data_offsets are %lld, %lld, expected 0 <= begin <= end", begin, end);
    if ((unsigned long long)end > data_bytes)
        return tnl_file_fail(to, tensor->name,
                             "data end at %lld, expected at most %zu, what the file has", end,
                             data_bytes);
    if ((size_t)(end - begin) != bytes)
        return tnl_file_fail(to, tensor->name,
                             "data are %lld bytes long, expected %zu for the shape", end - begin,
                             bytes);
    tensor->data = data + begin;
    tensor->bytes = bytes;
    return true;
}

static bool read_metadata(const json_t *metadata, const tnl_file_error *to) {
    if (!json_is_object(metadata))
        return tnl_file_fail(to, "__metadata__", "is not a JSON object");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value) {
        if (!json_is_string(value))
            return tnl_file_fail(to, "__metadata__", "%.64s is not a string", key);
    }
    return true;
}

static int by_data(const void *left, const void *right) {
    const tnl_safetensors_tensor *a = left, *b = right;
    if (a->data != b->data)
        return a->data < b->data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes); /* empty ones first */
}

/* Sorted, each tensor must begin where the one before it ended, and the last end the file. */
static bool check_order(tnl_safetensors *file, const char *data, size_t data_bytes,
                        const tnl_file_error *to) {
    qsort(file->tensor, file->count, sizeof *file->tensor, by_data);
    size_t end = 0;
    for (size_t i = 0; i < file->count; i++) {
        size_t begin = (size_t)((const char *)file->tensor[i].data - data);
        if (begin != end)
            return tnl_file_fail(to, file->tensor[i].name, "data begin at %zu, expected %zu: %s",
                                 begin, end,
                                 begin < end ? "they overlap another tensor's" : "a gap");
        end = begin + file->tensor[i].bytes;
    }
    if (end != data_bytes)
        return tnl_file_fail(to, NULL, "%zu bytes behind the last tensor, expected none",
                             data_bytes - end);
    return true;
}

static bool read_tensors(tnl_safetensors *file, uint64_t header_bytes, const tnl_file_error *to) {
    const char *data = (const char *)file->bytes + LENGTH_BYTES + header_bytes;
    size_t data_bytes = file->byte_count - LENGTH_BYTES - header_bytes;
    file->tensor = calloc(json_object_size(file->header) + 1, sizeof *file->tensor);
    if (!file->tensor)
        return tnl_file_fail(to, NULL, "out of memory");
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            if (!read_metadata(entry, to))
                return false;
            continue;
        }
        tnl_safetensors_tensor *tensor = &file->tensor[file->count++];
        tensor->name = name;
        if (!read_entry(tensor, entry, data, data_bytes, to))
            return false;
    }
    return check_order(file, data, data_bytes, to);
}

static bool parse(tnl_safetensors *file, const tnl_file_error *to) {
    uint64_t header_bytes = 0;
    return parse_header(file, &header_bytes, to) && read_tensors(file, header_bytes, to);
}

bool tnl_safetensors_open(tnl_safetensors *file, const char *path, char *error,
                          size_t error_bytes) {
    const tnl_file_error to = {path, error, error_bytes};
    memset(file, 0, sizeof *file);
    if (map_file(file, &to) && parse(file, &to))
        return true;
    tnl_safetensors_close(file);
    return false;
}

bool tnl_safetensors_parse(tnl_safetensors *file, const char *path, const void *bytes,
                           size_t byte_count, char *error, size_t error_bytes) {
    const tnl_file_error to = {path, error, error_bytes};
    *file = (tnl_safetensors){.bytes = bytes, .byte_count = byte_count};
    if (parse(file, &to))
        return true;
    tnl_safetensors_close(file);
    return false;
}

void tnl_safetensors_close(tnl_safetensors *file) {
    json_decref(file->header);
    free(file->tensor);
    if (file->map)
        munmap(file->map, file->byte_count);
    memset(file, 0, sizeof *file);
}

const tnl_safetensors_tensor *tnl_safetensors_find(const tnl_safetensors *file, const char *name) {
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->tensor[i].name, name) == 0)
            return &file->tensor[i];
    return NULL;
}

const char *tnl_safetensors_metadata(const tnl_safetensors *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}
