/*
 * What the rounds of a decode step work on: the kernel's arguments, a block's shared memory, and
 * the rows of x, of which a warp makes for itself the columns that it multiplies, of the values
 * that the round before has handed on.
 */
#ifndef TNL_MODEL_STEP_OPERAND_CUH
#define TNL_MODEL_STEP_OPERAND_CUH

#include "model/step_exchange.cuh"
#include "model/step_weights.cuh"

namespace step {

using exchange::word;

constexpr int STATE_COLUMNS = 8;
constexpr int STATE_ROWS = 16; /* of a warp */

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

/* ---- shared memory -------------------------------------------------------------------------- */

/* What of it has the same size for all models. Sums have two places by turns, so that a turn needs
 * one barrier of the block. */
template <int ROWS> struct board {
    float sums[2][ROWS][TURN][WARPS];  /* of each warp's columns */
    float squares[2][ROWS][2 * WARPS]; /* of what the norm is of */
    share product[HEAD + 1], columns;  /* columns: of the state, by STATE_COLUMNS */
};

/* The rows of x, of o, and of the block's part of the stream. */
struct operands {
    bf16 *x, *o;
    float *stream;
    int x_stride, o_stride, stream_stride;
};

/* ---- x -------------------------------------------------------------------------------------- */

static __device__ __forceinline__ const bf16 *embedding_of(const arguments &at, int b) {
    return at.embedding + (int64_t)max(at.tokens[b], 0) * at.shape.width;
}

/* The first of a lane's four columns in a segment. */
static __device__ __forceinline__ int lane_column() {
    return 4 * (int)threadIdx.x;
}

template <int ROWS>
static __device__ __forceinline__ void fill_from_embedding(const arguments &at,
                                                           const operands &to) {
    for (int b = 0; b < ROWS; b++) {
        const bf16 *from = embedding_of(at, b);
        for (int i = lane_column(); i < at.shape.width; i += SEGMENT) {
            const uint2 four = *(const uint2 *)(from + i);
            const float2 low = unpack_pair<bf16>(four.x), high = unpack_pair<bf16>(four.y);
            *(uint2 *)(to.x + b * to.x_stride + i) =
                make_uint2(pack_pair<bf16>(at.scale * low.x, at.scale * low.y),
                           pack_pair<bf16>(at.scale * high.x, at.scale * high.y));
        }
    }
}

static __device__ __forceinline__ unsigned multiply_pairs(unsigned a, unsigned b) {
    const float2 x = unpack_pair<bf16>(a), y = unpack_pair<bf16>(b);
    return pack_pair<bf16>(x.x * y.x, x.y * y.y);
}

/* x = the values; GATED: o is, and x is o times those of `gates`. */
template <bool GATED, int ROWS>
static __device__ __forceinline__ void fill_from(const word *words, const word *gates,
                                                 int gates_stride, int columns, unsigned flag,
                                                 const operands &to) {
    constexpr int EACH = GATED ? 2 : 1;
    constexpr int BATCH = GATED || ROWS > 1 ? 2 : 3; /* segments that are waited for at a time */
    for (int first = lane_column(); first < columns; first += BATCH * SEGMENT) {
        exchange::pairs<ROWS * BATCH * EACH> asked;
        uint2 values[ROWS * BATCH * EACH];
#pragma unroll
        for (int i = 0; i < ROWS * BATCH; i++) {
            const int b = i / BATCH, column = first + i % BATCH * SEGMENT;
            asked.at[EACH * i] = column < columns ? words + (b * columns + column) / 2 : NULL;
            if (GATED)
                asked.at[EACH * i + 1] =
                    column < columns ? gates + (b * gates_stride + column) / 2 : NULL;
        }
        asked.wait(flag, values);
#pragma unroll
        for (int i = 0; i < ROWS * BATCH; i++) {
            const int b = i / BATCH, column = first + i % BATCH * SEGMENT;
            if (column >= columns)
                continue;
            uint2 x = values[EACH * i];
            if (GATED) {
                *(uint2 *)(to.o + b * to.o_stride + column) = x;
                x.x = multiply_pairs(x.x, values[EACH * i + 1].x);
                x.y = multiply_pairs(x.y, values[EACH * i + 1].y);
            }
            *(uint2 *)(to.x + b * to.x_stride + column) = x;
        }
    }
}

} // namespace step

#endif
