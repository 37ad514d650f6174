/*
 * Decode: one token for each slot. Swish and LRPE on q and k (activation.h), then, with the
 * state [f,e] of the slot and head,
 *     Algorithm 2 (robust)   S <- lambda S + k^T v,      o = q S
 *     Algorithm 1 (origin)   S <- S + k lambda^-t v^T,   o = q lambda^t S
 * The paper prints Algorithm 2's update without the bars that tell its state from Algorithm 1's.
 * There t counts from 1, here from 0: it is the token's position. Algorithm 1's state is
 * lambda^-t times Algorithm 2's (appendix C) and leaves every floating-point type's range for t
 * large enough, which is what it is here to show.
 */
#include <math.h>

#include "reference/activation.h"
#include "reference/sums.h"

/* Element i of the f that q or k becomes. */
static real activated(const tnl_call *call, int tensor, int64_t token, int64_t head, int64_t i) {
    const int64_t d = call->dim[DIM_D];
    const double *x = tnl_values(call, tensor) + (token * call->dim[DIM_H] + head) * d;
    const double *theta = tnl_values(call, DECODE_THETA);
    const int64_t *positions = (const int64_t *)call->tensor[DECODE_POSITIONS].data;

    const real swish = rounded(call, tnl_swish((real)x[i % d]));
    if (!theta)
        return swish;
    const tnl_rotation rotation =
        tnl_rotate(call, theta[head * d + i % d], positions ? (double)positions[token] : 0);
    return rounded(call, swish * (i < d ? rotation.cosine : rotation.sine));
}

/* The two algorithms as one: S <- decay S + (growth k)^T v, o = (shrinkage q) S. */
static void step(const tnl_call *call, int64_t token, int64_t head, int64_t slot, real decay,
                 real growth, real shrinkage) {
    const int64_t h = call->dim[DIM_H], e = call->dim[DIM_E], f = call->dim[DIM_F];
    const double *v = tnl_values(call, DECODE_V) + (token * h + head) * e;
    double *state = tnl_values(call, DECODE_STATE) + (slot * h + head) * f * e;
    double *o = tnl_values(call, DECODE_O) + (token * h + head) * e;

    tnl_zero(o, e);
    for (int64_t i = 0; i < f; i++, state += e) {
        const real k = rounded(call, growth * activated(call, DECODE_K, token, head, i));
        const real q = rounded(call, shrinkage * activated(call, DECODE_Q, token, head, i));
        for (int64_t j = 0; j < e; j++)
            state[j] = decay * (real)state[j] + k * (real)v[j];
        tnl_add_scaled(o, q, state, e);
    }
}

static void decode(const tnl_call *call, bool origin) {
    const int64_t h = call->dim[DIM_H];
    const int32_t *slots = (const int32_t *)call->tensor[DECODE_SLOTS].data;
    const int64_t *positions = (const int64_t *)call->tensor[DECODE_POSITIONS].data;

#pragma omp parallel for
    for (int64_t i = 0; i < call->dim[DIM_B] * h; i++) {
        const int64_t token = i / h, head = i % h, slot = slots ? slots[token] : token;
        const double slope = tnl_values(call, DECODE_SLOPE)[head];
        const double t = positions ? (double)positions[token] : 0;
        if (slot < 0)
            continue;
        if (origin)
            step(call, token, head, slot, 1, (real)exp(slope * t), (real)exp(-slope * t));
        else
            step(call, token, head, slot, (real)exp(-slope), 1, 1);
    }
}

void REFERENCE(decode)(const tnl_call *call) {
    decode(call, false);
}

void REFERENCE(decode_origin)(const tnl_call *call) {
    decode(call, true);
}
