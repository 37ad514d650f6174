/* Doing damage to model directories (verify/damage.h). */
#include "verify/damage.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/safetensors_write.h"
#include "model/text_file.h"
#include "program/random_checkpoint.h"

enum { LENGTH_BYTES = 8 };

const char *damage_path(const damage_scene *s, const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", s->directory, name);
    return path;
}

static void remove_files(const damage_scene *s) {
    static const char *const files[] = {
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(damage_path(s, files[i]));
}

void damage_clear(const damage_scene *s) {
    remove_files(s);
    rmdir(s->directory);
}

tnl_config damage_small_config(void) {
    return (tnl_config){.vocab_size = 64,
                        .embed_dim = 32,
                        .hidden_dim = 32,
                        .glu_dim = 48,
                        .layers = 2,
                        .heads = 2,
                        .lrpe = {0, 1},
                        .tie = TNL_TIE_NO,
                        .bos = 1,
                        .eos = 2,
                        .pad = -1};
}

bool damage_restore(const damage_scene *s) {
    char error[512];
    const random_checkpoint what = {
        .config = &s->config, .type = TNL_FLOAT32, .seed = 7, .shard_bytes = s->shard_bytes};
    remove_files(s);
    return random_checkpoint_write(&what, s->directory, error, sizeof error);
}

unsigned char *damage_read(const damage_scene *s, const char *name, size_t *count) {
    char error[512];
    return (unsigned char *)tnl_read_text(damage_path(s, name), count, error, sizeof error);
}

bool damage_write(const damage_scene *s, const char *name, const void *bytes, size_t count) {
    FILE *stream = fopen(damage_path(s, name), "wb");
    const bool written = stream && fwrite(bytes, 1, count, stream) == count;
    return stream && fclose(stream) == 0 && written;
}

/* Set or remove a key of an object; false: the value is no JSON. */
static bool change(json_t *object, const char *key, const char *value) {
    if (!value)
        return json_object_del(object, key) == 0;
    json_t *made = json_loads(value, JSON_DECODE_ANY, NULL);
    return made && json_object_set_new(object, key, made) == 0;
}

bool damage_json(const damage_scene *s, const char *name, const char *key, const char *value) {
    json_t *root = json_load_file(damage_path(s, name), 0, NULL);
    const bool done =
        root && change(root, key, value) && json_dump_file(root, damage_path(s, name), 0) == 0;
    json_decref(root);
    return done;
}

static uint64_t header_length(const unsigned char *bytes) {
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | bytes[i];
    return length;
}

/* A file with this header, and the data that were behind another. */
static bool write_with_header(const damage_scene *s, const char *name, const json_t *header,
                              const unsigned char *data, size_t data_bytes) {
    char *text = json_dumps(header, JSON_COMPACT);
    const uint64_t length = text ? strlen(text) : 0;
    unsigned char *bytes = malloc(LENGTH_BYTES + length + data_bytes);
    bool written = text && bytes;
    if (written) {
        for (int i = 0; i < LENGTH_BYTES; i++)
            bytes[i] = (unsigned char)(length >> 8 * i);
        memcpy(bytes + LENGTH_BYTES, text, length);
        memcpy(bytes + LENGTH_BYTES + length, data, data_bytes);
        written = damage_write(s, name, bytes, LENGTH_BYTES + length + data_bytes);
    }
    free(bytes);
    free(text);
    return written;
}

bool damage_header(const damage_scene *s, const char *name, const char *tensor, const char *key,
                   const char *value) {
    size_t count;
    unsigned char *bytes = damage_read(s, name, &count);
    if (!bytes)
        return false;
    const uint64_t length = header_length(bytes);
    json_t *header = json_loadb((const char *)bytes + LENGTH_BYTES, length, 0, NULL);
    json_t *object = key ? json_object_get(header, tensor) : header;
    const bool done = object && change(object, key ? key : tensor, value) &&
                      write_with_header(s, name, header, bytes + LENGTH_BYTES + length,
                                        count - LENGTH_BYTES - length);
    json_decref(header);
    free(bytes);
    return done;
}

bool damage_tensors(const damage_scene *s, const char *name, const char *without, const char *more,
                    const char *like) {
    char error[512];
    tnl_safetensors file;
    tnl_safetensors_writer writer;
    if (!tnl_safetensors_open(&file, damage_path(s, name), error, sizeof error))
        return false;
    tnl_safetensors_tensor *kept = calloc(file.count + 1, sizeof *kept);
    size_t count = 0;
    for (size_t i = 0; kept && i < file.count; i++)
        if (!without || strcmp(file.tensor[i].name, without) != 0)
            kept[count++] = file.tensor[i];
    const tnl_safetensors_tensor *model = like ? tnl_safetensors_find(&file, like) : NULL;
    if (kept && model) {
        kept[count] = *model;
        kept[count++].name = more;
    }
    bool done = kept && !like == !model &&
                tnl_safetensors_create(&writer, damage_path(s, name), kept, count, NULL, error,
                                       sizeof error);
    if (done) {
        for (size_t i = 0; done && i < count; i++)
            done = tnl_safetensors_append(&writer, kept[i].data, kept[i].bytes);
        done = tnl_safetensors_finish(&writer, done);
    }
    free(kept);
    tnl_safetensors_close(&file);
    return done;
}

void damage_judge(const damage_scene *s, bool done, const char *what, const char *file,
                  const char *part) {
    tnl_model *model;
    const tnl_status status = tnl_model_open(s->context, s->directory, NULL, &model);
    const char *text = tnl_context_error(s->context);
    const bool refused = status == TNL_FILE_ERROR && !model;
    report_case(s->r, done && refused && strstr(text, file) && strstr(text, part), 0, 0,
                "%s: %s: %s, expected an error about %s, %s", what,
                done ? tnl_status_name(status) : "the damage could not be done",
                refused ? text : "opened", file, part);
    tnl_model_close(model);
}
