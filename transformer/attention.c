/*
 * Softmax attention on the CPU (transformer/attention.h), and the way to the one on CUDA.
 *
 * A query goes through its head's keys and values once, a block of tokens at a time, with the
 * running maximum of the scores and the sums scaled to it, so that nothing but the cache is read
 * from memory.
 * Threads share out heads and rows; where a sequence alone has fewer heads than there are threads,
 * they have less to do.
 */
#include "transformer/attention.h"

#include <math.h>
#include <string.h>

enum { D = ATTENTION_DIM, PAIRS = ATTENTION_PAIRS, BLOCK = 64 };

/* Scores are taken in powers of two: log2(e) / sqrt(d). */
static const float score_unit = 0.127517432f;

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

/* Sums over tokens: weights are powers of two of scores less the highest one so far. */
typedef struct running {
    float highest, total, sum[D];
} running;

static void lower(running *of, float highest) {
    const float scale = exp2f(of->highest - highest);
    of->highest = highest;
    of->total *= scale;
    for (int i = 0; i < D; i++)
        of->sum[i] *= scale;
}

/* `count` tokens, BLOCK at most, summed by themselves first: a long sum is then one of few. */
static void attend_block(const float *q, const float *k, const float *v, int count, running *of) {
    float score[BLOCK], highest = of->highest;
    running own = {0};
    for (int t = 0; t < count; t++) {
        score[t] = score_unit * dot(q, k + t * D);
        highest = score[t] > highest ? score[t] : highest;
    }
    if (highest > of->highest)
        lower(of, highest);
    for (int t = 0; t < count; t++) {
        const float weight = exp2f(score[t] - highest);
        own.total += weight;
        for (int i = 0; i < D; i++)
            own.sum[i] += weight * v[t * D + i];
    }
    of->total += own.total;
    for (int i = 0; i < D; i++)
        of->sum[i] += own.sum[i];
}

/* o = softmax(q K^T / sqrt(d)) V over `count` tokens. */
static void attend(const float *q, const float *k, const float *v, int64_t count, float *o) {
    running of = {.highest = -INFINITY};
    for (int64_t t = 0; t < count; t += BLOCK)
        attend_block(q, k + t * D, v + t * D, count - t < BLOCK ? (int)(count - t) : BLOCK, &of);
    for (int i = 0; i < D; i++)
        o[i] = of.sum[i] / of.total;
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

int attention_splits(const attention_call *call) {
    return call->context->device == TNL_CUDA ? attention_cuda_splits(call) : 1;
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

int attention_splits(const attention_call *call) {
    (void)call;
    return 1;
}

tnl_status attention_decode(const attention_call *call) {
    return decode(call);
}

tnl_status attention_prefill(const attention_call *call) {
    return prefill(call);
}

#endif
