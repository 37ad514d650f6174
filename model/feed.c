/*
 * Feeding tokens to a state, and reading what comes of it. Arguments are checked, put into the
 * index and sent to the device in one copy; then the model runs.
 */
#include <stdlib.h>
#include <string.h>

#include "core/cuda.h"
#include "core/memory.h"
#include "model/convert.h"
#include "model/state.h"

#define FAIL(state, ...) tnl_fail((state)->context, TNL_INVALID_ARGUMENT, __VA_ARGS__)

/* ---- checks ------------------------------------------------------------------------------- */

static tnl_status check_slot(const tnl_state *state, const char *function, int slot) {
    if (slot >= 0 && slot < state->slots)
        return TNL_OK;
    return FAIL(state, "%s: slot is %d, expected 0 to %d", function, slot, state->slots - 1);
}

static tnl_status check_token(const tnl_state *state, const char *function, int64_t i,
                              int32_t token) {
    const int64_t most = state->model->checkpoint.config.vocab_size - 1;
    if (token >= 0 && token <= most)
        return TNL_OK;
    return FAIL(state, "%s: tokens[%lld] is %d, expected 0 to %lld", function, (long long)i, token,
                (long long)most);
}

/* The slot of entry i, named for the first time in this call. */
static tnl_status name_slot(tnl_state *state, const char *function, int i, int slot) {
    const tnl_status status = check_slot(state, function, slot);
    if (status != TNL_OK)
        return status;
    if (state->named[slot])
        return FAIL(state, "%s: slot %d of entry %d came before, expected each once", function,
                    slot, i);
    state->named[slot] = true;
    return TNL_OK;
}

static tnl_status check_count(tnl_state *state, const char *function, int count,
                              const void *entries) {
    if (count < 1 || count > state->slots)
        return FAIL(state, "%s: count is %d, expected 1 to slots = %d", function, count,
                    state->slots);
    if (!entries)
        return FAIL(state, "%s: an array is NULL, expected %d entries", function, count);
    memset(state->named, 0, (size_t)state->slots * sizeof *state->named);
    return TNL_OK;
}

static tnl_status check_piece(tnl_state *state, int i, const tnl_piece *piece, int64_t room) {
    static const char function[] = "tnl_state_prefill";
    tnl_status status = name_slot(state, function, i, piece->slot);
    if (status != TNL_OK)
        return status;
    if (!piece->tokens)
        return FAIL(state, "%s: tokens of piece %d is NULL, expected token ids", function, i);
    if (piece->count < 1 || piece->count > room)
        return FAIL(state,
                    "%s: count of piece %d is %lld, expected 1 to %lld, what max_tokens = %lld "
                    "leaves for it",
                    function, i, (long long)piece->count, (long long)room,
                    (long long)state->max_tokens);
    if (piece->count > TNL_MAX_POSITION - state->position[piece->slot])
        return FAIL(state, "%s: count of piece %d goes beyond the last position", function, i);
    for (int64_t j = 0; status == TNL_OK && j < piece->count; j++)
        status = check_token(state, function, j, piece->tokens[j]);
    return status;
}

/* All pieces; *tokens counts them. */
static tnl_status check_pieces(tnl_state *state, int count, const tnl_piece *pieces,
                               tnl_prefill_flags flags, int64_t *tokens) {
    tnl_status status = check_count(state, "tnl_state_prefill", count, pieces);
    *tokens = 0;
    for (int i = 0; status == TNL_OK && i < count; i++) {
        status = check_piece(state, i, &pieces[i], state->max_tokens - *tokens - (count - 1 - i));
        if (status == TNL_OK)
            *tokens += pieces[i].count;
    }
    if (status != TNL_OK)
        return status;
    if (flags != TNL_LAST_LOGITS && flags != TNL_ALL_LOGITS && flags != TNL_NO_LOGITS)
        return FAIL(state, "tnl_state_prefill: flags is %d, expected one of tnl_prefill_flags",
                    (int)flags);
    if (flags == TNL_ALL_LOGITS && *tokens > state->logit_rows)
        return FAIL(state,
                    "tnl_state_prefill: logits of %lld tokens, expected at most logit_rows = %lld",
                    (long long)*tokens, (long long)state->logit_rows);
    return TNL_OK;
}

/* ---- running ------------------------------------------------------------------------------ */

/* Send the index of so many tokens. */
static tnl_status send_index(tnl_state *state, int64_t tokens) {
    const size_t bytes =
        (size_t)((char *)(state->host_index.tokens + tokens) - (char *)state->index_memory);
    if (tnl_memory_queue_copy(state->context, state->index.positions, state->index_memory, bytes))
        return TNL_OK;
    return tnl_fail(state->context, TNL_DEVICE_ERROR, "the tokens could not be sent");
}

/* Send the index and run, on the context's device; the slots' positions move on. */
static tnl_status run(tnl_state *state, const tnl_pass *pass) {
    int previous;
    state->rows = 0;
    tnl_status status = tnl_enter_device(state->context, &previous);
    if (status != TNL_OK)
        return status;
    status = send_index(state, pass->tokens);
    if (status == TNL_OK)
        status = pass->decoding ? tnl_run_decode(pass) : tnl_run_pass(pass);
    tnl_leave_device(state->context, previous);
    if (status != TNL_OK)
        return status;
    const int32_t *cu_seqlens = state->host_index.cu_seqlens;
    for (int i = 0; i < pass->sequences; i++)
        state->position[state->host_index.slots[i]] += cu_seqlens[i + 1] - cu_seqlens[i];
    state->rows = pass->logit_rows;
    state->sequences = pass->sequences;
    return TNL_OK;
}

/* One sequence's part of the index. */
static void set_entry(tnl_state *state, int i, int slot, const int32_t *tokens, int64_t count) {
    const tnl_index *index = &state->host_index;
    index->positions[i] = state->position[slot];
    index->slots[i] = slot;
    index->cu_seqlens[0] = 0;
    index->cu_seqlens[i + 1] = index->cu_seqlens[i] + (int32_t)count;
    memcpy(index->tokens + index->cu_seqlens[i], tokens, sizeof *tokens * (size_t)count);
}

tnl_status tnl_state_prefill(tnl_state *state, int count, const tnl_piece *pieces,
                             tnl_prefill_flags flags) {
    int64_t tokens;
    if (!state)
        return TNL_INVALID_ARGUMENT;
    const tnl_status status = check_pieces(state, count, pieces, flags, &tokens);
    if (status != TNL_OK)
        return status;
    for (int i = 0; i < count; i++)
        set_entry(state, i, pieces[i].slot, pieces[i].tokens, pieces[i].count);
    const tnl_pass pass = {.state = state,
                           .tokens = tokens,
                           .sequences = count,
                           .logit_rows = flags == TNL_ALL_LOGITS    ? tokens
                                         : flags == TNL_LAST_LOGITS ? count
                                                                    : 0};
    return run(state, &pass);
}

tnl_status tnl_check_slots(tnl_state *state, const char *function, int count,
                           const int32_t *slots) {
    tnl_status status = check_count(state, function, count, slots);
    for (int i = 0; status == TNL_OK && i < count; i++) {
        status = name_slot(state, function, i, slots[i]);
        if (status == TNL_OK && state->position[slots[i]] >= TNL_MAX_POSITION)
            status = FAIL(state, "%s: slot %d is at the last position", function, slots[i]);
    }
    return status;
}

tnl_status tnl_send_slots(tnl_state *state, int count, const int32_t *slots) {
    static const int32_t none = 0;
    for (int i = 0; i < count; i++)
        set_entry(state, i, slots[i], &none, 1);
    return send_index(state, count);
}

tnl_status tnl_state_decode(tnl_state *state, int count, const int32_t *slots,
                            const int32_t *tokens) {
    static const char function[] = "tnl_state_decode";
    if (!state)
        return TNL_INVALID_ARGUMENT;
    tnl_status status = tnl_check_slots(state, function, count, tokens ? slots : NULL);
    for (int i = 0; status == TNL_OK && i < count; i++)
        status = check_token(state, function, i, tokens[i]);
    if (status != TNL_OK)
        return status;
    for (int i = 0; i < count; i++)
        set_entry(state, i, slots[i], &tokens[i], 1);
    const tnl_pass pass = {
        .state = state, .decoding = true, .tokens = count, .sequences = count, .logit_rows = count};
    return run(state, &pass);
}

/* ---- logits ------------------------------------------------------------------------------- */

tnl_status tnl_state_logits(tnl_state *state, tnl_tensor *logits) {
    if (!state)
        return TNL_INVALID_ARGUMENT;
    if (!logits)
        return FAIL(state, "tnl_state_logits: logits is NULL, expected a pointer");
    if (state->rows == 0)
        return FAIL(state, "tnl_state_logits: the last call made none");
    *logits = tnl_2d(state->buffer.logits, state->model->type, state->rows,
                     state->model->checkpoint.config.vocab_size);
    return TNL_OK;
}

/* Elements of a 16-bit type that end where the array ends: a block of them is taken away before
 * what it becomes is written over it and what follows. */
static void widen(float *to, const char *from, tnl_type type, size_t count) {
    enum { BLOCK = 4096 };
    uint16_t block[BLOCK];
    for (size_t i = 0, some; i < count; i += some) {
        some = count - i < BLOCK ? count - i : BLOCK;
        memcpy(block, from + i * sizeof *block, some * sizeof *block);
        tnl_convert(to + i, TNL_FLOAT32, block, type, some);
    }
}

tnl_status tnl_state_read_logits(tnl_state *state, float *logits) {
    tnl_tensor t;
    tnl_status status = tnl_state_logits(state, &t);
    if (status != TNL_OK)
        return status;
    if (!logits)
        return FAIL(state, "tnl_state_read_logits: logits is NULL, expected host memory");
    const size_t count = (size_t)(t.shape[0] * t.shape[1]), bytes = count * tnl_type_size(t.type);
    /* A smaller type is read into the end of the array, and widened from there, from the front. */
    char *raw = (char *)logits + (count * sizeof *logits - bytes);
    int previous;
    status = tnl_enter_device(state->context, &previous);
    if (status != TNL_OK)
        return status;
    if (!tnl_memory_queue_copy(state->context, raw, t.data, bytes) ||
        !tnl_memory_synchronize(state->context))
        status = tnl_fail(state->context, TNL_DEVICE_ERROR, "the logits could not be read");
    tnl_leave_device(state->context, previous);
    if (status == TNL_OK && t.type != TNL_FLOAT32)
        widen(logits, raw, t.type, count);
    return status;
}

/* ---- slots -------------------------------------------------------------------------------- */

int64_t tnl_state_position(const tnl_state *state, int slot) {
    return state && slot >= 0 && slot < state->slots ? state->position[slot] : -1;
}

/* Work on each layer's part of a slot; `from` < 0: zero it. */
static bool set_slot(tnl_state *state, int from, int to) {
    const tnl_config *config = &state->model->checkpoint.config;
    bool set = true;
    for (int i = 0; set && i < config->layers; i++) {
        const int64_t elements = tnl_slot_elements(config, i);
        const size_t bytes = sizeof(float) * (size_t)elements;
        float *at = state->layer[i] + to * elements;
        set = from < 0 ? tnl_memory_queue_zero(state->context, at, bytes)
                       : tnl_memory_queue_copy(state->context, at,
                                               state->layer[i] + from * elements, bytes);
    }
    return set;
}

static tnl_status change_slot(tnl_state *state, int from, int to) {
    int previous;
    tnl_status status = tnl_enter_device(state->context, &previous);
    if (status != TNL_OK)
        return status;
    if (!set_slot(state, from, to))
        status = tnl_fail(state->context, TNL_DEVICE_ERROR, "slot %d could not be set", to);
    tnl_leave_device(state->context, previous);
    if (status == TNL_OK)
        state->position[to] = from < 0 ? 0 : state->position[from];
    return status;
}

tnl_status tnl_state_reset(tnl_state *state, int slot) {
    if (!state)
        return TNL_INVALID_ARGUMENT;
    const tnl_status status = check_slot(state, "tnl_state_reset", slot);
    return status == TNL_OK ? change_slot(state, -1, slot) : status;
}

tnl_status tnl_state_copy(tnl_state *state, int from, int to) {
    if (!state)
        return TNL_INVALID_ARGUMENT;
    tnl_status status = check_slot(state, "tnl_state_copy", from);
    if (status == TNL_OK)
        status = check_slot(state, "tnl_state_copy", to);
    return status == TNL_OK && from != to ? change_slot(state, from, to) : status;
}
