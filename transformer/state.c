/* The Transformer's states: caches, activations and workspace in one allocation, and feeding them.
 */
#include <stdlib.h>

#include "core/cuda.h"
#include "core/memory.h"
#include "transformer/parts.h"

static void lay_out(transformer_state *state, transformer_carver *c) {
    const transformer *model = state->model;
    const tnl_config *config = &model->config;
    const transformer_options *options = &state->options;
    const size_t size = tnl_type_size(model->type), width = size * (size_t)config->embed_dim;
    const size_t rows = (size_t)options->max_tokens, slots = (size_t)options->slots;
    const size_t cache = (size_t)config->layers * slots * (size_t)options->capacity * width;
    state->k = transformer_take(c, cache);
    state->v = transformer_take(c, cache);
    state->cache_bytes = c->used;
    state->stream = transformer_take(c, rows * (size_t)config->embed_dim * sizeof *state->stream);
    state->x = transformer_take(c, rows * width);
    state->y = transformer_take(c, rows * width);
    state->packed = transformer_take(c, rows * 3 * width);
    state->o = transformer_take(c, rows * width);
    state->logits = transformer_take(c, slots * size * (size_t)config->vocab_size);
    state->positions = transformer_take(c, slots * sizeof *state->positions);
    state->tokens = transformer_take(c, rows * sizeof *state->tokens);
    state->attention_bytes = attention_workspace(model->context, config->heads, options->slots);
    state->attention = transformer_take(c, state->attention_bytes);
    state->workspace = transformer_take(c, state->workspace_bytes);
}

static transformer_pass pass_of(transformer_state *state, bool decoding, int64_t rows) {
    transformer_pass p = {.state = state,
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
    transformer_pass p = pass_of(state, true, state->options.slots);
    p.measured = bytes;
    tnl_status status = transformer_run_pass(&p);
    p.decoding = false;
    for (int64_t rows = 1; status == TNL_OK; rows *= 2) {
        p.attention.rows = rows < state->options.max_tokens ? rows : state->options.max_tokens;
        status = transformer_run_pass(&p);
        if (rows >= state->options.max_tokens)
            break;
    }
    return status;
}

static tnl_status allocate(transformer_state *state) {
    tnl_context *context = state->model->context;
    transformer_carver c = {(char *)TNL_WORKSPACE_ALIGNMENT, 0};
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
    c = (transformer_carver){state->memory, 0};
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

static void drop_step(transformer_state *state) {
    if (state->step_splits)
        tnl_graph_free(&state->step);
    state->step_splits = 0;
}

void transformer_state_destroy(transformer_state *state) {
    if (!state)
        return;
    drop_step(state);
    tnl_memory_free(state->model->context->device, state->memory);
    free(state->position);
    free(state);
}

/* Record a step; false: it can't be. */
static bool record_step(const transformer_pass *p, int splits) {
    transformer_state *state = p->state;
    drop_step(state);
    bool recorded =
        tnl_graph_begin(&state->step, state->model->context) && transformer_run_pass(p) == TNL_OK;
    recorded = tnl_graph_end(&state->step) && recorded;
    state->step_splits = splits;
    if (!recorded)
        drop_step(state);
    return recorded;
}

/* On CUDA a step is a graph from the second one on that launches the same. */
static tnl_status run_step(const transformer_pass *p) {
    transformer_state *state = p->state;
    tnl_context *context = state->model->context;
    const int splits = attention_splits(&p->attention), before = state->tried_splits;
    state->tried_splits = splits;
    if (context->device == TNL_CPU || before != splits ||
        (state->step_splits != splits && !record_step(p, splits)))
        return transformer_run_pass(p);
    return tnl_graph_launch(&state->step)
               ? TNL_OK
               : tnl_fail(context, TNL_DEVICE_ERROR, "transformer: a graph can't be launched");
}

/* Send the call's tokens and positions, and run. */
static tnl_status feed(const transformer_pass *p, const int32_t *tokens) {
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
        status = p->decoding ? run_step(p) : transformer_run_pass(p);
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
    transformer_pass p = pass_of(state, false, count);
    p.slot = slot;
    p.attention.first = state->position[slot];
    status = feed(&p, tokens);
    if (status == TNL_OK)
        state->position[slot] += count;
    return status;
}

tnl_status transformer_decode(transformer_state *state, const int32_t *tokens) {
    transformer_pass p = pass_of(state, true, state->options.slots);
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
