/* Writing random checkpoints (program/random_checkpoint.h). */
#include "program/random_checkpoint.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/random.h"
#include "core/types.h"
#include "model/checkpoint.h"
#include "model/convert.h"
#include "model/safetensors_write.h"

enum { PIECE = 1 << 20, MOST_PATH = 4096 };

typedef struct writer {
    const random_checkpoint *what;
    const char *directory;
    tnl_weight *weight;
    size_t count;
    int *shard; /* of each weight */
    int shards;
    float *made;
    void *converted;
    size_t done, total;
    char *error;
    size_t error_bytes;
} writer;

static bool fail(const writer *w, const char *path, const char *text) {
    snprintf(w->error, w->error_bytes, "%s: %s", path, text);
    return false;
}

/* ---- numbers ------------------------------------------------------------------------------ */

static int64_t count_of(const tnl_weight *weight) {
    int64_t count = 1;
    for (int i = 0; i < weight->rank; i++)
        count *= weight->shape[i];
    return count;
}

/* Elements [begin, begin + count) of weight number `stream`. */
static void make(const writer *w, size_t stream, int64_t begin, int64_t count) {
    const tnl_weight *weight = &w->weight[stream];
    const bool angles = weight->kind == TNL_WEIGHT_THETA;
    const double channels = (double)count_of(weight), scale = 1 / sqrt((double)weight->shape[1]);
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++)
        w->made[i] =
            angles ? (float)pow(10000, -2 * (double)(begin + i) / channels)
                   : (float)(scale * random_normal(w->what->seed, stream, (uint64_t)(begin + i)));
}

static bool append(writer *w, tnl_safetensors_writer *file, size_t stream) {
    const size_t size = tnl_type_size(w->what->type);
    const int64_t all = count_of(&w->weight[stream]);
    for (int64_t begin = 0; begin < all; begin += PIECE) {
        const int64_t count = all - begin < PIECE ? all - begin : PIECE;
        make(w, stream, begin, count);
        tnl_convert(w->converted, w->what->type, w->made, TNL_FLOAT32, (size_t)count);
        if (!tnl_safetensors_append(file, w->converted, (size_t)count * size))
            return false;
        w->done += (size_t)count * size;
        if (w->what->progress)
            w->what->progress(w->what->user, w->done, w->total);
    }
    return true;
}

/* ---- files -------------------------------------------------------------------------------- */

static void shard_name(const writer *w, int shard, char *name, size_t size) {
    if (w->shards == 1)
        snprintf(name, size, "model.safetensors");
    else
        snprintf(name, size, "model-%05d-of-%05d.safetensors", shard + 1, w->shards);
}

static bool join(const writer *w, const char *name, char *path) {
    const int length = snprintf(path, MOST_PATH, "%s/%s", w->directory, name);
    return length < MOST_PATH || fail(w, w->directory, "too long a path");
}

static const char *stored_type(tnl_type type) {
    return type == TNL_FLOAT32 ? "F32" : type == TNL_FLOAT16 ? "F16" : "BF16";
}

/* Which file each weight goes into. */
static void share_out(writer *w) {
    const size_t size = tnl_type_size(w->what->type);
    size_t bytes = 0;
    w->shards = 1;
    for (size_t i = 0; i < w->count; i++) {
        const size_t more = (size_t)count_of(&w->weight[i]) * size;
        if (w->what->shard_bytes && bytes && bytes + more > w->what->shard_bytes) {
            w->shards++;
            bytes = 0;
        }
        w->shard[i] = w->shards - 1;
        bytes += more;
        w->total += more;
    }
}

static bool write_shard(writer *w, int shard) {
    tnl_safetensors_tensor *tensor = calloc(w->count, sizeof *tensor);
    size_t first = 0, count = 0;
    char name[64], path[MOST_PATH];
    while (w->shard[first] != shard)
        first++;
    for (size_t i = first; tensor && i < w->count && w->shard[i] == shard; i++, count++) {
        tensor[count] = (tnl_safetensors_tensor){.name = w->weight[i].name,
                                                 .type = stored_type(w->what->type),
                                                 .rank = w->weight[i].rank};
        memcpy(tensor[count].shape, w->weight[i].shape, sizeof w->weight[i].shape);
        tensor[count].bytes = (size_t)count_of(&w->weight[i]) * tnl_type_size(w->what->type);
    }
    shard_name(w, shard, name, sizeof name);
    tnl_safetensors_writer file;
    bool good = tensor ? join(w, name, path) : fail(w, w->directory, "out of memory");
    if (good && (good = tnl_safetensors_create(&file, path, tensor, count, NULL, w->error,
                                               w->error_bytes))) {
        for (size_t i = first; good && i < first + count; i++)
            good = append(w, &file, i);
        good = tnl_safetensors_finish(&file, good);
    }
    free(tensor);
    return good;
}

/* The index of several shards; with a single file the one of an earlier checkpoint goes. */
static bool write_index(const writer *w) {
    char path[MOST_PATH], name[64];
    if (!join(w, w->shards == 1 ? "model.safetensors.index.json" : "model.safetensors", path))
        return false;
    remove(path);
    if (w->shards == 1)
        return true;
    json_t *map = json_object();
    for (size_t i = 0; i < w->count; i++) {
        shard_name(w, w->shard[i], name, sizeof name);
        json_object_set_new(map, w->weight[i].name, json_string(name));
    }
    json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->total,
                             "weight_map", map);
    const bool good = join(w, "model.safetensors.index.json", path) && root &&
                      json_dump_file(root, path, JSON_INDENT(2)) == 0;
    json_decref(root);
    return good || fail(w, path, "can't be written");
}

static bool write_all(writer *w) {
    char path[MOST_PATH];
    if (mkdir(w->directory, 0777) != 0 && errno != EEXIST)
        return fail(w, w->directory, strerror(errno));
    share_out(w);
    if (!join(w, "config.json", path) ||
        !tnl_config_write(w->what->config, w->what->type, path, w->error, w->error_bytes))
        return false;
    for (int i = 0; i < w->shards; i++)
        if (!write_shard(w, i))
            return false;
    return write_index(w);
}

bool random_checkpoint_write(const random_checkpoint *what, const char *directory, char *error,
                             size_t error_bytes) {
    writer w = {.what = what, .directory = directory, .error = error, .error_bytes = error_bytes};
    w.weight = tnl_list_weights(what->config, &w.count);
    w.shard = calloc(w.count + 1, sizeof *w.shard);
    w.made = malloc(PIECE * sizeof *w.made);
    w.converted = malloc(PIECE * sizeof *w.made);
    const bool good = w.weight && w.shard && w.made && w.converted
                          ? write_all(&w)
                          : fail(&w, directory, "out of memory");
    free(w.weight);
    free(w.shard);
    free(w.made);
    free(w.converted);
    return good;
}
