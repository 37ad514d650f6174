/*
 * What the rounds of a decode step work on: the kernel's arguments, and the rows of x that a block
 * makes for itself of the values that the round before has handed on.
 */
#ifndef TNL_MODEL_STEP_OPERAND_CUH
#define TNL_MODEL_STEP_OPERAND_CUH

#include "model/step_exchange.cuh"
#include "model/step_weights.cuh"

namespace step {

using exchange::word;
using bf16 = __nv_bfloat16;

constexpr int BATCH = 4; /* pairs of words that a thread waits for at a time */

struct arguments {
    struct shape shape;
    const tnl_step_layer *layers;
    const bf16 *embedding, *head;
    bf16 *logits;
    float scale; /* of the embedding */
    const int64_t *positions;
    const int32_t *slots, *tokens;
    word *stream, *qkvu, *o, *p;
    unsigned *counter; /* steps so far, blocks that have ended */
    int ring_slots;
};

/* ---- a block's x --------------------------------------------------------------------------- */

/* The rows of x of a round, where they are, and the squares of what the norm is of. */
template <int ROWS> struct operand {
    bf16 *x;
    float (*squares)[WARPS];
    int stride;

    __device__ __forceinline__ void store(int b, int column, float first, float second) const {
        *(__nv_bfloat162 *)(x + b * stride + column) = __floats2bfloat162_rn(first, second);
    }
    __device__ __forceinline__ void keep(int b, float square) const {
        square = warp_sum(square);
        if (threadIdx.x % 32 == 0)
            squares[b][threadIdx.x / 32] = square;
    }
    /* The norm's factor of this lane's row, threadIdx.x % 8, after a barrier. */
    __device__ __forceinline__ float factor(int width) const {
        const int lane = threadIdx.x % 32;
        float mine = 0;
#pragma unroll
        for (int b = 0; b < ROWS; b++) {
            const float sum = warp_sum(lane < WARPS ? squares[b][lane] : 0);
            mine = lane % 8 == b ? sum : mine;
        }
        return rsqrtf(mine / (float)width + (float)TNL_DEFAULT_EPS);
    }
};

static __device__ __forceinline__ const bf16 *embedding_of(const arguments &at, int b) {
    return at.embedding + (int64_t)max(at.tokens[b], 0) * at.shape.width;
}

template <int ROWS>
static __device__ __forceinline__ void fill_from_embedding(const arguments &at,
                                                           const operand<ROWS> &to) {
    for (int b = 0; b < ROWS; b++) {
        const bf16 *from = embedding_of(at, b);
        float square = 0;
        for (int i = 2 * threadIdx.x; i < at.shape.width; i += 2 * COMPUTING) {
            const float2 two = __bfloat1622float2(*(const __nv_bfloat162 *)(from + i));
            const float first = at.scale * two.x, second = at.scale * two.y;
            to.store(b, i, first, second);
            square = fmaf(first, first, fmaf(second, second, square));
        }
        to.keep(b, square);
    }
}

/* x = the words. */
template <int ROWS>
static __device__ __forceinline__ void fill_from(const word *words, int columns, unsigned flag,
                                                 const operand<ROWS> &to) {
    for (int b = 0; b < ROWS; b++) {
        float square = 0;
        for (int first = 2 * threadIdx.x; first < columns; first += 2 * COMPUTING * BATCH) {
            float value[2 * BATCH];
            exchange::wait<BATCH>(words + b * columns, first, 2 * COMPUTING, columns, flag, value);
#pragma unroll
            for (int i = 0; i < BATCH; i++) {
                const float x = value[2 * i], y = value[2 * i + 1];
                if (first + i * 2 * COMPUTING < columns)
                    to.store(b, first + i * 2 * COMPUTING, x, y);
                square = fmaf(x, x, fmaf(y, y, square));
            }
        }
        to.keep(b, square);
    }
}

/* x = o u, the norm being o's. */
template <int ROWS>
static __device__ __forceinline__ void fill_gated(const arguments &at, unsigned flag,
                                                  const operand<ROWS> &to) {
    const int columns = at.shape.hidden;
    for (int b = 0; b < ROWS; b++) {
        const word *us = at.qkvu + (b * 4 + 3) * columns, *os = at.o + b * columns;
        float square = 0;
        for (int first = 2 * threadIdx.x; first < columns; first += 2 * COMPUTING * BATCH) {
            float o[2 * BATCH], u[2 * BATCH];
            exchange::wait<BATCH>(us, first, 2 * COMPUTING, columns, flag, u);
            exchange::wait<BATCH>(os, first, 2 * COMPUTING, columns, flag, o);
#pragma unroll
            for (int i = 0; i < BATCH; i++) {
                const float x = o[2 * i], y = o[2 * i + 1];
                if (first + i * 2 * COMPUTING < columns)
                    to.store(b, first + i * 2 * COMPUTING, x * u[2 * i], y * u[2 * i + 1]);
                square = fmaf(x, x, fmaf(y, y, square));
            }
        }
        to.keep(b, square);
    }
}

} // namespace step

#endif
