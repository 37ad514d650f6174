/* Checkpoints: the configuration and the tensors, held against each other. */
#include "model/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint_index.h"
#include "model/hash.h"

/* ---- what the configuration asks for ------------------------------------------------------ */

static void add(tnl_weight *list, size_t *count, tnl_weight_kind kind, int layer, const char *name,
                int64_t rows, int64_t columns) {
    tnl_weight *weight = &list[(*count)++];
    *weight = (tnl_weight){.kind = kind, .layer = layer, .rank = 2, .shape = {rows, columns}};
    if (kind == TNL_WEIGHT_EMBEDDING || kind == TNL_WEIGHT_HEAD)
        snprintf(weight->name, sizeof weight->name, "%s", name);
    else
        snprintf(weight->name, sizeof weight->name, "model.layers.%d.%s", layer, name);
}

tnl_weight *tnl_list_weights(const tnl_config *config, size_t *count) {
    const int64_t width = config->embed_dim, hidden = config->hidden_dim, g = config->glu_dim;
    tnl_weight *list = calloc(2 + 6 * (size_t)config->layers, sizeof *list);
    *count = 0;
    if (!list)
        return NULL;
    add(list, count, TNL_WEIGHT_EMBEDDING, 0, "model.embed_tokens.weight", config->vocab_size,
        width);
    for (int i = 0; i < config->layers; i++) {
        add(list, count, TNL_WEIGHT_QKVU, i, "token_mixer.qkvu_proj.weight", 4 * hidden, width);
        if (config->lrpe[i]) {
            add(list, count, TNL_WEIGHT_THETA, i, "token_mixer.lrpe.theta", config->heads, 1);
            list[*count - 1].rank = 3;
            list[*count - 1].shape[2] = tnl_head_dim(config);
        }
        add(list, count, TNL_WEIGHT_OUT, i, "token_mixer.out_proj.weight", width, hidden);
        add(list, count, TNL_WEIGHT_L1, i, "channel_mixer.l1.weight", g, width);
        add(list, count, TNL_WEIGHT_L2, i, "channel_mixer.l2.weight", g, width);
        add(list, count, TNL_WEIGHT_L3, i, "channel_mixer.l3.weight", width, g);
    }
    if (config->tie != TNL_TIE_YES)
        add(list, count, TNL_WEIGHT_HEAD, 0, "lm_head.weight", config->vocab_size, width);
    return list;
}

/* ---- what the files have ------------------------------------------------------------------ */

tnl_type tnl_stored_type(const tnl_safetensors_tensor *tensor) {
    static const struct {
        const char *name;
        tnl_type type;
    } types[] = {{"F32", TNL_FLOAT32}, {"F16", TNL_FLOAT16}, {"BF16", TNL_BFLOAT16}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(tensor->type, types[i].name) == 0)
            return types[i].type;
    return TNL_NO_TYPE;
}

/* The tensor of that name and the shard that has it; NULL: none has. */
static const tnl_safetensors_tensor *find(const tnl_checkpoint *checkpoint, const char *name,
                                          size_t *shard) {
    for (size_t i = 0; i < checkpoint->shard_count; i++) {
        const tnl_safetensors_tensor *found = tnl_safetensors_find(&checkpoint->shard[i], name);
        *shard = i;
        if (found)
            return found;
    }
    return NULL;
}

/* "[320,64]" */
static void shape_text(const int64_t *shape, int rank, char *text, size_t size) {
    size_t length = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%lld", i ? "," : "",
                                   (long long)shape[i]);
    if (length < size)
        snprintf(text + length, size - length, "]");
}

static bool check_weight(const tnl_weight *weight, const char *path, char *error,
                         size_t error_bytes) {
    const tnl_safetensors_tensor *stored = weight->stored;
    if (tnl_stored_type(stored) == TNL_NO_TYPE) {
        snprintf(error, error_bytes, "%s: %s: dtype is %s, expected F32, F16 or BF16", path,
                 weight->name, stored->type);
        return false;
    }
    if (stored->rank == weight->rank &&
        memcmp(stored->shape, weight->shape, sizeof *weight->shape * (size_t)weight->rank) == 0)
        return true;
    char is[192], expected[96];
    shape_text(stored->shape, stored->rank, is, sizeof is);
    shape_text(weight->shape, weight->rank, expected, sizeof expected);
    snprintf(error, error_bytes, "%s: %s: shape is %s, expected %s by config.json", path,
             weight->name, is, expected);
    return false;
}

/* Find every weight of the list, and check it. */
static bool find_weights(tnl_checkpoint *checkpoint, char *error, size_t error_bytes) {
    for (size_t i = 0; i < checkpoint->weight_count; i++) {
        tnl_weight *weight = &checkpoint->weight[i];
        size_t shard;
        weight->stored = find(checkpoint, weight->name, &shard);
        if (!weight->stored) {
            snprintf(error, error_bytes, "%s: %s: is missing", checkpoint->list_path, weight->name);
            return false;
        }
        if (!check_weight(weight, checkpoint->shard_path[shard], error, error_bytes))
            return false;
    }
    return true;
}

static bool is_listed(const tnl_checkpoint *checkpoint, const char *name) {
    for (size_t i = 0; i < checkpoint->weight_count; i++)
        if (strcmp(checkpoint->weight[i].name, name) == 0)
            return true;
    return false;
}

/* No tensor but those of the list. A tied model may store its matrix a second time, as long as it
 * is the same. */
static bool check_surplus(const tnl_checkpoint *checkpoint, char *error, size_t error_bytes) {
    for (size_t i = 0; i < checkpoint->shard_count; i++) {
        for (size_t j = 0; j < checkpoint->shard[i].count; j++) {
            const tnl_safetensors_tensor *tensor = &checkpoint->shard[i].tensor[j];
            const tnl_safetensors_tensor *embedding = checkpoint->weight[0].stored;
            if (is_listed(checkpoint, tensor->name))
                continue;
            const bool is_head = strcmp(tensor->name, "lm_head.weight") == 0;
            if (is_head && strcmp(tensor->type, embedding->type) == 0 &&
                tensor->bytes == embedding->bytes &&
                memcmp(tensor->data, embedding->data, tensor->bytes) == 0)
                continue;
            snprintf(error, error_bytes, "%s: %s: is %s", checkpoint->shard_path[i], tensor->name,
                     is_head ? "not the embedding, though config.json ties it"
                             : "no tensor of the model that config.json describes");
            return false;
        }
    }
    return true;
}

static bool open_all(tnl_checkpoint *checkpoint, const char *directory, char *error,
                     size_t error_bytes) {
    char path[4096];
    const int length = snprintf(path, sizeof path, "%s/config.json", directory);
    if (length >= (int)sizeof path) {
        snprintf(error, error_bytes, "%.64s...: too long a path", directory);
        return false;
    }
    if (!tnl_config_read(&checkpoint->config, path, error, error_bytes) ||
        !tnl_open_shards(checkpoint, directory, error, error_bytes))
        return false;
    size_t shard;
    if (checkpoint->config.tie == TNL_TIE_BY_FILE)
        checkpoint->config.tie =
            find(checkpoint, "lm_head.weight", &shard) ? TNL_TIE_NO : TNL_TIE_YES;
    checkpoint->weight = tnl_list_weights(&checkpoint->config, &checkpoint->weight_count);
    if (!checkpoint->weight) {
        snprintf(error, error_bytes, "%s: out of memory", directory);
        return false;
    }
    return find_weights(checkpoint, error, error_bytes) &&
           check_surplus(checkpoint, error, error_bytes);
}

bool tnl_checkpoint_open(tnl_checkpoint *checkpoint, const char *directory, char *error,
                         size_t error_bytes) {
    *checkpoint = (tnl_checkpoint){0};
    if (open_all(checkpoint, directory, error, error_bytes))
        return true;
    tnl_checkpoint_close(checkpoint);
    return false;
}

void tnl_checkpoint_close(tnl_checkpoint *checkpoint) {
    for (size_t i = 0; i < checkpoint->shard_count; i++) {
        tnl_safetensors_close(&checkpoint->shard[i]);
        free(checkpoint->shard_path[i]);
    }
    free(checkpoint->shard);
    free(checkpoint->shard_path);
    free(checkpoint->list_path);
    free(checkpoint->weight);
    *checkpoint = (tnl_checkpoint){0};
}

uint64_t tnl_checkpoint_hash(const tnl_checkpoint *checkpoint) {
    /* The sizes are in the weights' shapes; these are not. */
    const int64_t config[] = {checkpoint->config.heads, checkpoint->config.scale_embedding,
                              checkpoint->config.tie};
    uint64_t hash = tnl_hash(0, config, sizeof config);
    for (size_t i = 0; i < checkpoint->weight_count; i++) {
        const tnl_weight *weight = &checkpoint->weight[i];
        hash = tnl_hash(hash, weight->name, strlen(weight->name));
        if (!weight->stored) /* a model without files */
            continue;
        hash = tnl_hash(hash, weight->stored->type, strlen(weight->stored->type));
        hash = tnl_hash(hash, weight->shape, sizeof weight->shape);
        hash = tnl_hash(hash, weight->stored->data, weight->stored->bytes);
    }
    return hash;
}
