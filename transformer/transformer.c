/* The Transformer's weights: pieces of one allocation, filled one after the other. */
#include <stdlib.h>

#include "core/cuda.h"
#include "core/memory.h"
#include "transformer/parts.h"

/* Once to count, with c->base NULL, and again to fill. */
static bool lay_weight(transformer *model, transformer_carver *c, int64_t rows, int64_t columns,
                       tnl_weight_fill *fill, void *user, tnl_tensor *weight) {
    const size_t bytes = tnl_type_size(model->type) * (size_t)(rows * columns);
    *weight = tnl_2d(transformer_take(c, bytes), model->type, rows, columns);
    return !weight->data || fill(user, weight);
}

static bool lay_weights(transformer *model, transformer_carver *c, tnl_weight_fill *fill,
                        void *user) {
    const tnl_config *config = &model->config;
    const int64_t width = config->embed_dim, g = config->glu_dim, vocab = config->vocab_size;
    bool laid = lay_weight(model, c, vocab, width, fill, user, &model->embedding);
    for (int i = 0; laid && i < config->layers; i++) {
        transformer_layer *at = &model->layer[i];
        laid = lay_weight(model, c, 3 * width, width, fill, user, &at->qkv) &&
               lay_weight(model, c, width, width, fill, user, &at->out) &&
               lay_weight(model, c, g, width, fill, user, &at->l1) &&
               lay_weight(model, c, g, width, fill, user, &at->l2) &&
               lay_weight(model, c, width, g, fill, user, &at->l3);
    }
    return laid && lay_weight(model, c, vocab, width, fill, user, &model->head);
}

static tnl_status make_weights(transformer *model, tnl_weight_fill *fill, void *user) {
    transformer_carver c = {NULL, 0};
    model->layer = calloc((size_t)model->config.layers, sizeof *model->layer);
    if (!model->layer)
        return tnl_fail(model->context, TNL_OUT_OF_MEMORY, "transformer: out of memory");
    lay_weights(model, &c, fill, user);
    model->bytes = c.used;
    model->memory = tnl_memory_allocate(model->context->device, c.used);
    if (!model->memory)
        return tnl_fail(model->context, TNL_OUT_OF_MEMORY,
                        "transformer: no memory for %zu bytes of weights", c.used);
    c = (transformer_carver){model->memory, 0};
    return lay_weights(model, &c, fill, user)
               ? TNL_OK
               : tnl_fail(model->context, TNL_DEVICE_ERROR, "transformer: weights can't be filled");
}

tnl_status transformer_create(tnl_context *context, const tnl_config *config, tnl_weight_fill *fill,
                              void *user, transformer **model) {
    *model = NULL;
    if (config->embed_dim != config->hidden_dim ||
        config->hidden_dim != (int64_t)config->heads * ATTENTION_DIM)
        return tnl_fail(context, TNL_INVALID_ARGUMENT,
                        "transformer: %d heads, expected embed_dim = hidden_dim = 128 heads",
                        config->heads);
    transformer *made = calloc(1, sizeof *made);
    if (!made)
        return tnl_fail(context, TNL_OUT_OF_MEMORY, "transformer: out of memory");
    made->context = context;
    made->config = *config;
    made->type = context->device == TNL_CPU ? TNL_FLOAT32 : TNL_BFLOAT16;
    int previous;
    tnl_status status = tnl_enter_device(context, &previous);
    if (status == TNL_OK) {
        status = make_weights(made, fill, user);
        tnl_leave_device(context, previous);
    }
    if (status == TNL_OK)
        *model = made;
    else
        transformer_destroy(made);
    return status;
}

void transformer_destroy(transformer *model) {
    if (!model)
        return;
    tnl_memory_free(model->context->device, model->memory);
    free(model->layer);
    free(model);
}

size_t transformer_weight_bytes(const transformer *model) {
    return model->bytes;
}

void *transformer_weight_memory(const transformer *model) {
    return model->memory;
}
