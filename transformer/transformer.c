/*
 * The Transformer's weights, states and layers (transformer/transformer.h):
 *
 *     stream = embedding[tokens];  x = SRMSNorm(stream)
 *     for each layer:
 *         Q | K | V = x W;  o = softmax attention;  y = o W
 *         stream = stream + y;  y = SRMSNorm(stream)
 *         x = SGLU(y)
 *         stream = stream + x;  x = SRMSNorm(stream)
 *     logits = x W
 */
#include "transformer/transformer.h"

#include <stdlib.h>

#include "core/cuda.h"
#include "core/dispatch.h"
#include "core/memory.h"
#include "model/embedding.h"
#include "transformer/attention.h"

typedef struct layer {
    tnl_tensor qkv, out, l1, l2, l3; /* [out,in] */
} layer;

struct transformer {
    tnl_context *context;
    tnl_config config;
    tnl_type type;
    tnl_tensor embedding, head;
    layer *layer;
    void *memory; /* all weights */
    size_t bytes;
};

struct transformer_state {
    transformer *model;
    transformer_options options;
    int64_t *position; /* [slots], on the host: tokens fed */
    int64_t rows;      /* of logits, of the last call */
    void *memory;
    size_t cache_bytes, bytes;
    char *k, *v; /* [layers, slots, heads, capacity, d] */
    void *stream, *x, *y, *packed, *o, *logits;
    int64_t *positions; /* [slots], on the device */
    int32_t *tokens;    /* [max_tokens], on the device */
    void *attention;    /* its workspace */
    size_t attention_bytes;
    void *workspace; /* the operators' */
    size_t workspace_bytes;
};

/* Aligned pieces of one allocation, one after the other; with base NULL they are only counted. */
typedef struct carver {
    char *base;
    size_t used;
} carver;

static void *take(carver *c, size_t bytes) {
    const size_t unit = TNL_WORKSPACE_ALIGNMENT;
    void *at = c->base ? c->base + c->used : NULL;
    c->used += (bytes + unit - 1) / unit * unit;
    return at;
}

/* ---- weights ------------------------------------------------------------------------------ */

/* Once to count, with c->base NULL, and again to fill. */
static bool lay_weight(transformer *model, carver *c, int64_t rows, int64_t columns,
                       tnl_weight_fill *fill, void *user, tnl_tensor *weight) {
    const size_t bytes = tnl_type_size(model->type) * (size_t)(rows * columns);
    *weight = tnl_2d(take(c, bytes), model->type, rows, columns);
    return !weight->data || fill(user, weight);
}

static bool lay_weights(transformer *model, carver *c, tnl_weight_fill *fill, void *user) {
    const tnl_config *config = &model->config;
    const int64_t width = config->embed_dim, g = config->glu_dim, vocab = config->vocab_size;
    bool laid = lay_weight(model, c, vocab, width, fill, user, &model->embedding);
    for (int i = 0; laid && i < config->layers; i++) {
        layer *at = &model->layer[i];
        laid = lay_weight(model, c, 3 * width, width, fill, user, &at->qkv) &&
               lay_weight(model, c, width, width, fill, user, &at->out) &&
               lay_weight(model, c, g, width, fill, user, &at->l1) &&
               lay_weight(model, c, g, width, fill, user, &at->l2) &&
               lay_weight(model, c, width, g, fill, user, &at->l3);
    }
    return laid && lay_weight(model, c, vocab, width, fill, user, &model->head);
}

static tnl_status make_weights(transformer *model, tnl_weight_fill *fill, void *user) {
    carver c = {NULL, 0};
    model->layer = calloc((size_t)model->config.layers, sizeof *model->layer);
    if (!model->layer)
        return tnl_fail(model->context, TNL_OUT_OF_MEMORY, "transformer: out of memory");
    lay_weights(model, &c, fill, user);
    model->bytes = c.used;
    model->memory = tnl_memory_allocate(model->context->device, c.used);
    if (!model->memory)
        return tnl_fail(model->context, TNL_OUT_OF_MEMORY,
                        "transformer: no memory for %zu bytes of weights", c.used);
    c = (carver){model->memory, 0};
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

/* ---- layers ------------------------------------------------------------------------------- */

/* A call's work. */
typedef struct pass {
    transformer_state *state;
    attention_call attention;
    bool decoding;
    int slot;         /* prefilling: the sequence */
    size_t *measured; /* not NULL: run nothing, keep the most workspace asked for here */
} pass;

static tnl_status run(const pass *p, tnl_operator op, const void *args) {
    transformer_state *state = p->state;
    tnl_context *context = state->model->context;
    if (!p->measured) {
        const tnl_options options = {.workspace = state->workspace,
                                     .workspace_bytes = state->workspace_bytes};
        return tnl_run(context, op, args, &options);
    }
    size_t bytes = 0;
    const tnl_status status = tnl_workspace(context, op, args, NULL, &bytes);
    *p->measured = bytes > *p->measured ? bytes : *p->measured;
    return status;
}

static tnl_tensor rows_of(const pass *p, void *data, int64_t columns) {
    return tnl_2d(data, p->state->model->type, p->attention.rows, columns);
}

/* y = x W^T. */
static tnl_status project(const pass *p, tnl_tensor x, tnl_tensor w, tnl_tensor y) {
    const tnl_sglu_down_args args = {.p = x, .wo = w, .y = y};
    return run(p, TNL_SGLU_DOWN, &args);
}

/* The layer's caches, from the first sequence of the call on. */
static char *cache_of(const pass *p, char *cache, int index) {
    const transformer_state *state = p->state;
    const tnl_config *config = &state->model->config;
    const size_t sequence =
        (size_t)(config->hidden_dim * state->options.capacity) * tnl_type_size(state->model->type);
    return cache + sequence * ((size_t)index * (size_t)state->options.slots + (size_t)p->slot);
}

/* y = softmax attention of x. */
static tnl_status mix_token(const pass *p, int index, void *x, void *y) {
    transformer_state *state = p->state;
    const layer *weights = &state->model->layer[index];
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
static tnl_status add_and_norm(const pass *p, void *x) {
    const int64_t width = p->state->model->config.embed_dim;
    const tnl_tensor stream = rows_of(p, p->state->stream, width);
    const tnl_srmsnorm_residual_forward_args args = {.residual = stream,
                                                     .x = rows_of(p, x, width),
                                                     .residual_out = stream,
                                                     .y = rows_of(p, x, width)};
    return run(p, TNL_SRMSNORM_RESIDUAL_FORWARD, &args);
}

static tnl_status mix_channel(const pass *p, int index, void *y, void *x) {
    const layer *weights = &p->state->model->layer[index];
    const int64_t width = p->state->model->config.embed_dim;
    const tnl_sglu_forward_args args = {.x = rows_of(p, y, width),
                                        .wv = weights->l1,
                                        .wu = weights->l2,
                                        .wo = weights->l3,
                                        .y = rows_of(p, x, width)};
    return run(p, TNL_SGLU_FORWARD, &args);
}

static tnl_status begin(const pass *p, void *x) {
    const transformer_state *state = p->state;
    const int64_t width = state->model->config.embed_dim;
    tnl_status status = TNL_OK;
    if (!p->measured)
        status = tnl_embed(state->model->context, &state->model->embedding, state->tokens,
                           p->attention.rows, 1, state->stream);
    const tnl_srmsnorm_forward_args norm = {.x = rows_of(p, state->stream, width),
                                            .y = rows_of(p, x, width)};
    return status == TNL_OK ? run(p, TNL_SRMSNORM_FORWARD, &norm) : status;
}

/* Of every sequence's token when decoding, of the last token when prefilling. */
static tnl_status make_logits(const pass *p, char *x) {
    const transformer *model = p->state->model;
    const int64_t width = model->config.embed_dim, rows = p->decoding ? p->attention.rows : 1;
    char *last = x + (size_t)((p->attention.rows - rows) * width) * tnl_type_size(model->type);
    return project(p, tnl_2d(last, model->type, rows, width), model->head,
                   tnl_2d(p->state->logits, model->type, rows, model->config.vocab_size));
}

static tnl_status run_pass(const pass *p) {
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

/* ---- states ------------------------------------------------------------------------------- */

static void lay_out(transformer_state *state, carver *c) {
    const transformer *model = state->model;
    const tnl_config *config = &model->config;
    const transformer_options *options = &state->options;
    const size_t size = tnl_type_size(model->type), width = size * (size_t)config->embed_dim;
    const size_t rows = (size_t)options->max_tokens, slots = (size_t)options->slots;
    const size_t cache = (size_t)config->layers * slots * (size_t)options->capacity * width;
    state->k = take(c, cache);
    state->v = take(c, cache);
    state->cache_bytes = c->used;
    state->stream = take(c, rows * width);
    state->x = take(c, rows * width);
    state->y = take(c, rows * width);
    state->packed = take(c, rows * 3 * width);
    state->o = take(c, rows * width);
    state->logits = take(c, slots * size * (size_t)config->vocab_size);
    state->positions = take(c, slots * sizeof *state->positions);
    state->tokens = take(c, rows * sizeof *state->tokens);
    state->attention_bytes = attention_workspace(model->context, config->heads, options->slots);
    state->attention = take(c, state->attention_bytes);
    state->workspace = take(c, state->workspace_bytes);
}

static pass pass_of(transformer_state *state, bool decoding, int64_t rows) {
    pass p = {.state = state,
              .attention = {.context = state->model->context,
                            .heads = state->model->config.heads,
                            .capacity = state->options.capacity,
                            .packed = state->packed,
                            .o = state->o,
                            .workspace = state->attention,
                            .rows = rows,
                            .positions = state->positions},
              .decoding = decoding};
    attention_set_turns(&p.attention);
    return p;
}

/* The most workspace that the operators ask for, on addresses that nothing is behind: of a step
 * and of prefills of every power of two. */
static tnl_status measure(transformer_state *state, size_t *bytes) {
    pass p = pass_of(state, true, state->options.slots);
    p.measured = bytes;
    tnl_status status = run_pass(&p);
    p.decoding = false;
    for (int64_t rows = 1; status == TNL_OK; rows *= 2) {
        p.attention.rows = rows < state->options.max_tokens ? rows : state->options.max_tokens;
        status = run_pass(&p);
        if (rows >= state->options.max_tokens)
            break;
    }
    return status;
}

static tnl_status allocate(transformer_state *state) {
    tnl_context *context = state->model->context;
    carver c = {(char *)TNL_WORKSPACE_ALIGNMENT, 0};
    lay_out(state, &c);
    tnl_status status = measure(state, &state->workspace_bytes);
    if (status != TNL_OK)
        return status;
    c.used = 0;
    lay_out(state, &c);
    state->bytes = c.used;
    state->position = calloc((size_t)state->options.slots, sizeof *state->position);
    state->memory = tnl_memory_allocate(context->device, state->bytes);
    if (!state->position || !state->memory)
        return tnl_fail(context, TNL_OUT_OF_MEMORY, "transformer: no memory for %zu bytes",
                        state->bytes);
    c = (carver){state->memory, 0};
    lay_out(state, &c);
    return tnl_memory_queue_zero(context, state->attention, state->attention_bytes)
               ? TNL_OK
               : tnl_fail(context, TNL_DEVICE_ERROR, "transformer: memory can't be cleared");
}

tnl_status transformer_state_create(transformer *model, const transformer_options *options,
                                    transformer_state **state) {
    *state = NULL;
    if (options->slots < 1 || options->capacity < 1 || options->max_tokens < options->slots)
        return tnl_fail(model->context, TNL_INVALID_ARGUMENT,
                        "transformer: %d slots of %lld tokens, %lld a call, expected at least one "
                        "of each and max_tokens >= slots",
                        options->slots, (long long)options->capacity,
                        (long long)options->max_tokens);
    transformer_state *made = calloc(1, sizeof *made);
    if (!made)
        return tnl_fail(model->context, TNL_OUT_OF_MEMORY, "transformer: out of memory");
    made->model = model;
    made->options = *options;
    int previous;
    tnl_status status = tnl_enter_device(model->context, &previous);
    if (status == TNL_OK) {
        status = allocate(made);
        tnl_leave_device(model->context, previous);
    }
    if (status == TNL_OK)
        *state = made;
    else
        transformer_state_destroy(made);
    return status;
}

void transformer_state_destroy(transformer_state *state) {
    if (!state)
        return;
    tnl_memory_free(state->model->context->device, state->memory);
    free(state->position);
    free(state);
}

size_t transformer_cache_bytes(const transformer_state *state) {
    return state->cache_bytes;
}

size_t transformer_workspace_bytes(const transformer_state *state) {
    return state->bytes - state->cache_bytes;
}

void *transformer_state_memory(const transformer_state *state) {
    return state->memory;
}

void transformer_set_position(transformer_state *state, int64_t position) {
    for (int i = 0; i < state->options.slots; i++)
        state->position[i] = position;
}

/* ---- feeding ------------------------------------------------------------------------------ */

/* Send the call's tokens and positions, and run. */
static tnl_status feed(const pass *p, const int32_t *tokens) {
    transformer_state *state = p->state;
    tnl_context *context = state->model->context;
    int previous;
    tnl_status status = tnl_enter_device(context, &previous);
    if (status != TNL_OK)
        return status;
    const size_t slots = (size_t)state->options.slots;
    if (!tnl_memory_queue_copy(context, state->positions, state->position,
                               slots * sizeof *state->positions) ||
        !tnl_memory_queue_copy(context, state->tokens, tokens,
                               (size_t)p->attention.rows * sizeof *state->tokens))
        status = tnl_fail(context, TNL_DEVICE_ERROR, "transformer: tokens can't be sent");
    if (status == TNL_OK)
        status = run_pass(p);
    tnl_leave_device(context, previous);
    state->rows = status == TNL_OK ? (p->decoding ? p->attention.rows : 1) : 0;
    return status;
}

/* Whether `count` tokens more fit behind what a sequence has. */
static tnl_status check_room(const transformer_state *state, int slot, int64_t count) {
    const int64_t room = state->options.capacity - state->position[slot];
    if (count >= 1 && count <= room && count <= state->options.max_tokens)
        return TNL_OK;
    return tnl_fail(state->model->context, TNL_INVALID_ARGUMENT,
                    "transformer: %lld tokens for slot %d, expected 1 to %lld and to %lld a call",
                    (long long)count, slot, (long long)room, (long long)state->options.max_tokens);
}

tnl_status transformer_prefill(transformer_state *state, int slot, const int32_t *tokens,
                               int64_t count) {
    tnl_status status = check_room(state, slot, count);
    if (status != TNL_OK)
        return status;
    pass p = pass_of(state, false, count);
    p.slot = slot;
    p.attention.first = state->position[slot];
    status = feed(&p, tokens);
    if (status == TNL_OK)
        state->position[slot] += count;
    return status;
}

tnl_status transformer_decode(transformer_state *state, const int32_t *tokens) {
    pass p = pass_of(state, true, state->options.slots);
    tnl_status status = TNL_OK;
    for (int i = 0; status == TNL_OK && i < state->options.slots; i++) {
        status = check_room(state, i, 1);
        if (state->position[i] > p.attention.longest)
            p.attention.longest = state->position[i];
    }
    if (status == TNL_OK)
        status = feed(&p, tokens);
    for (int i = 0; status == TNL_OK && i < state->options.slots; i++)
        state->position[i]++;
    return status;
}

tnl_tensor transformer_logits(const transformer_state *state) {
    return tnl_2d(state->logits, state->model->type, state->rows, state->model->config.vocab_size);
}
