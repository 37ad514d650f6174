/*
 * Attention in time and memory linear in n: a left product inside chunks of CHUNK tokens, a d x e
 * state between them (cpu_attention.h has the equations). Forward is one sweep over the chunks,
 * with the state S; backward is a sweep forwards with S, for what of dQ comes through it, and one
 * backwards with its gradient R, for dK, dV and the rest of dQ. Nothing is kept between sweeps.
 *
 * Each head of each sequence is a problem, and threads share out the problems. Where there are
 * fewer problems than threads, each is cut into parts of consecutive chunks. A sweep then has
 * three phases: the sum of each part alone as if it began with a zero state; from those, in
 * order, the state with which each part begins; and the parts side by side, each from its state.
 * With one part a problem only the last phase is left.
 *
 * Workspace:
 *     [ states: a d x e one for each part ][ for each thread: scores CHUNK^2, CHUNK max(d,e) ]
 */
#include <omp.h>

#include "core/context.h"
#include "core/kernels.h"
#include "kernels/attention/cpu_attention.h"

/* Larger chunks waste more work above the diagonal, smaller ones make the GEMMs too small: of 32,
 * 48, 64, 96 and 128, measured at d = e = 64, 128 and 256, this is the best compromise. */
enum { CHUNK = 48 };

typedef struct plan {
    int threads;
    int64_t problems, parts;
    int64_t state_floats, thread_floats;
} plan;

/* A chunk and what it is computed with. */
typedef struct chunk {
    const tnl_attention *a;
    const tnl_head *head;
    int64_t first, rows; /* its tokens */
    tnl_decay decay;
    tnl_matrix state;    /* the sweep's, S or R', as it comes to the chunk */
    tnl_matrix entering; /* the same, or data NULL where it is known to be zero */
    tnl_matrix scores;
    float *scratch;
} chunk;

/* What a sweep does at each chunk, and the tensors of the state at its two ends. */
typedef struct sweep {
    bool reverse;
    void (*outputs)(const chunk *c);
    void (*update)(const chunk *c);
    const tnl_tensor *start, *end;
} sweep;

/* ---- plan ---- */

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static plan plan_for(const tnl_attention *a) {
    int threads = a->call->context->threads;
    int64_t problems = a->sequences * a->heads;
    return (plan){
        .threads = threads,
        .problems = problems,
        .parts = smaller(divide_up(threads, problems), divide_up(a->n, CHUNK)),
        .state_floats = a->d * a->e,
        .thread_floats = CHUNK * CHUNK + CHUNK * (a->d > a->e ? a->d : a->e),
    };
}

static double plan_floats(const plan *p) {
    return (double)p->problems * (double)p->parts * (double)p->state_floats +
           (double)p->threads * (double)p->thread_floats;
}

static const char *rejects(const tnl_call *call) {
    tnl_attention a = tnl_attention_of(call);
    plan p = plan_for(&a);
    return tnl_attention_rejects(call, plan_floats(&p));
}

static size_t workspace(const tnl_call *call) {
    tnl_attention a = tnl_attention_of(call);
    plan p = plan_for(&a);
    return (size_t)plan_floats(&p) * sizeof(float);
}

/* ---- what is done with a chunk ---- */

static tnl_matrix rows_of(const chunk *c, const tnl_tensor *tensor) {
    return tnl_head_rows(tensor, c->head, c->first, c->rows);
}

static void update_state(const chunk *c) {
    tnl_chunk_state(rows_of(c, c->a->k), rows_of(c, c->a->v), c->decay, c->scratch, c->state);
}

static void update_dstate(const chunk *c) {
    tnl_chunk_dstate(rows_of(c, c->a->q), rows_of(c, c->a->dout), c->decay, c->scratch, c->state);
}

static void output_o(const chunk *c) {
    const tnl_attention *a = c->a;
    tnl_chunk_o(rows_of(c, a->q), rows_of(c, a->k), rows_of(c, a->v), c->entering, c->decay,
                c->scores, c->scratch, rows_of(c, a->o));
}

static void output_dq_state(const chunk *c) {
    if (c->entering.data)
        tnl_chunk_dq_state(rows_of(c, c->a->dout), c->entering, c->decay, c->scratch,
                           rows_of(c, c->a->dq));
}

/* The sweep forwards has left what of dQ comes through the state, in chunks that have one. */
static void output_dk_dv_dq(const chunk *c) {
    const tnl_attention *a = c->a;
    tnl_matrix q = rows_of(c, a->q), k = rows_of(c, a->k), v = rows_of(c, a->v);
    tnl_matrix dout = rows_of(c, a->dout);
    tnl_chunk_scores(q, k, c->decay, c->scores);
    tnl_chunk_dv(k, dout, c->entering, c->decay, c->scores, c->scratch, rows_of(c, a->dv));
    tnl_chunk_scores(dout, v, c->decay, c->scores);
    tnl_chunk_dk(q, v, c->entering, c->decay, c->scores, c->scratch, rows_of(c, a->dk));
    tnl_chunk_dq_scores(k, c->scores, c->first > 0 || a->initial_state, rows_of(c, a->dq));
}

/* ---- sweeps ---- */

/* The tokens of the i-th part in the sweep's order. */
static void part_tokens(const tnl_head *head, const plan *p, const sweep *s, int64_t i,
                        int64_t *begin, int64_t *end) {
    int64_t chunks = divide_up(head->tokens, CHUNK);
    int64_t part = s->reverse ? p->parts - 1 - i : i;
    *begin = chunks * part / p->parts * CHUNK;
    *end = smaller(chunks * (part + 1) / p->parts * CHUNK, head->tokens);
}

/* Take the state through the i-th part, with outputs or without. */
static void sweep_part(const tnl_attention *a, const plan *p, const sweep *s, const tnl_head *head,
                       int64_t i, tnl_matrix state, bool outputs, float *memory) {
    float table[CHUNK + 1];
    chunk c = {.a = a,
               .head = head,
               .decay = tnl_make_decay(table, CHUNK, head->slope),
               .state = state,
               .scratch = memory + CHUNK * CHUNK};
    int64_t begin, end;
    part_tokens(head, p, s, i, &begin, &end);
    int64_t chunks = divide_up(end - begin, CHUNK);
    for (int64_t j = 0; j < chunks; j++) {
        c.first = begin + (s->reverse ? chunks - 1 - j : j) * CHUNK;
        c.rows = smaller(CHUNK, end - c.first);
        c.scores = tnl_dense(memory, c.rows, c.rows);
        bool first = c.first == 0, last = c.first + c.rows == head->tokens;
        bool at_start = s->reverse ? last : first, at_end = s->reverse ? first : last;
        c.entering = state;
        if (at_start && !s->start)
            c.entering.data = NULL;
        if (outputs)
            s->outputs(&c);
        if (!at_end || s->end)
            s->update(&c);
    }
}

static tnl_matrix state_of(const tnl_attention *a, const plan *p, int64_t problem, int64_t i) {
    float *states = a->call->workspace;
    return tnl_dense(states + (problem * p->parts + i) * p->state_floats, a->d, a->e);
}

static tnl_head head_of(const tnl_attention *a, int64_t problem) {
    return tnl_get_head(a, problem / a->heads, problem % a->heads);
}

/* The state with which each part begins, from the sum of the part before it. */
static void connect_parts(const tnl_attention *a, const plan *p, const sweep *s, int64_t problem) {
    tnl_head head = head_of(a, problem);
    for (int64_t i = 1; i < p->parts; i++) {
        int64_t begin, end;
        part_tokens(&head, p, s, i - 1, &begin, &end);
        tnl_carry_state(state_of(a, p, problem, i), state_of(a, p, problem, i - 1), head.slope,
                        end - begin, true);
    }
}

static void run(const tnl_attention *a, const plan *p, const sweep *s) {
    int64_t tasks = p->problems * p->parts;
#pragma omp parallel num_threads(p->threads)
    {
        float *memory = (float *)a->call->workspace + tasks * p->state_floats +
                        omp_get_thread_num() * p->thread_floats;
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tasks; task++) {
            int64_t problem = task / p->parts, i = task % p->parts;
            tnl_head head = head_of(a, problem);
            tnl_matrix state = state_of(a, p, problem, i);
            tnl_copy_state(state, tnl_head_state(i == 0 ? s->start : NULL, &head));
            if (i > 0)
                sweep_part(a, p, s, &head, i - 1, state, false, memory);
        }
#pragma omp for
        for (int64_t problem = 0; problem < p->problems; problem++)
            connect_parts(a, p, s, problem);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tasks; task++) {
            int64_t problem = task / p->parts, i = task % p->parts;
            tnl_head head = head_of(a, problem);
            tnl_matrix state = state_of(a, p, problem, i);
            sweep_part(a, p, s, &head, i, state, true, memory);
            if (s->end && i == p->parts - 1)
                tnl_copy_state(tnl_head_state(s->end, &head), state);
        }
    }
}

/* ---- the three operators ---- */

static void run_forward(const tnl_attention *a, const plan *p) {
    run(a, p, &(sweep){false, output_o, update_state, a->initial_state, a->final_state});
}

static void run_backward(const tnl_attention *a, const plan *p) {
    run(a, p, &(sweep){false, output_dq_state, update_state, a->initial_state, NULL});
    run(a, p, &(sweep){true, output_dk_dv_dq, update_dstate, a->dfinal_state, a->dinitial_state});
}

static tnl_status launch(const tnl_call *call) {
    tnl_attention a = tnl_attention_of(call);
    plan p = plan_for(&a);
    if (a.o)
        run_forward(&a, &p);
    if (a.dout)
        run_backward(&a, &p);
    return TNL_OK;
}

const tnl_kernel tnl_cpu_attention_forward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cpu_attention_backward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cpu_attention_forward_backward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
