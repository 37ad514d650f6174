/*
 * Generating tokens (tnl_state_generate). On CUDA a step is queued as a choice from the last
 * logits, which goes to the device's index and to memory of the host alike, and a decoding pass of
 * what was chosen; a mark behind the choice says when the host may look. Choices are given on in
 * order, up to AHEAD steps behind the queue. On the CPU a choice is given on before it is fed.
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
    bool ended;            /* by give, by the last slot's stop, or a logit that is not finite */
    tnl_sampler sampler;   /* CPU */
} generation;

static int32_t *choices_of(const generation *g, int64_t step) {
    return g->state->made + step % AHEAD * g->state->slots;
}

/* ---- choosing ------------------------------------------------------------------------------ */

static void choose_on_host(generation *g, int32_t *made) {
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

/* The pass that feeds what was chosen last, unless that was the last choice. */
static tnl_status feed_chosen(generation *g) {
    const tnl_pass pass = {.state = g->state,
                           .decoding = true,
                           .tokens = g->count,
                           .sequences = g->count,
                           .logit_rows = g->count};
    return g->queued < g->how->steps ? tnl_run_decode(&pass) : TNL_OK;
}

/* The next choice, and behind it the pass that feeds it. */
static tnl_status queue_step(generation *g) {
    tnl_state *state = g->state;
    tnl_status status = choose_on_device(g, choices_of(g, g->queued));
    if (status == TNL_OK && !tnl_mark_set(state->context, state->mark[g->queued % AHEAD]))
        status = tnl_fail(state->context, TNL_DEVICE_ERROR, "tnl_state_generate: no mark was set");
    if (status != TNL_OK)
        return status;
    g->queued++;
    return feed_chosen(g);
}

/* ---- giving -------------------------------------------------------------------------------- */

static bool goes_on(const generation *g, int32_t made) {
    return made >= 0 && made != g->how->stop;
}

/* Count what of a step was fed: tokens that were chosen, none of them the one to stop at. */
static void count_fed(generation *g, const int32_t *made) {
    for (int i = 0; i < g->count; i++)
        g->state->position[g->slots[i]] += goes_on(g, made[i]);
}

/* Give a step unless the generation has ended. */
static tnl_status give(generation *g, const int32_t *made) {
    tnl_state *state = g->state;
    tnl_status status = TNL_OK;
    for (int i = 0; i < g->count && !g->ended; i++)
        if (made[i] == TNL_TOKEN_NOT_FINITE)
            status = tnl_fail(state->context, TNL_INVALID_ARGUMENT,
                              "tnl_state_generate: a logit of slot %d is inf or nan, expected "
                              "finite numbers",
                              g->slots[i]);
    g->ended = g->ended || status != TNL_OK || g->how->give(g->how->user, g->given, made) != 0;
    g->given++;
    g->left = 0;
    for (int i = 0; i < g->count; i++)
        g->left += goes_on(g, made[i]);
    g->ended = g->ended || g->left == 0;
    return status;
}

/* Wait for the oldest choice that was not given, and give it. */
static tnl_status give_queued(generation *g) {
    const int32_t *made = choices_of(g, g->given);
    if (!tnl_mark_wait(g->state->context, g->state->mark[g->given % AHEAD]))
        return tnl_fail(g->state->context, TNL_DEVICE_ERROR,
                        "tnl_state_generate: the device failed");
    if (g->given + 1 < g->how->steps)
        count_fed(g, made);
    return give(g, made);
}

static tnl_status run_on_device(generation *g) {
    tnl_status status = TNL_OK;
    while (status == TNL_OK && g->queued < g->how->steps && !g->ended) {
        status = queue_step(g);
        if (status == TNL_OK && g->queued - g->given == AHEAD)
            status = give_queued(g);
    }
    while (g->given < g->queued && status != TNL_DEVICE_ERROR) {
        const tnl_status given = give_queued(g);
        status = status == TNL_OK ? given : status;
    }
    return status;
}

static tnl_status run_on_host(generation *g) {
    tnl_status status = TNL_OK;
    while (status == TNL_OK && g->queued < g->how->steps && !g->ended) {
        int32_t *made = choices_of(g, g->queued);
        choose_on_host(g, made);
        g->queued++;
        status = give(g, made);
        if (status != TNL_OK || g->ended || g->queued == g->how->steps)
            break;
        status = feed_chosen(g);
        if (status == TNL_OK)
            count_fed(g, made);
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
    const double temperature = how->sampling.temperature;
    if (temperature != 0 && !(temperature >= 1e-30 && temperature <= 1e30))
        return FAIL(state, "%s: temperature is %g, expected 0, or 1e-30 to 1e30", function,
                    temperature);
    if (how->sampling.top_k < 0)
        return FAIL(state, "%s: top_k is %lld, expected 0 or more", function,
                    (long long)how->sampling.top_k);
    if (!(how->sampling.top_p >= 0 && how->sampling.top_p <= 1))
        return FAIL(state, "%s: top_p is %g, expected 0 to 1", function, how->sampling.top_p);
    return TNL_OK;
}

static tnl_status check_count_and_positions(const generation *g) {
    const tnl_state *state = g->state;
    if (state->rows != g->count || state->sequences != g->count)
        return FAIL(state,
                    "tnl_state_generate: count is %d, expected %lld, the last call's rows of "
                    "logits, one a slot",
                    g->count, (long long)state->rows);
    for (int i = 0; i < g->count; i++)
        if (state->host_index.slots[i] != g->slots[i])
            return FAIL(state,
                        "tnl_state_generate: slots[%d] is %d, expected %d, whose logits the last "
                        "call made there",
                        i, g->slots[i], state->host_index.slots[i]);
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
        status = state->context->device == TNL_CPU ? run_on_host(&g) : run_on_device(&g);
    tnl_leave_device(state->context, previous);
    tnl_sampler_close(&g.sampler);
    /* Behind an end before the last step the logits are not all of tokens that were given. */
    if (g.queued > 0 && (status != TNL_OK || g.given < how->steps || g.left < count))
        state->rows = 0;
    return status;
}
