/*
 * Softmax attention on the CPU (transformer/attention.h), and the way to the one on CUDA.
 *
 * A query goes through its head's keys and values once, a token at a time, with the running maximum
 * of the scores and the sums scaled to it, so that nothing but the cache is read from memory.
 * Threads share out heads and rows; where a sequence alone has fewer heads than there are threads,
 * they have less to do.
 */
#include "transformer/attention.h"

#include <math.h>
#include <string.h>

enum { D = ATTENTION_DIM, PAIRS = ATTENTION_PAIRS };

void attention_set_turns(attention_call *call) {
    const double whole = 6.283185307179586;
    for (int i = 0; i < PAIRS; i++)
        call->turns[i] = pow(10000, -(double)i / PAIRS) / whole;
}

/* ---- a row -------------------------------------------------------------------------------- */

/* The turns are taken in double: position times angle has no digits to spare in float32. */
static void rotate(const attention_call *call, int64_t position, const float *x, float *y) {
    for (int i = 0; i < PAIRS; i++) {
        const double turn = (double)position * call->turns[i];
        const float angle = (float)(6.283185307179586 * (turn - floor(turn)));
        const float cosine = cosf(angle), sine = sinf(angle), a = x[i], b = x[i + PAIRS];
        y[i] = a * cosine - b * sine;
        y[i + PAIRS] = a * sine + b * cosine;
    }
}

static float dot(const float *x, const float *y) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < D; i++)
        sum += x[i] * y[i];
    return sum;
}

/* o = softmax(q K^T / sqrt(d)) V over `count` tokens; scores are taken in powers of two. */
static void attend(const float *q, const float *k, const float *v, int64_t count, float *o) {
    const float unit = 1.44269504f / sqrtf(D);
    float sum[D] = {0}, total = 0, highest = -INFINITY;
    for (int64_t t = 0; t < count; t++) {
        const float score = unit * dot(q, k + t * D);
        if (score > highest) {
            const float scale = exp2f(highest - score);
            highest = score;
            total *= scale;
            for (int i = 0; i < D; i++)
                sum[i] *= scale;
        }
        const float weight = exp2f(score - highest);
        total += weight;
        for (int i = 0; i < D; i++)
            sum[i] += weight * v[t * D + i];
    }
    for (int i = 0; i < D; i++)
        o[i] = sum[i] / total;
}

/* ---- a call ------------------------------------------------------------------------------- */

/* Where a head's row of Q, K or V begins: part 0, 1 or 2. */
static float *packed_at(const attention_call *call, int64_t row, int part, int head) {
    return (float *)call->packed + ((row * 3 + part) * call->heads + head) * D;
}

/* The caches of sequence `sequence` from a head's first row on. */
static float *cache_at(const attention_call *call, void *cache, int64_t sequence, int head) {
    return (float *)cache + (sequence * call->heads + head) * call->capacity * D;
}

static void append(const attention_call *call, int64_t row, int64_t sequence, int64_t position,
                   int head) {
    const int64_t at = position * D;
    rotate(call, position, packed_at(call, row, 1, head),
           cache_at(call, call->k, sequence, head) + at);
    memcpy(cache_at(call, call->v, sequence, head) + at, packed_at(call, row, 2, head),
           D * sizeof(float));
}

static void attend_row(const attention_call *call, int64_t row, int64_t sequence, int64_t position,
                       int head) {
    float q[D];
    rotate(call, position, packed_at(call, row, 0, head), q);
    attend(q, cache_at(call, call->k, sequence, head), cache_at(call, call->v, sequence, head),
           position + 1, (float *)call->o + (row * call->heads + head) * D);
}

static tnl_status decode(const attention_call *call) {
#pragma omp parallel for collapse(2)
    for (int64_t row = 0; row < call->rows; row++)
        for (int head = 0; head < call->heads; head++) {
            append(call, row, row, call->positions[row], head);
            attend_row(call, row, row, call->positions[row], head);
        }
    return TNL_OK;
}

static tnl_status prefill(const attention_call *call) {
#pragma omp parallel for
    for (int head = 0; head < call->heads; head++)
        for (int64_t row = 0; row < call->rows; row++)
            append(call, row, 0, call->first + row, head);
#pragma omp parallel for collapse(2) schedule(dynamic, 16)
    for (int head = 0; head < call->heads; head++)
        for (int64_t row = 0; row < call->rows; row++)
            attend_row(call, row, 0, call->first + row, head);
    return TNL_OK;
}

/* ---- either device ------------------------------------------------------------------------ */

#ifdef TNL_WITH_CUDA

size_t attention_workspace(const tnl_context *context, int heads, int64_t rows) {
    return context->device == TNL_CUDA ? attention_cuda_workspace(context, heads, rows) : 0;
}

tnl_status attention_decode(const attention_call *call) {
    return (call->context->device == TNL_CUDA ? attention_cuda_decode : decode)(call);
}

tnl_status attention_prefill(const attention_call *call) {
    return (call->context->device == TNL_CUDA ? attention_cuda_prefill : prefill)(call);
}

#else

size_t attention_workspace(const tnl_context *context, int heads, int64_t rows) {
    (void)context;
    (void)heads;
    (void)rows;
    return 0;
}

tnl_status attention_decode(const attention_call *call) {
    return decode(call);
}

tnl_status attention_prefill(const attention_call *call) {
    return prefill(call);
}

#endif
