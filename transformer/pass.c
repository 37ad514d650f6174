/*
 * The Transformer's layers as calls of the library's operators and of softmax attention, for both
 * forms. The same walk, without running anything, measures the workspace that they ask for.
 *
 *     stream = embedding[tokens];  x = SRMSNorm(stream)
 *     for each layer:
 *         Q | K | V = x W;  o = softmax attention;  y = o W
 *         stream = stream + y;  y = SRMSNorm(stream)
 *         x = SGLU(y)
 *         stream = stream + x;  x = SRMSNorm(stream)
 *     logits = x W
 */
#include "core/dispatch.h"
#include "model/embedding.h"
#include "transformer/parts.h"

static tnl_status run(const transformer_pass *p, tnl_operator op, const void *args) {
    transformer_state *state = p->state;
    tnl_context *context = state->model->context;
    if (!p->measured) {
        const tnl_options options = {.workspace = state->workspace,
                                     .workspace_bytes = state->workspace_bytes};
        return tnl_run_settled(context, op, args, &options);
    }
    size_t bytes = 0;
    const tnl_status status = tnl_workspace(context, op, args, NULL, &bytes);
    *p->measured = bytes > *p->measured ? bytes : *p->measured;
    return status;
}

static tnl_tensor rows_of(const transformer_pass *p, void *data, int64_t columns) {
    return tnl_2d(data, p->state->model->type, p->attention.rows, columns);
}

/* y = x W^T. */
static tnl_status project(const transformer_pass *p, tnl_tensor x, tnl_tensor w, tnl_tensor y) {
    const tnl_sglu_down_args args = {.p = x, .wo = w, .y = y};
    return run(p, TNL_SGLU_DOWN, &args);
}

/* The layer's caches, from the first sequence of the call on. */
static char *cache_of(const transformer_pass *p, char *cache, int index) {
    const transformer_state *state = p->state;
    const tnl_config *config = &state->model->config;
    const size_t sequence =
        (size_t)(config->hidden_dim * state->options.capacity) * tnl_type_size(state->model->type);
    return cache + sequence * ((size_t)index * (size_t)state->options.slots + (size_t)p->slot);
}

/* y = softmax attention of x. */
static tnl_status mix_token(const transformer_pass *p, int index, void *x, void *y) {
    transformer_state *state = p->state;
    const transformer_layer *weights = &state->model->layer[index];
    const int64_t width = state->model->config.embed_dim;
    tnl_status status =
        project(p, rows_of(p, x, width), weights->qkv, rows_of(p, state->packed, 3 * width));
    attention_call call = p->attention;
    call.k = cache_of(p, state->k, index);
    call.v = cache_of(p, state->v, index);
    if (status == TNL_OK && !p->measured)
        status = (p->decoding ? attention_decode : attention_prefill)(&call);
    if (status == TNL_OK)
        status = project(p, rows_of(p, state->o, width), weights->out, rows_of(p, y, width));
    return status;
}

/* stream += x; x = SRMSNorm(stream). */
static tnl_status add_and_norm(const transformer_pass *p, void *x) {
    const int64_t width = p->state->model->config.embed_dim;
    const tnl_tensor stream = tnl_2d(p->state->stream, TNL_FLOAT32, p->attention.rows, width);
    const tnl_srmsnorm_residual_forward_args args = {.residual = stream,
                                                     .x = rows_of(p, x, width),
                                                     .residual_out = stream,
                                                     .y = rows_of(p, x, width)};
    return run(p, TNL_SRMSNORM_RESIDUAL_FORWARD, &args);
}

static tnl_status mix_channel(const transformer_pass *p, int index, void *y, void *x) {
    const transformer_layer *weights = &p->state->model->layer[index];
    const int64_t width = p->state->model->config.embed_dim;
    const tnl_sglu_forward_args args = {.x = rows_of(p, y, width),
                                        .wv = weights->l1,
                                        .wu = weights->l2,
                                        .wo = weights->l3,
                                        .y = rows_of(p, x, width)};
    return run(p, TNL_SGLU_FORWARD, &args);
}

/* stream = embedding; x = SRMSNorm(stream). */
static tnl_status begin(const transformer_pass *p, void *x) {
    const transformer_state *state = p->state;
    return p->measured ? TNL_OK
                       : tnl_embed(state->model->context, &state->model->embedding, state->tokens,
                                   p->attention.rows, 1, state->stream, x);
}

/* Of every sequence's token when decoding, of the last token when prefilling. */
static tnl_status make_logits(const transformer_pass *p, char *x) {
    const transformer *model = p->state->model;
    const int64_t width = model->config.embed_dim, rows = p->decoding ? p->attention.rows : 1;
    char *last = x + (size_t)((p->attention.rows - rows) * width) * tnl_type_size(model->type);
    return project(p, tnl_2d(last, model->type, rows, width), model->head,
                   tnl_2d(p->state->logits, model->type, rows, model->config.vocab_size));
}

tnl_status transformer_run_pass(const transformer_pass *p) {
    transformer_state *state = p->state;
    const int layers = p->measured ? 1 : state->model->config.layers; /* all are alike */
    tnl_status status = begin(p, state->x);
    for (int i = 0; status == TNL_OK && i < layers; i++) {
        status = mix_token(p, i, state->x, state->y);
        if (status == TNL_OK)
            status = add_and_norm(p, state->y);
        if (status == TNL_OK)
            status = mix_channel(p, i, state->y, state->x);
        if (status == TNL_OK)
            status = add_and_norm(p, state->x);
    }
    return status == TNL_OK ? make_logits(p, state->x) : status;
}
