/*
 * States: making one, and the calls on it. Everything on the device is one allocation, laid out in
 * state.h's order; how much workspace the operators ask for is measured before it is made, on
 * reserved addresses that nothing is behind.
 */
#include "model/state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/cuda.h"
#include "core/memory.h"
#include "model/convert.h"

#define FAIL(state, ...) tnl_fail((state)->context, TNL_INVALID_ARGUMENT, __VA_ARGS__)

enum { DEFAULT_TOKENS = 512 };

/* ---- layout ------------------------------------------------------------------------------- */

/* Aligned pieces of one allocation, one after the other. */
typedef struct carver {
    uintptr_t base;
    size_t used;
} carver;

static void *carve(carver *c, int64_t count, size_t size) {
    const size_t bytes = (size_t)count * size, unit = TNL_WORKSPACE_ALIGNMENT;
    void *at = (void *)(c->base + c->used);
    c->used += (bytes + unit - 1) / unit * unit;
    return at;
}

static tnl_index carve_index(const tnl_state *state, carver *c) {
    tnl_index index;
    index.positions = carve(c, state->slots, sizeof *index.positions);
    index.cu_seqlens = carve(c, state->slots + 1, sizeof *index.cu_seqlens);
    index.slots = carve(c, state->slots, sizeof *index.slots);
    index.tokens = carve(c, state->max_tokens, sizeof *index.tokens);
    return index;
}

static int64_t largest_slot(const tnl_config *config) {
    int64_t most = 0;
    for (int i = 0; i < config->layers; i++)
        most = tnl_slot_elements(config, i) > most ? tnl_slot_elements(config, i) : most;
    return most;
}

/* Everything but the workspace, from `base` on. Returns the bytes. */
static size_t lay_out(tnl_state *state, void *base) {
    const tnl_config *config = &state->model->checkpoint.config;
    const size_t size = tnl_type_size(state->model->type);
    const int64_t m = state->max_tokens, width = config->embed_dim, hidden = config->hidden_dim;
    carver c = {(uintptr_t)base, 0};
    for (int i = 0; i < config->layers; i++)
        state->layer[i] = carve(&c, state->slots * tnl_slot_elements(config, i), sizeof(float));
    state->bytes.slots = c.used;
    state->index = carve_index(state, &c);
    tnl_buffers *buffer = &state->buffer;
    buffer->residual = carve(&c, m * width, sizeof(float));
    buffer->x = carve(&c, m * width, size);
    buffer->y = carve(&c, m * width, size);
    buffer->packed = carve(&c, m * 6 * hidden, size);
    buffer->o = carve(&c, m * hidden, size);
    buffer->gated = carve(&c, state->slots * config->glu_dim, size);
    buffer->addend = carve(&c, state->slots * width, sizeof(float));
    buffer->gathered =
        carve(&c, state->slots > 1 ? state->slots * largest_slot(config) : 0, sizeof(float));
    buffer->last = carve(&c, state->slots * width, size);
    buffer->logits = carve(&c, state->logit_rows * config->vocab_size, size);
    buffer->step = carve(&c, (int64_t)state->step_bytes, 1);
    state->workspace = (void *)(c.base + c.used);
    return c.used;
}

/* ---- workspace ---------------------------------------------------------------------------- */

/* The next number of sequences to measure at: every one up to 64, then larger steps. */
static int next_count(int count, int most) {
    const int next = count + (count < 64 ? 1 : count / 16);
    return count < most && next > most ? most : next;
}

static int64_t next_tokens(int64_t tokens, int64_t most) {
    return tokens < most && 2 * tokens > most ? most : 2 * tokens;
}

/* The most that any operator asks for in any call. */
static tnl_status measure(tnl_state *state, size_t *bytes) {
    tnl_status status = TNL_OK;
    for (int s = 1; s <= state->slots; s = next_count(s, state->slots)) {
        tnl_pass pass = {.state = state,
                         .decoding = true,
                         .tokens = s,
                         .sequences = s,
                         .logit_rows = s < state->logit_rows ? s : state->logit_rows,
                         .measured = bytes};
        status = tnl_run_pass(&pass);
        pass.decoding = false;
        for (int64_t m = s; status == TNL_OK && m <= state->max_tokens;
             m = next_tokens(m, state->max_tokens)) {
            pass.tokens = m;
            pass.logit_rows = m < state->logit_rows ? m : state->logit_rows;
            status = tnl_run_pass(&pass);
        }
        if (status != TNL_OK)
            break;
    }
    return status;
}

/* ---- making one --------------------------------------------------------------------------- */

static tnl_status reserve_and_measure(tnl_state *state, size_t bytes) {
    void *reserved =
        mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return tnl_fail(state->context, TNL_OUT_OF_MEMORY,
                        "tnl_state_create: no addresses for %zu bytes", bytes);
    lay_out(state, reserved);
    const tnl_status status = measure(state, &state->bytes.workspace);
    munmap(reserved, bytes);
    return status;
}

static tnl_status allocate(tnl_state *state) {
    const tnl_config *config = &state->model->checkpoint.config;
    state->step_bytes = tnl_describe_step(state);
    const size_t bytes = lay_out(state, NULL);
    carver host = {0, 0};
    carve_index(state, &host);
    state->position = calloc((size_t)state->slots, sizeof *state->position);
    state->named = calloc((size_t)state->slots, sizeof *state->named);
    state->index_memory = calloc(1, host.used);
    state->graph = calloc((size_t)state->slots + 1, sizeof *state->graph);
    state->decoded = calloc((size_t)state->slots + 1, sizeof *state->decoded);
    if (!state->position || !state->named || !state->index_memory || !state->graph ||
        !state->decoded)
        return tnl_fail(state->context, TNL_OUT_OF_MEMORY, "tnl_state_create: out of memory");
    host = (carver){(uintptr_t)state->index_memory, 0};
    state->host_index = carve_index(state, &host);
    const tnl_status status = reserve_and_measure(state, bytes);
    if (status != TNL_OK)
        return status;
    state->memory = tnl_memory_allocate(state->context->device, bytes + state->bytes.workspace);
    if (!state->memory)
        return tnl_fail(state->context, TNL_OUT_OF_MEMORY,
                        "tnl_state_create: no memory for %zu bytes",
                        bytes + state->bytes.workspace);
    lay_out(state, state->memory);
    for (int i = 0; i < config->layers; i++)
        state->bytes.slot += sizeof(float) * (size_t)tnl_slot_elements(config, i);
    if (!tnl_memory_queue_zero(state->context, state->memory, state->bytes.slots))
        return tnl_fail(state->context, TNL_DEVICE_ERROR,
                        "tnl_state_create: the slots could not be cleared");
    if (state->step_bytes && !tnl_prepare_step(state, state->buffer.step, state->step_bytes))
        return tnl_fail(state->context, TNL_DEVICE_ERROR,
                        "tnl_state_create: the decode step could not be set up");
    return TNL_OK;
}

static tnl_status check_options(tnl_state *state, const tnl_state_options *options) {
    if (options->slots < 0 || options->slots > 1 << 20)
        return FAIL(state, "tnl_state_create: slots is %d, expected 0 (for 1) to %d",
                    options->slots, 1 << 20);
    state->slots = options->slots ? options->slots : 1;
    if (options->max_tokens != 0 &&
        (options->max_tokens < state->slots || options->max_tokens > 1 << 24))
        return FAIL(state, "tnl_state_create: max_tokens is %lld, expected slots = %d to %d",
                    (long long)options->max_tokens, state->slots, 1 << 24);
    state->max_tokens = options->max_tokens             ? options->max_tokens
                        : state->slots > DEFAULT_TOKENS ? state->slots
                                                        : DEFAULT_TOKENS;
    if (options->logit_rows != 0 &&
        (options->logit_rows < state->slots || options->logit_rows > state->max_tokens))
        return FAIL(
            state, "tnl_state_create: logit_rows is %lld, expected slots = %d to max_tokens = %lld",
            (long long)options->logit_rows, state->slots, (long long)state->max_tokens);
    state->logit_rows = options->logit_rows ? options->logit_rows : state->slots;
    return TNL_OK;
}

tnl_status tnl_state_create(tnl_model *model, tnl_context *context,
                            const tnl_state_options *options, tnl_state **state) {
    static const tnl_state_options defaults = {0};
    if (state)
        *state = NULL;
    if (!model || !context || !state)
        return tnl_fail(context, TNL_INVALID_ARGUMENT,
                        "tnl_state_create: %s is NULL, expected a pointer",
                        !model     ? "model"
                        : !context ? "context"
                                   : "state");
    if (context->device != model->device || context->index != model->index)
        return tnl_fail(context, TNL_INVALID_ARGUMENT,
                        "tnl_state_create: context is on another device, expected the model's");
    tnl_state *made = calloc(1, sizeof *made);
    if (!made)
        return tnl_fail(context, TNL_OUT_OF_MEMORY, "tnl_state_create: out of memory");
    made->model = model;
    made->context = context;
    int previous;
    tnl_status status = check_options(made, options ? options : &defaults);
    if (status == TNL_OK)
        status = tnl_enter_device(context, &previous);
    if (status == TNL_OK) {
        status = allocate(made);
        tnl_leave_device(context, previous);
    }
    if (status == TNL_OK)
        *state = made;
    else
        tnl_state_destroy(made);
    return status;
}

void tnl_state_destroy(tnl_state *state) {
    if (!state)
        return;
    tnl_memory_free(state->context->device, state->memory); /* waits */
    for (int i = 0; i < TNL_STATE_AHEAD; i++)
        tnl_mark_destroy(state->context, state->mark[i]);
    tnl_memory_free_shared(state->context, state->made);
    for (int i = 0; state->graph && i <= state->slots; i++)
        if (state->graph[i].stream)
            tnl_graph_free(&state->graph[i]);
    free(state->graph);
    free(state->decoded);
    free(state->index_memory);
    free(state->position);
    free(state->named);
    free(state);
}

tnl_state_bytes tnl_state_memory(const tnl_state *state) {
    tnl_state_bytes bytes = state->bytes;
    bytes.workspace += (size_t)((char *)state->workspace - (char *)state->memory) - bytes.slots;
    return bytes;
}
