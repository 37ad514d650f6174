/*
 * Generating tokens (tnl_state_generate). On CUDA a step is queued as a choice from the last
 * logits, which goes to the device's index and to memory of the host alike, and a decoding pass of
 * what was chosen; a mark behind the choice says when the host may look. Choices are given on in
 * order, up to AHEAD steps behind the queue. On the CPU a step is done when it returns.
 */
#include "core/cuda.h"
#include "core/memory.h"
#include "model/sampler.h"
#include "model/state.h"

enum { AHEAD = TNL_STATE_AHEAD };

typedef struct generation {
    tnl_state *state;
    const tnl_generation *how;
    int count;
    const int32_t *slots;
    int64_t queued, given; /* choices */
    int left;              /* slots that have not stopped, of the choices given */
    bool ended;            /* by give, or a logit that is no finite number */
    tnl_sampler sampler;   /* CPU */
} generation;

static int32_t *choices_of(const generation *g, int64_t step) {
    return g->state->made + step % AHEAD * g->state->slots;
}

/* ---- choosing ------------------------------------------------------------------------------ */

static tnl_status choose_on_host(generation *g, int32_t *made) {
    const tnl_state *state = g->state;
    const int64_t vocab = state->model->checkpoint.config.vocab_size;
    for (int i = 0; i < g->count; i++) {
        int32_t *slot = &state->index.slots[i];
        made[i] = TNL_TOKEN_NONE;
        if (*slot < 0)
            continue;
        made[i] = tnl_sampler_choose(&g->sampler, &g->how->sampling,
                                     (const float *)state->buffer.logits + i * vocab,
                                     tnl_draw(&g->how->sampling, (uint64_t)i, (uint64_t)g->queued));
        if (g->queued > 0)
            state->index.positions[i]++;
        state->index.tokens[i] = made[i] < 0 ? 0 : made[i];
        if (made[i] < 0 || made[i] == g->how->stop)
            *slot = -1;
    }
    return TNL_OK;
}

static tnl_status choose_on_device(generation *g, int32_t *made) {
#ifdef TNL_WITH_CUDA
    tnl_state *state = g->state;
    const tnl_cuda_choice choice = {.logits =
                                        tnl_2d(state->buffer.logits, state->model->type, g->count,
                                               state->model->checkpoint.config.vocab_size),
                                    .sampling = g->how->sampling,
                                    .step = (uint64_t)g->queued,
                                    .stop = g->how->stop,
                                    .fed = g->queued > 0,
                                    .positions = state->index.positions,
                                    .slots = state->index.slots,
                                    .tokens = state->index.tokens,
                                    .made = made};
    return tnl_cuda_choose(state->context, &choice);
#else
    (void)made;
    return tnl_fail(g->state->context, TNL_NO_DEVICE, "tnl_state_generate: no CUDA in this build");
#endif
}

/* The next choice, and unless it is the last the pass that feeds it. */
static tnl_status queue_step(generation *g) {
    tnl_state *state = g->state;
    int32_t *made = choices_of(g, g->queued);
    const bool host = state->context->device == TNL_CPU;
    tnl_status status = host ? choose_on_host(g, made) : choose_on_device(g, made);
    if (status == TNL_OK && !tnl_mark_set(state->context, state->mark[g->queued % AHEAD]))
        status = tnl_fail(state->context, TNL_DEVICE_ERROR, "tnl_state_generate: no mark was set");
    if (status != TNL_OK || ++g->queued == g->how->steps)
        return status;
    const tnl_pass pass = {.state = state,
                           .decoding = true,
                           .tokens = g->count,
                           .sequences = g->count,
                           .logit_rows = g->count};
    return tnl_run_decode(&pass);
}

/* ---- giving -------------------------------------------------------------------------------- */

/* Count what of a step was fed: tokens that were chosen, none of them the one to stop at. */
static void count_fed(generation *g, const int32_t *made) {
    const bool fed = g->given + 1 < g->how->steps;
    g->left = 0;
    for (int i = 0; i < g->count; i++) {
        const bool goes_on = made[i] >= 0 && made[i] != g->how->stop;
        g->left += goes_on;
        g->state->position[g->slots[i]] += goes_on && fed;
    }
}

/* Wait for the oldest choice that was not given, and give it unless the generation has ended. */
static tnl_status give_step(generation *g) {
    tnl_state *state = g->state;
    int32_t *made = choices_of(g, g->given);
    if (!tnl_mark_wait(state->context, state->mark[g->given % AHEAD]))
        return tnl_fail(state->context, TNL_DEVICE_ERROR, "tnl_state_generate: the device failed");
    count_fed(g, made);
    tnl_status status = TNL_OK;
    for (int i = 0; i < g->count && !g->ended; i++)
        if (made[i] == TNL_TOKEN_NOT_FINITE)
            status = tnl_fail(state->context, TNL_INVALID_ARGUMENT,
                              "tnl_state_generate: a logit of slot %d is inf or nan, expected "
                              "finite numbers",
                              g->slots[i]);
    g->ended = g->ended || status != TNL_OK || g->how->give(g->how->user, g->given, made) != 0;
    g->given++;
    return status;
}

static tnl_status run_steps(generation *g) {
    tnl_status status = TNL_OK;
    g->left = g->count;
    while (status == TNL_OK && g->queued < g->how->steps && g->left > 0 && !g->ended) {
        status = queue_step(g);
        const bool wait = g->queued - g->given == AHEAD || g->state->context->device == TNL_CPU;
        if (status == TNL_OK && wait)
            status = give_step(g);
    }
    while (g->given < g->queued && status != TNL_DEVICE_ERROR) {
        const tnl_status given = give_step(g);
        status = status == TNL_OK ? given : status;
    }
    return status;
}

/* ---- the call ------------------------------------------------------------------------------ */

#define FAIL(state, ...) tnl_fail((state)->context, TNL_INVALID_ARGUMENT, __VA_ARGS__)

static tnl_status check_how(const tnl_state *state, const tnl_generation *how) {
    static const char function[] = "tnl_state_generate";
    if (!how || !how->give)
        return FAIL(state, "%s: %s is NULL, expected a pointer", function, how ? "give" : "how");
    if (how->steps < 1)
        return FAIL(state, "%s: steps is %lld, expected 1 or more", function,
                    (long long)how->steps);
    if (!(how->sampling.temperature >= 0) || how->sampling.temperature > 1e30)
        return FAIL(state, "%s: temperature is %g, expected 0 to 1e30", function,
                    how->sampling.temperature);
    if (how->sampling.top_k < 0)
        return FAIL(state, "%s: top_k is %lld, expected 0 or more", function,
                    (long long)how->sampling.top_k);
    if (!(how->sampling.top_p >= 0 && how->sampling.top_p <= 1))
        return FAIL(state, "%s: top_p is %g, expected 0 to 1", function, how->sampling.top_p);
    return TNL_OK;
}

static tnl_status check_count_and_positions(const generation *g) {
    const tnl_state *state = g->state;
    if (state->rows != g->count)
        return FAIL(state,
                    "tnl_state_generate: count is %d, expected %lld, the last call's rows of "
                    "logits",
                    g->count, (long long)state->rows);
    for (int i = 0; i < g->count; i++)
        if (state->position[g->slots[i]] > TNL_MAX_POSITION - g->how->steps)
            return FAIL(state,
                        "tnl_state_generate: steps is %lld, expected no more than slot %d has "
                        "positions left",
                        (long long)g->how->steps, g->slots[i]);
    return TNL_OK;
}

/* Where choices go, and marks: had once, at the first generation. */
static tnl_status set_up(generation *g) {
    tnl_state *state = g->state;
    if (!state->made) {
        bool made = true;
        for (int i = 0; i < AHEAD; i++)
            made = made && (state->mark[i] || tnl_mark_create(state->context, &state->mark[i]));
        if (made)
            state->made = tnl_memory_allocate_shared(
                state->context, sizeof *state->made * (size_t)(AHEAD * state->slots));
    }
    const bool host = state->context->device == TNL_CPU;
    if (!state->made ||
        (host && !tnl_sampler_open(&g->sampler, state->model->checkpoint.config.vocab_size)))
        return tnl_fail(state->context, TNL_OUT_OF_MEMORY, "tnl_state_generate: out of memory");
    return tnl_send_slots(state, g->count, g->slots);
}

tnl_status tnl_state_generate(tnl_state *state, int count, const int32_t *slots,
                              const tnl_generation *how) {
    if (!state)
        return TNL_INVALID_ARGUMENT;
    generation g = {.state = state, .how = how, .count = count, .slots = slots};
    tnl_status status = tnl_check_slots(state, "tnl_state_generate", count, slots);
    if (status == TNL_OK)
        status = check_how(state, how);
    if (status == TNL_OK)
        status = check_count_and_positions(&g);
    int previous;
    if (status == TNL_OK)
        status = tnl_enter_device(state->context, &previous);
    if (status != TNL_OK)
        return status;
    status = set_up(&g);
    if (status == TNL_OK)
        status = run_steps(&g);
    tnl_leave_device(state->context, previous);
    tnl_sampler_close(&g.sampler);
    if (status == TNL_DEVICE_ERROR)
        state->rows = 0;
    return status;
}
