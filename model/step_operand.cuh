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
    float (*squares)[COMPUTING]; /* each thread's */
    int stride;

    __device__ __forceinline__ void store(int b, int column, float first, float second) const {
        *(__nv_bfloat162 *)(x + b * stride + column) = __floats2bfloat162_rn(first, second);
    }
    __device__ __forceinline__ void keep(int b, float square) const {
        squares[b][threadIdx.x] = square;
    }
    /* The norm's factor of this lane's row, threadIdx.x % 8, after a barrier. */
    __device__ __forceinline__ float factor(int width) const {
        const int lane = threadIdx.x % 32;
        float mine = 0;
#pragma unroll
        for (int b = 0; b < ROWS; b++) {
            float sum = 0;
#pragma unroll
            for (int i = 0; i < WARPS; i++)
                sum += squares[b][i * 32 + lane];
            sum = warp_sum(sum);
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

/* x = the words; GATED: times those of `gates`, the norm being that of the words alone. */
template <bool GATED, int ROWS>
static __device__ __forceinline__ void fill_from(const word *words, const word *gates,
                                                 int gates_stride, int columns, unsigned flag,
                                                 const operand<ROWS> &to) {
    constexpr int EACH = GATED ? BATCH / 2 : BATCH;
    for (int b = 0; b < ROWS; b++, words += columns, gates += gates_stride) {
        float square = 0;
        for (int first = 2 * threadIdx.x; first < columns; first += 2 * COMPUTING * EACH) {
            exchange::pairs<BATCH> asked;
            float value[2 * BATCH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                const int column = first + i * 2 * COMPUTING;
                asked.at[i] = column < columns ? words + column : NULL;
                if (GATED)
                    asked.at[EACH + i] = column < columns ? gates + column : NULL;
            }
            asked.wait(flag, value);
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                const int column = first + i * 2 * COMPUTING, gate = 2 * (EACH + i);
                const float x = value[2 * i], y = value[2 * i + 1];
                if (column < columns)
                    to.store(b, column, GATED ? x * value[gate] : x,
                             GATED ? y * value[gate + 1] : y);
                square = fmaf(x, x, fmaf(y, y, square));
            }
        }
        to.keep(b, square);
    }
}

} // namespace step

#endif
