/*
 * Decode, one token for each slot: swish and LRPE on q and k, then for each head with its state
 * S [f,e]
 *     S <- decay S + (growth k)^T v,    o = (shrinkage q) S
 * which is Algorithm 2 with decay = lambda and factors of 1, and Algorithm 1 with decay = 1 and
 * factors of lambda^-t and lambda^t. A row of the state is read, updated, written and added to o
 * in one go: the state, by far the largest of the operands, passes through the core once.
 */
#ifndef TNL_DECODE_CPU_STEP_H
#define TNL_DECODE_CPU_STEP_H

#include "core/call.h"
#include "kernels/common/cpu_lrpe.h"

typedef struct tnl_decode_factors {
    float decay, growth, shrinkage;
} tnl_decode_factors;

/* Four rows of a state, `stride` apart, with their elements of k and q. Four at a time, v and o
 * are loaded a quarter as often. */
static inline void tnl_decode_four_rows(float decay, const float *k, const float *q, const float *v,
                                        float *state, int64_t stride, float *o, int64_t e) {
    float *row0 = state, *row1 = row0 + stride, *row2 = row1 + stride, *row3 = row2 + stride;
    const float k0 = k[0], k1 = k[1], k2 = k[2], k3 = k[3];
    const float q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3];
#pragma omp simd
    for (int64_t j = 0; j < e; j++) {
        const float s0 = decay * row0[j] + k0 * v[j], s1 = decay * row1[j] + k1 * v[j];
        const float s2 = decay * row2[j] + k2 * v[j], s3 = decay * row3[j] + k3 * v[j];
        row0[j] = s0;
        row1[j] = s1;
        row2[j] = s2;
        row3[j] = s3;
        o[j] += q0 * s0 + q1 * s1 + (q2 * s2 + q3 * s3);
    }
}

static inline void tnl_decode_row(float decay, float k, float q, const float *v, float *row,
                                  float *o, int64_t e) {
#pragma omp simd
    for (int64_t j = 0; j < e; j++) {
        row[j] = decay * row[j] + k * v[j];
        o[j] += q * row[j];
    }
}

static inline void tnl_decode_rows(float decay, const float *k, const float *q, const float *v,
                                   float *state, int64_t stride, float *o, int64_t rows,
                                   int64_t e) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4)
        tnl_decode_four_rows(decay, k + i, q + i, v, state + i * stride, stride, o, e);
    for (; i < rows; i++)
        tnl_decode_row(decay, k[i], q[i], v, state + i * stride, o, e);
}

/* y[i] = factor swish(x[i]) turn[i], rounded once; turn NULL: 1. */
static inline void tnl_decode_activate(const float *x, float factor, const float *turn, float *y,
                                       int64_t count) {
    if (turn) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] = (float)((double)factor * tnl_swish_with_slope(x[i]).value * (double)turn[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] = (float)((double)factor * tnl_swish_with_slope(x[i]).value);
    }
}

/* One head of one token, `count` channels of it and the rows of the state that they become: with
 * theta these are two ranges, d rows apart. */
static inline void tnl_decode_channels(const tnl_call *call, int64_t token, int64_t head,
                                       int64_t slot, int64_t c, int64_t count,
                                       tnl_decode_factors factors, float *o) {
    const tnl_tensor *tensor = call->tensor;
    const tnl_tensor *q = &tensor[DECODE_Q], *k = &tensor[DECODE_K], *v = &tensor[DECODE_V];
    const tnl_tensor *theta = &tensor[DECODE_THETA], *state = &tensor[DECODE_STATE];
    const int64_t *positions = (const int64_t *)tensor[DECODE_POSITIONS].data;
    const float *v_row = (const float *)v->data + token * v->stride[0] + head * v->stride[1];
    const float *q_row = (const float *)q->data + token * q->stride[0] + head * q->stride[1] + c;
    const float *k_row = (const float *)k->data + token * k->stride[0] + head * k->stride[1] + c;
    float *rows = (float *)state->data + slot * state->stride[0] + head * state->stride[1] +
                  c * state->stride[2];
    float q_active[TNL_LRPE_BLOCK], k_active[TNL_LRPE_BLOCK];
    tnl_angles angles;
    const float *turns[2] = {NULL, NULL};

    if (theta->data) {
        tnl_make_angles((const float *)theta->data + head * theta->stride[0] + c,
                        positions ? positions[token] : 0, count, &angles);
        turns[0] = angles.cosine;
        turns[1] = angles.sine;
    }
    for (int half = 0; half < (theta->data ? 2 : 1); half++) {
        tnl_decode_activate(q_row, factors.shrinkage, turns[half], q_active, count);
        tnl_decode_activate(k_row, factors.growth, turns[half], k_active, count);
        tnl_decode_rows(factors.decay, k_active, q_active, v_row,
                        rows + half * call->dim[DIM_D] * state->stride[2], state->stride[2], o,
                        count, call->dim[DIM_E]);
    }
}

/* One head of one token. */
static inline void tnl_decode_head(const tnl_call *call, int64_t token, int64_t head,
                                   tnl_decode_factors factors) {
    const tnl_tensor *o = &call->tensor[DECODE_O];
    const int32_t *slots = (const int32_t *)call->tensor[DECODE_SLOTS].data;
    const int64_t d = call->dim[DIM_D], e = call->dim[DIM_E], slot = slots ? slots[token] : token;
    if (slot < 0)
        return;
    float *o_row = (float *)o->data + token * o->stride[0] + head * o->stride[1];
    for (int64_t j = 0; j < e; j++)
        o_row[j] = 0;
    for (int64_t c = 0; c < d; c += TNL_LRPE_BLOCK)
        tnl_decode_channels(call, token, head, slot, c,
                            d - c < TNL_LRPE_BLOCK ? d - c : TNL_LRPE_BLOCK, factors, o_row);
}

#endif
