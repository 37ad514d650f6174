/*
 * Opening a model. Each weight becomes a tensor of the model's type: on a CPU the mapped file
 * itself where type and alignment allow, otherwise a copy, converted on the host in pieces, in one
 * allocation on the device, which also has the angles and slopes, both float32. A model without a
 * checkpoint has all its weights there, and somebody else fills them.
 */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cuda.h"
#include "core/memory.h"
#include "core/table.h"
#include "core/types.h"
#include "model/convert.h"

/* Elements that are converted, and sent to a device, at a time. */
enum { PIECE = 1 << 22 };

/* A model being loaded. */
typedef struct loader {
    tnl_model *model;
    tnl_context *context;
    const tnl_model_options *options;
    tnl_weight_fill *fill; /* in a checkpoint's place; NULL: there is one */
    void *user;            /* fill's */
    char *next;            /* in the model's memory; NULL while sizes are added up */
    void *piece;           /* host memory for a piece where the device's can't be written */
    size_t bytes;          /* taken of the model's memory */
    size_t done, total;
} loader;

/* ---- memory ------------------------------------------------------------------------------- */

static void *take(loader *l, size_t bytes) {
    const size_t rounded =
        (bytes + TNL_WORKSPACE_ALIGNMENT - 1) / TNL_WORKSPACE_ALIGNMENT * TNL_WORKSPACE_ALIGNMENT;
    void *at = l->next;
    l->bytes += rounded;
    if (l->next)
        l->next += rounded;
    return at;
}

static void report_progress(loader *l, size_t bytes) {
    l->done += bytes;
    if (l->options && l->options->progress)
        l->options->progress(l->options->user, l->done, l->total);
}

/* Convert a weight into the device's memory, piece by piece. */
static bool send(loader *l, void *to, tnl_type type, const tnl_safetensors_tensor *stored) {
    const tnl_type stored_type = tnl_stored_type(stored);
    const size_t size = tnl_type_size(type), stored_size = tnl_type_size(stored_type);
    const size_t count = stored->bytes / stored_size;
    bool sent = true;
    for (size_t i = 0; sent && i < count; i += PIECE) {
        const size_t some = count - i < PIECE ? count - i : PIECE;
        const char *from = (const char *)stored->data + i * stored_size;
        char *at = (char *)to + i * size;
        tnl_convert(l->piece ? l->piece : at, type, from, stored_type, some);
        if (l->piece)
            sent = tnl_memory_to_device(l->model->device, at, l->piece, some * size);
        report_progress(l, some * stored_size);
    }
    return sent;
}

/* ---- weights ------------------------------------------------------------------------------ */

/* Whether a weight of this type is used where its file is mapped. */
static bool is_in_place(const loader *l, const tnl_safetensors_tensor *stored, tnl_type type) {
    return stored && l->model->device == TNL_CPU && tnl_stored_type(stored) == type &&
           (uintptr_t)stored->data % tnl_type_size(type) == 0;
}

/* The tensor of a weight: in the file, or taken from the model's memory, and sent or filled there
 * once there is some. */
static bool load_weight(loader *l, const tnl_weight *weight, tnl_tensor *tensor) {
    const tnl_type type = weight->kind == TNL_WEIGHT_THETA ? TNL_FLOAT32 : l->model->type;
    const tnl_safetensors_tensor *stored = weight->stored;
    /* [h,1,d] is [h,d]. */
    const int64_t columns = weight->rank == 3 ? weight->shape[2] : weight->shape[1];
    *tensor = tnl_2d(stored ? stored->data : NULL, type, weight->shape[0], columns);
    const size_t bytes = tnl_type_size(type) * (size_t)(tensor->shape[0] * tensor->shape[1]);
    if (!l->next) {
        l->model->weight_bytes += bytes;
        l->total += stored ? stored->bytes : 0;
    }
    if (is_in_place(l, stored, type)) {
        if (l->next)
            report_progress(l, stored->bytes);
        return true;
    }
    tensor->data = take(l, bytes);
    if (!tensor->data)
        return true;
    return stored ? send(l, tensor->data, type, stored) : l->fill(l->user, tensor);
}

static bool load_slopes(loader *l, int layer, tnl_tensor *tensor) {
    const int heads = l->model->checkpoint.config.heads;
    const size_t bytes = sizeof(float) * (size_t)heads;
    *tensor = tnl_1d(take(l, bytes), TNL_FLOAT32, heads);
    float *slope = tensor->data ? malloc(bytes) : NULL;
    if (!tensor->data)
        return true;
    const bool sent =
        slope &&
        tnl_slopes_released(heads, l->model->checkpoint.config.layers, layer, slope) == TNL_OK &&
        tnl_memory_to_device(l->model->device, tensor->data, slope, bytes);
    free(slope);
    return sent;
}

static tnl_tensor *tensor_of(tnl_model *model, const tnl_weight *weight) {
    tnl_layer *layer = &model->layer[weight->layer];
    switch (weight->kind) {
    case TNL_WEIGHT_EMBEDDING:
        return &model->embedding;
    case TNL_WEIGHT_QKVU:
        return &layer->qkvu;
    case TNL_WEIGHT_THETA:
        return &layer->theta;
    case TNL_WEIGHT_OUT:
        return &layer->out;
    case TNL_WEIGHT_L1:
        return &layer->l1;
    case TNL_WEIGHT_L2:
        return &layer->l2;
    case TNL_WEIGHT_L3:
        return &layer->l3;
    default:
        return &model->head;
    }
}

/* Once to add up sizes, and again, with l->next set, to load. */
static bool load_all(loader *l) {
    tnl_model *model = l->model;
    const tnl_checkpoint *checkpoint = &model->checkpoint;
    for (int i = 0; i < checkpoint->config.layers; i++)
        if (!load_slopes(l, i, &model->layer[i].slope))
            return false;
    for (size_t i = 0; i < checkpoint->weight_count; i++)
        if (!load_weight(l, &checkpoint->weight[i], tensor_of(model, &checkpoint->weight[i])))
            return false;
    if (checkpoint->config.tie == TNL_TIE_YES)
        model->head = model->embedding;
    return true;
}

static tnl_status load(loader *l) {
    tnl_model *model = l->model;
    model->layer = calloc((size_t)model->checkpoint.config.layers, sizeof *model->layer);
    if (!model->layer)
        return tnl_fail(l->context, TNL_OUT_OF_MEMORY, "tnl_model_open: out of memory");
    load_all(l);
    model->memory_bytes = l->bytes;
    model->memory = tnl_memory_allocate(model->device, l->bytes);
    if (model->device != TNL_CPU)
        l->piece = malloc(PIECE * tnl_type_size(TNL_FLOAT32));
    if (!model->memory || (model->device != TNL_CPU && !l->piece))
        return tnl_fail(l->context, TNL_OUT_OF_MEMORY,
                        "tnl_model_open: no memory for %zu bytes of weights", l->bytes);
    l->next = model->memory;
    return load_all(l) ? TNL_OK
                       : tnl_fail(l->context, TNL_DEVICE_ERROR,
                                  "tnl_model_open: the weights could not be sent to the device");
}

/* ---- opening ------------------------------------------------------------------------------ */

/* Whether the table has rows for a model of this type on the context's device. */
static bool has_rows(const tnl_context *context, tnl_type type) {
    for (int i = 0; i < tnl_variants_count; i++) {
        const tnl_variant_row *row = &tnl_variants[i];
        if (row->op == TNL_DECODE && row->chosen && row->kernel && row->device == context->device &&
            row->types & TNL_TYPE_BIT(type))
            return true;
    }
    return false;
}

static tnl_status choose_type(tnl_model *model, tnl_context *context, tnl_type wanted) {
    const bool is_float = wanted == TNL_FLOAT32 || wanted == TNL_FLOAT16 || wanted == TNL_BFLOAT16;
    if (wanted != TNL_NO_TYPE && !is_float)
        return tnl_fail(context, TNL_INVALID_ARGUMENT,
                        "tnl_model_open: type is %s (%d), expected f32, f16, bf16 or none",
                        tnl_type_name(wanted), (int)wanted);
    if (is_float && !has_rows(context, wanted))
        return tnl_fail(context, TNL_UNSUPPORTED,
                        "tnl_model_open: type is %s, expected one that the %s has rows for",
                        tnl_type_name(wanted), context->device == TNL_CPU ? "CPU" : "CUDA device");
    const tnl_safetensors_tensor *first = model->checkpoint.weight[0].stored;
    const tnl_type stored = first ? tnl_stored_type(first) : TNL_FLOAT32;
    model->type = is_float ? wanted : has_rows(context, stored) ? stored : TNL_FLOAT32;
    return TNL_OK;
}

/* The weights of the loader's model, whose checkpoint says which there are. */
static tnl_status load_on_device(loader *l) {
    tnl_context *context = l->context;
    l->model->device = context->device;
    l->model->index = context->index;
    tnl_status status = choose_type(l->model, context, l->options ? l->options->type : TNL_NO_TYPE);
    if (status != TNL_OK)
        return status;
    int previous;
    status = tnl_enter_device(context, &previous);
    if (status != TNL_OK)
        return status;
    status = load(l);
    free(l->piece);
    tnl_leave_device(context, previous);
    return status;
}

static tnl_status open_model(tnl_context *context, const char *directory,
                             const tnl_model_options *options, tnl_model *model) {
    char error[768];
    if (!tnl_checkpoint_open(&model->checkpoint, directory, error, sizeof error))
        return tnl_fail(context, TNL_FILE_ERROR, "%s", error);
    loader l = {.model = model, .context = context, .options = options};
    return load_on_device(&l);
}

tnl_status tnl_model_open(tnl_context *context, const char *directory,
                          const tnl_model_options *options, tnl_model **model) {
    if (model)
        *model = NULL;
    if (!context || !directory || !model)
        return tnl_fail(context, TNL_INVALID_ARGUMENT,
                        "tnl_model_open: %s is NULL, expected a pointer",
                        !context     ? "context"
                        : !directory ? "directory"
                                     : "model");
    tnl_model *made = calloc(1, sizeof *made);
    if (!made)
        return tnl_fail(context, TNL_OUT_OF_MEMORY, "tnl_model_open: out of memory");
    const tnl_status status = open_model(context, directory, options, made);
    if (status == TNL_OK)
        *model = made;
    else
        tnl_model_close(made);
    return status;
}

tnl_status tnl_model_make(tnl_context *context, const tnl_config *config, tnl_type type,
                          tnl_weight_fill *fill, void *user, tnl_model **model) {
    const tnl_model_options options = {.type = type};
    *model = NULL;
    tnl_model *made = calloc(1, sizeof *made);
    if (!made)
        return tnl_fail(context, TNL_OUT_OF_MEMORY, "tnl_model_make: out of memory");
    tnl_checkpoint *checkpoint = &made->checkpoint;
    checkpoint->config = *config;
    checkpoint->weight = tnl_list_weights(config, &checkpoint->weight_count);
    loader l = {.model = made, .context = context, .options = &options, .fill = fill, .user = user};
    const tnl_status status =
        checkpoint->weight ? load_on_device(&l)
                           : tnl_fail(context, TNL_OUT_OF_MEMORY, "tnl_model_make: out of memory");
    if (status == TNL_OK)
        *model = made;
    else
        tnl_model_close(made);
    return status;
}

void tnl_model_close(tnl_model *model) {
    if (!model)
        return;
    tnl_memory_free(model->device, model->memory);
    free(model->layer);
    tnl_checkpoint_close(&model->checkpoint);
    free(model);
}

const tnl_config *tnl_model_config(const tnl_model *model) {
    return &model->checkpoint.config;
}

tnl_type tnl_model_type(const tnl_model *model) {
    return model->type;
}

size_t tnl_model_bytes(const tnl_model *model) {
    return model->weight_bytes;
}

uint64_t tnl_model_hash(tnl_model *model) {
    uint64_t hash = atomic_load(&model->hash);
    if (hash == 0) {
        hash = tnl_checkpoint_hash(&model->checkpoint);
        hash += hash == 0; /* 0 says that it is not known */
        atomic_store(&model->hash, hash);
    }
    return hash;
}
