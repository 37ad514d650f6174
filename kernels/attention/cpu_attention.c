/* The parts that the CPU rows of attention are made of; their equations are in the header. */
#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "kernels/attention/cpu_attention.h"

/* Below this many rows, starting threads costs more than they save. */
enum { PARALLEL_ROWS = 512 };

static const tnl_tensor *present(const tnl_call *call, int tensor) {
    return call->tensor[tensor].data ? &call->tensor[tensor] : NULL;
}

tnl_attention tnl_attention_of(const tnl_call *call) {
    tnl_attention a = {
        .call = call,
        .sequences = call->dim[DIM_S],
        .heads = call->dim[DIM_H],
        .n = call->dim[DIM_N],
        .d = call->dim[DIM_D],
        .e = call->dim[DIM_E],
        .q = present(call, ATT_Q), /* these four are first in every operator */
        .k = present(call, ATT_K),
        .v = present(call, ATT_V),
        .slope = present(call, ATT_SLOPE),
        .cu_seqlens = ATT_CU_SEQLENS,
    };
    if (call->op == TNL_ATTENTION_FORWARD) {
        a.initial_state = present(call, ATT_INITIAL_STATE);
        a.o = present(call, ATT_O);
        a.final_state = present(call, ATT_FINAL_STATE);
    } else if (call->op == TNL_ATTENTION_BACKWARD) {
        a.initial_state = present(call, ATT_BWD_INITIAL_STATE);
        a.dout = present(call, ATT_BWD_DOUT);
        a.dfinal_state = present(call, ATT_BWD_DFINAL_STATE);
        a.dq = present(call, ATT_BWD_DQ);
        a.dk = present(call, ATT_BWD_DK);
        a.dv = present(call, ATT_BWD_DV);
        a.dinitial_state = present(call, ATT_BWD_DINITIAL_STATE);
    } else {
        a.dout = present(call, ATT_FB_DOUT);
        a.o = present(call, ATT_FB_O);
        a.dq = present(call, ATT_FB_DQ);
        a.dk = present(call, ATT_FB_DK);
        a.dv = present(call, ATT_FB_DV);
    }
    return a;
}

const char *tnl_attention_rejects(const tnl_call *call, double workspace_floats) {
    if (workspace_floats > 0x1p52)
        return "needs more workspace than the address space holds";
    for (int i = 0; i < TNL_MAX_TENSORS; i++)
        if (call->tensor[i].data && call->tensor[i].rank == 4 &&
            call->tensor[i].stride[2] > INT_MAX)
            return "takes rows at most 2^31 - 1 elements apart";
    return NULL;
}

tnl_head tnl_get_head(const tnl_attention *a, int64_t sequence, int64_t head) {
    tnl_sequence tokens = tnl_get_sequence(a->call, a->cu_seqlens, a->n, sequence);
    return (tnl_head){
        .sequence = sequence,
        .head = head,
        .batch = tokens.batch,
        .begin = tokens.begin,
        .tokens = tokens.end - tokens.begin,
        .slope = ((const float *)a->slope->data)[head],
    };
}

tnl_matrix tnl_head_rows(const tnl_tensor *tensor, const tnl_head *head, int64_t first,
                         int64_t rows) {
    const int64_t *stride = tensor->stride;
    return (tnl_matrix){
        .data = (float *)tensor->data + head->batch * stride[0] + head->head * stride[1] +
                (head->begin + first) * stride[2],
        .rows = rows,
        .cols = tensor->shape[3],
        .ld = stride[2],
    };
}

tnl_matrix tnl_head_state(const tnl_tensor *tensor, const tnl_head *head) {
    if (!tensor)
        return (tnl_matrix){0};
    const int64_t *stride = tensor->stride;
    return (tnl_matrix){
        .data = (float *)tensor->data + head->sequence * stride[0] + head->head * stride[1],
        .rows = tensor->shape[2],
        .cols = tensor->shape[3],
        .ld = stride[2],
    };
}

tnl_matrix tnl_dense(float *data, int64_t rows, int64_t cols) {
    return (tnl_matrix){data, rows, cols, cols};
}

/*
 * lambda^p. From p = 2 on, what is under 2^-100 becomes 0: it would make subnormal products, whose
 * arithmetic is a hundred times slower, and it stands beside lambda^0 or, where a state has none,
 * lambda^1, which is then at least 2^50 times as large.
 */
static double power(double slope, int64_t p) {
    double value = exp(-slope * (double)p);
    return p >= 2 && value < 0x1p-100 ? 0 : value;
}

tnl_decay tnl_make_decay(float *table, int64_t length, double slope) {
    for (int64_t p = 0; p <= length; p++)
        table[length - p] = (float)power(slope, p);
    return (tnl_decay){table + length, slope};
}

void tnl_copy_state(tnl_matrix to, tnl_matrix from) {
    size_t row = (size_t)to.cols * sizeof *to.data;
    for (int64_t i = 0; i < to.rows; i++)
        if (from.data)
            memmove(to.data + i * to.ld, from.data + i * from.ld, row);
        else
            memset(to.data + i * to.ld, 0, row);
}

/* In double: the rounding error of a float32 factor would be the same in each of the n/c chunks,
 * and with lambda near 1 they would add up. */
void tnl_carry_state(tnl_matrix to, tnl_matrix from, double slope, int64_t tokens, bool add) {
    double factor = power(slope, tokens);
    for (int64_t i = 0; i < to.rows; i++) {
        float *row = to.data + i * to.ld;
        const float *old = from.data + i * from.ld;
        for (int64_t j = 0; j < to.cols; j++)
            row[j] = (float)(factor * old[j]) + (add ? row[j] : 0.0f);
    }
}

/* c = a b, or (add) c + a b, each factor transposed where its flag says so. An empty sequence has
 * no rows in a, and leaves c as it is. */
static void multiply(bool transpose_a, tnl_matrix a, bool transpose_b, tnl_matrix b, bool add,
                     tnl_matrix c) {
    if (a.rows == 0)
        return;
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, (int)c.rows, (int)c.cols,
                (int)(transpose_a ? a.rows : a.cols), 1.0f, a.data, (int)a.ld, b.data, (int)b.ld,
                add ? 1.0f : 0.0f, c.data, (int)c.ld);
}

/* scratch = diag(weight[0], weight[step], ...) x. */
static tnl_matrix scale_rows(tnl_matrix x, const float *weight, int step, float *scratch) {
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t j = 0; j < x.cols; j++)
            scratch[i * x.cols + j] = weight[i * step] * x.data[i * x.ld + j];
    return tnl_dense(scratch, x.rows, x.cols);
}

/* diag(lambda^(i+1)) x: each token's distance from the state before the chunk. */
static tnl_matrix scale_from_start(tnl_matrix x, tnl_decay decay, float *scratch) {
    return scale_rows(x, decay.one - 1, -1, scratch);
}

/* diag(lambda^(c-1-i)) x: each token's distance from the state after the chunk. */
static tnl_matrix scale_to_end(tnl_matrix x, tnl_decay decay, float *scratch) {
    return scale_rows(x, decay.one - (x.rows - 1), 1, scratch);
}

void tnl_chunk_scores(tnl_matrix left, tnl_matrix right, tnl_decay decay, tnl_matrix scores) {
    multiply(false, left, true, right, false, scores);
#pragma omp parallel for schedule(static, 16) if (scores.rows >= PARALLEL_ROWS)
    for (int64_t i = 0; i < scores.rows; i++) {
        float *row = scores.data + i * scores.ld;
        const float *factor = decay.one - i;
        for (int64_t j = 0; j <= i; j++)
            row[j] *= factor[j];
        /* Assigned, since 0 times a score that has overflowed is not 0. */
        for (int64_t j = i + 1; j < scores.cols; j++)
            row[j] = 0.0f;
    }
}

void tnl_chunk_o(tnl_matrix q, tnl_matrix k, tnl_matrix v, tnl_matrix state, tnl_decay decay,
                 tnl_matrix scores, float *scratch, tnl_matrix o) {
    if (state.data)
        multiply(false, scale_from_start(q, decay, scratch), false, state, false, o);
    tnl_chunk_scores(q, k, decay, scores);
    multiply(false, scores, false, v, state.data, o);
}

void tnl_chunk_dv(tnl_matrix k, tnl_matrix dout, tnl_matrix dstate, tnl_decay decay,
                  tnl_matrix scores, float *scratch, tnl_matrix dv) {
    if (dstate.data)
        multiply(false, scale_to_end(k, decay, scratch), false, dstate, false, dv);
    multiply(true, scores, false, dout, dstate.data, dv);
}

void tnl_chunk_dk(tnl_matrix q, tnl_matrix v, tnl_matrix dstate, tnl_decay decay, tnl_matrix scores,
                  float *scratch, tnl_matrix dk) {
    if (dstate.data)
        multiply(false, scale_to_end(v, decay, scratch), true, dstate, false, dk);
    multiply(true, scores, false, q, dstate.data, dk);
}

void tnl_chunk_dq_state(tnl_matrix dout, tnl_matrix state, tnl_decay decay, float *scratch,
                        tnl_matrix dq) {
    multiply(false, scale_from_start(dout, decay, scratch), true, state, false, dq);
}

void tnl_chunk_dq_scores(tnl_matrix k, tnl_matrix scores, bool add, tnl_matrix dq) {
    multiply(false, scores, false, k, add, dq);
}

void tnl_chunk_state(tnl_matrix k, tnl_matrix v, tnl_decay decay, float *scratch,
                     tnl_matrix state) {
    tnl_carry_state(state, state, decay.slope, k.rows, false);
    multiply(true, scale_to_end(k, decay, scratch), false, v, true, state);
}

void tnl_chunk_dstate(tnl_matrix q, tnl_matrix dout, tnl_decay decay, float *scratch,
                      tnl_matrix dstate) {
    tnl_carry_state(dstate, dstate, decay.slope, q.rows, false);
    multiply(true, scale_from_start(q, decay, scratch), false, dout, true, dstate);
}
