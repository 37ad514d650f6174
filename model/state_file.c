/*
 * A slot on disk: a .safetensors file with a tensor for each layer, layers.N.state, float32
 * [h,f,e], and in its metadata the position, the model's hash and a checksum of position and data.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/cuda.h"
#include "core/memory.h"
#include "model/hash.h"
#include "model/safetensors_write.h"
#include "model/state.h"

static const char format[] = "tnl-state-1";

typedef struct layer_name {
    char text[32];
} layer_name;

static layer_name name_of(int layer) {
    layer_name name;
    snprintf(name.text, sizeof name.text, "layers.%d.state", layer);
    return name;
}

static size_t layer_bytes(const tnl_state *state, int layer) {
    return sizeof(float) * (size_t)tnl_slot_elements(&state->model->checkpoint.config, layer);
}

static float *slot_of(const tnl_state *state, int layer, int slot) {
    return state->layer[layer] + slot * tnl_slot_elements(&state->model->checkpoint.config, layer);
}

static tnl_status check_arguments(const tnl_state *state, const char *function, int slot,
                                  const char *path) {
    if (!state)
        return TNL_INVALID_ARGUMENT;
    if (slot < 0 || slot >= state->slots)
        return tnl_fail(state->context, TNL_INVALID_ARGUMENT, "%s: slot is %d, expected 0 to %d",
                        function, slot, state->slots - 1);
    if (!path)
        return tnl_fail(state->context, TNL_INVALID_ARGUMENT,
                        "%s: path is NULL, expected the name of a file", function);
    return TNL_OK;
}

/* ---- saving ------------------------------------------------------------------------------- */

/* The slot's matrices, one layer after the other, in host memory; free()'s. NULL: the device
 * failed or there is no memory. */
static char *fetch(const tnl_state *state, int slot) {
    char *data = malloc(state->bytes.slot);
    size_t at = 0;
    bool good = data != NULL;
    for (int i = 0; good && i < state->model->checkpoint.config.layers; i++) {
        good = tnl_memory_queue_copy(state->context, data + at, slot_of(state, i, slot),
                                     layer_bytes(state, i));
        at += layer_bytes(state, i);
    }
    if (good && tnl_memory_synchronize(state->context))
        return data;
    free(data);
    return NULL;
}

static json_t *make_metadata(const tnl_state *state, int slot, const char *data) {
    const int64_t position = state->position[slot];
    const uint64_t checksum =
        tnl_hash(tnl_hash(0, &position, sizeof position), data, state->bytes.slot);
    char position_text[24], model[20], checksum_text[20];
    snprintf(position_text, sizeof position_text, "%" PRId64, position);
    snprintf(model, sizeof model, "%016" PRIx64, tnl_model_hash(state->model));
    snprintf(checksum_text, sizeof checksum_text, "%016" PRIx64, checksum);
    return json_pack("{s:s, s:s, s:s, s:s}", "format", format, "model", model, "position",
                     position_text, "checksum", checksum_text);
}

static bool write_file(const tnl_state *state, int slot, const char *data, const char *path,
                       char *error, size_t error_bytes) {
    const tnl_config *config = &state->model->checkpoint.config;
    tnl_safetensors_tensor tensor[TNL_MAX_LAYERS];
    layer_name name[TNL_MAX_LAYERS];
    for (int i = 0; i < config->layers; i++) {
        name[i] = name_of(i);
        tensor[i] = (tnl_safetensors_tensor){
            .name = name[i].text,
            .type = "F32",
            .rank = 3,
            .shape = {config->heads, tnl_lrpe_dim(config, i), tnl_head_dim(config)},
            .bytes = layer_bytes(state, i)};
    }
    tnl_safetensors_writer writer;
    json_t *metadata = make_metadata(state, slot, data);
    bool good = tnl_safetensors_create(&writer, path, tensor, (size_t)config->layers, metadata,
                                       error, error_bytes);
    json_decref(metadata);
    if (good) {
        good = tnl_safetensors_append(&writer, data, state->bytes.slot);
        good = tnl_safetensors_finish(&writer, good);
    }
    return good;
}

tnl_status tnl_state_save(tnl_state *state, int slot, const char *path) {
    int previous;
    tnl_status status = check_arguments(state, "tnl_state_save", slot, path);
    if (status == TNL_OK)
        status = tnl_enter_device(state->context, &previous);
    if (status != TNL_OK)
        return status;
    char error[768];
    char *data = fetch(state, slot);
    if (!data)
        status = tnl_fail(state->context, TNL_DEVICE_ERROR,
                          "tnl_state_save: the slot could not be read");
    else if (!write_file(state, slot, data, path, error, sizeof error))
        status = tnl_fail(state->context, TNL_FILE_ERROR, "%s", error);
    free(data);
    tnl_leave_device(state->context, previous);
    return status;
}

/* ---- loading ------------------------------------------------------------------------------ */

/* A file being read. */
typedef struct reader {
    tnl_state *state;
    const char *path;
    const tnl_safetensors *file;
} reader;

__attribute__((format(printf, 3, 4))) static tnl_status fail(const reader *from, const char *part,
                                                             const char *text, ...) {
    char line[256];
    va_list list;
    va_start(list, text);
    vsnprintf(line, sizeof line, text, list);
    va_end(list);
    return tnl_fail(from->state->context, TNL_FILE_ERROR, "%s: %s: %s", from->path, part, line);
}

/* Sixteen digits of the metadata. */
static tnl_status read_hash(const reader *from, const char *key, uint64_t *hash) {
    const char *text = tnl_safetensors_metadata(from->file, key);
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return fail(from, key, "is %.32s, expected 16 hexadecimal digits", text ? text : "missing");
    *hash = strtoull(text, NULL, 16);
    return TNL_OK;
}

static tnl_status read_position(const reader *from, int64_t *position) {
    const char *text = tnl_safetensors_metadata(from->file, "position");
    const size_t digits = text ? strspn(text, "0123456789") : 0;
    *position = digits > 0 && digits < 18 ? strtoll(text, NULL, 10) : -1;
    if (*position < 0 || text[digits] != '\0' || *position > TNL_MAX_POSITION)
        return fail(from, "position", "is %.32s, expected a number from 0 to 2^52",
                    text ? text : "missing");
    return TNL_OK;
}

static tnl_status check_kind(const reader *from) {
    const char *text = tnl_safetensors_metadata(from->file, "format");
    if (!text || strcmp(text, format) != 0)
        return fail(from, "format", "is %.32s, expected %s", text ? text : "missing", format);
    uint64_t hash = 0;
    const tnl_status status = read_hash(from, "model", &hash);
    if (status == TNL_OK && hash != tnl_model_hash(from->state->model))
        return fail(from, "model", "is %016" PRIx64 ", expected %016" PRIx64 ", this model's", hash,
                    tnl_model_hash(from->state->model));
    return status;
}

/* Every layer's tensor, in the order of their data, which is the layers' own. */
static tnl_status check_tensors(const reader *from) {
    const tnl_config *config = &from->state->model->checkpoint.config;
    if (from->file->count != (size_t)config->layers)
        return fail(from, "layers", "there are %zu tensors, expected %d", from->file->count,
                    config->layers);
    for (int i = 0; i < config->layers; i++) {
        const tnl_safetensors_tensor *tensor = &from->file->tensor[i];
        const layer_name name = name_of(i);
        const int64_t shape[] = {config->heads, tnl_lrpe_dim(config, i), tnl_head_dim(config)};
        if (strcmp(tensor->name, name.text) != 0)
            return fail(from, tensor->name, "expected %s here", name.text);
        if (strcmp(tensor->type, "F32") != 0 || tensor->rank != 3 ||
            memcmp(tensor->shape, shape, sizeof shape) != 0)
            return fail(from, tensor->name, "type or shape is wrong, expected F32 [%lld,%lld,%lld]",
                        (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    }
    return TNL_OK;
}

/* The whole file; *position is its. */
static tnl_status check_file(const reader *from, int64_t *position) {
    uint64_t checksum = 0;
    tnl_status status = check_kind(from);
    if (status == TNL_OK)
        status = check_tensors(from);
    if (status == TNL_OK)
        status = read_position(from, position);
    if (status == TNL_OK)
        status = read_hash(from, "checksum", &checksum);
    if (status != TNL_OK)
        return status;
    const uint64_t found = tnl_hash(tnl_hash(0, position, sizeof *position),
                                    from->file->tensor[0].data, from->state->bytes.slot);
    if (found != checksum)
        return fail(from, "checksum", "is %016" PRIx64 ", expected %016" PRIx64 " by the data",
                    checksum, found);
    return TNL_OK;
}

static tnl_status send(const reader *from, int slot) {
    tnl_state *state = from->state;
    bool sent = true;
    for (int i = 0; sent && i < state->model->checkpoint.config.layers; i++)
        sent = tnl_memory_queue_copy(state->context, slot_of(state, i, slot),
                                     from->file->tensor[i].data, layer_bytes(state, i));
    sent = sent && tnl_memory_synchronize(state->context); /* the file is unmapped next */
    return sent ? TNL_OK
                : tnl_fail(state->context, TNL_DEVICE_ERROR,
                           "tnl_state_load: the slot could not be written");
}

tnl_status tnl_state_load(tnl_state *state, int slot, const char *path) {
    char error[768];
    int64_t position;
    int previous;
    tnl_safetensors file;
    tnl_status status = check_arguments(state, "tnl_state_load", slot, path);
    if (status != TNL_OK)
        return status;
    if (!tnl_safetensors_open(&file, path, error, sizeof error))
        return tnl_fail(state->context, TNL_FILE_ERROR, "%s", error);
    const reader from = {state, path, &file};
    status = check_file(&from, &position);
    if (status == TNL_OK)
        status = tnl_enter_device(state->context, &previous);
    if (status == TNL_OK) {
        status = send(&from, slot);
        tnl_leave_device(state->context, previous);
        state->position[slot] = status == TNL_OK ? position : state->position[slot];
    }
    tnl_safetensors_close(&file);
    return status;
}
