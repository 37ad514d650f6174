/*
 * Attention as eq. 10 has it, O = ((Q K^T) * M) V, with the n x n matrix of every head in memory:
 * work and memory are quadratic in n. It is what the linear rows are measured against, so its
 * products are whole GEMMs, and every head's A = (Q K^T) * M outlives the forward pass, as in a
 * training step. Once dV is done A is not needed any more, and dA takes its place.
 *
 * Heads run side by side, each on one thread; where they are fewer than the threads, one after
 * the other, each on all (OpenBLAS uses one thread inside a parallel region, all outside).
 *
 * Workspace, for each head of each sequence of n tokens:
 *     [ A, then dA: n n ][ powers of lambda: n + 1 ][ scratch: n max(d,e), where there are states ]
 */
#include "core/context.h"
#include "core/kernels.h"
#include "kernels/attention/cpu_attention.h"

/* A head's part of the workspace. */
typedef struct work {
    tnl_matrix scores;
    tnl_decay decay;
    float *scratch;
} work;

/* What is done with each head. */
typedef void head_step(const tnl_attention *a, const tnl_head *head, const work *w);

/* The workspace is asked for before index contents are checked: tokens may be nonsense. */
static int64_t head_floats(const tnl_attention *a, int64_t tokens) {
    bool states = a->initial_state || a->final_state || a->dfinal_state || a->dinitial_state;
    int64_t n = tokens < 0 ? 0 : tokens > a->n ? a->n : tokens;
    return n * n + n + 1 + (states ? n * (a->d > a->e ? a->d : a->e) : 0);
}

static double total_floats(const tnl_attention *a) {
    double floats = 0;
    for (int64_t i = 0; i < a->sequences; i++)
        floats += (double)a->heads * (double)head_floats(a, tnl_get_head(a, i, 0).tokens);
    return floats;
}

static const char *rejects(const tnl_call *call) {
    tnl_attention a = tnl_attention_of(call);
    return tnl_attention_rejects(call, total_floats(&a));
}

static size_t workspace(const tnl_call *call) {
    tnl_attention a = tnl_attention_of(call);
    return (size_t)total_floats(&a) * sizeof(float);
}

static void for_each_head(const tnl_attention *a, head_step *step) {
    float *memory = a->call->workspace;
    for (int64_t i = 0; i < a->sequences; i++) {
        int64_t n = tnl_get_head(a, i, 0).tokens;
        int64_t floats = head_floats(a, n);
#pragma omp parallel for if (a->heads >= a->call->context->threads)
        for (int64_t j = 0; j < a->heads; j++) {
            tnl_head head = tnl_get_head(a, i, j);
            float *scores = memory + j * floats, *table = scores + n * n;
            work w = {
                .scores = tnl_dense(scores, n, n),
                .decay = tnl_make_decay(table, n, head.slope),
                .scratch = table + n + 1,
            };
            step(a, &head, &w);
        }
        memory += a->heads * floats;
    }
}

static tnl_matrix rows_of(const tnl_tensor *tensor, const tnl_head *head) {
    return tnl_head_rows(tensor, head, 0, head->tokens);
}

static void scores_step(const tnl_attention *a, const tnl_head *head, const work *w) {
    tnl_chunk_scores(rows_of(a->q, head), rows_of(a->k, head), w->decay, w->scores);
}

static void forward_step(const tnl_attention *a, const tnl_head *head, const work *w) {
    tnl_matrix k = rows_of(a->k, head), v = rows_of(a->v, head);
    tnl_matrix initial = tnl_head_state(a->initial_state, head);
    tnl_matrix final = tnl_head_state(a->final_state, head);
    tnl_chunk_o(rows_of(a->q, head), k, v, initial, w->decay, w->scores, w->scratch,
                rows_of(a->o, head));
    if (final.data) {
        tnl_copy_state(final, initial);
        tnl_chunk_state(k, v, w->decay, w->scratch, final);
    }
}

/* The gradients, from A in w->scores. */
static void backward_step(const tnl_attention *a, const tnl_head *head, const work *w) {
    tnl_matrix q = rows_of(a->q, head), k = rows_of(a->k, head), v = rows_of(a->v, head);
    tnl_matrix dout = rows_of(a->dout, head), dq = rows_of(a->dq, head);
    tnl_matrix initial = tnl_head_state(a->initial_state, head);
    tnl_matrix dfinal = tnl_head_state(a->dfinal_state, head);
    tnl_matrix dinitial = tnl_head_state(a->dinitial_state, head);
    tnl_chunk_dv(k, dout, dfinal, w->decay, w->scores, w->scratch, rows_of(a->dv, head));
    tnl_chunk_scores(dout, v, w->decay, w->scores);
    tnl_chunk_dk(q, v, dfinal, w->decay, w->scores, w->scratch, rows_of(a->dk, head));
    if (initial.data)
        tnl_chunk_dq_state(dout, initial, w->decay, w->scratch, dq);
    tnl_chunk_dq_scores(k, w->scores, initial.data, dq);
    if (dinitial.data) {
        tnl_copy_state(dinitial, dfinal);
        tnl_chunk_dstate(q, dout, w->decay, w->scratch, dinitial);
    }
}

static tnl_status forward(const tnl_call *call) {
    tnl_attention a = tnl_attention_of(call);
    for_each_head(&a, forward_step);
    return TNL_OK;
}

static tnl_status backward(const tnl_call *call) {
    tnl_attention a = tnl_attention_of(call);
    for_each_head(&a, scores_step);
    for_each_head(&a, backward_step);
    return TNL_OK;
}

static tnl_status forward_backward(const tnl_call *call) {
    tnl_attention a = tnl_attention_of(call);
    for_each_head(&a, forward_step);
    for_each_head(&a, backward_step);
    return TNL_OK;
}

const tnl_kernel tnl_cpu_attention_forward_left_product = {
    .launch = forward, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cpu_attention_backward_left_product = {
    .launch = backward, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cpu_attention_forward_backward_left_product = {
    .launch = forward_backward, .workspace = workspace, .rejects = rejects, .deterministic = true};
