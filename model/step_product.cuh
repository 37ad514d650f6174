/*
 * A warp's product of a piece of the weights with x, by mma.cuh. A lane has eight neighbouring
 * columns at a time, four pairs. The first and the third are of rows 0 to 7 of A, as they lie in
 * registers, the others of rows 8 to 15, while the columns of B are
 *
 *     0, 1    the first and third pairs of x's rows 0 and 1
 *     2, 3    the others
 *
 * so that a line's sum with row b is C[line][b] + C[line + 8][2 + b].
 */
#ifndef TNL_MODEL_STEP_PRODUCT_CUH
#define TNL_MODEL_STEP_PRODUCT_CUH

#include "model/step_weights.cuh"

namespace step {

constexpr int EIGHTS = SLICE / 32; /* of a lane */

/* A lane's part of B. */
struct fragment {
    unsigned at[EIGHTS][2];

    /* x: of which there are `count` columns. */
    template <int ROWS> __device__ __forceinline__ void load(const bf16 *x, int stride, int count) {
        const int lane = threadIdx.x % 32, b = lane / 4 % 2;
        const int column = threadIdx.x / 32 * SLICE + lane % 4 * 8;
        const bool has = lane < 16 && b < ROWS, others = lane & 8;
#pragma unroll
        for (int i = 0; i < EIGHTS; i++) {
            uint4 pairs = make_uint4(0, 0, 0, 0);
            if (has && column + 32 * i < count)
                pairs = *(const uint4 *)(x + b * stride + column + 32 * i);
            at[i][0] = others ? pairs.y : pairs.x;
            at[i][1] = others ? pairs.w : pairs.z;
        }
    }
    /* c += B^T B, on whose diagonal are the squares of a row's columns. */
    __device__ __forceinline__ void add_squares(float (&c)[4]) const {
#pragma unroll
        for (int i = 0; i < EIGHTS; i++) {
            const unsigned same[4] = {at[i][0], at[i][0], at[i][1], at[i][1]};
            multiply_add<bf16>(c, same, at[i][0], at[i][1]);
        }
    }
};

/* A lane's part of C, in two parts, so that no product waits for all before. */
struct sums {
    float even[4], odd[4];
};

/* A lane's part of a piece's lines. */
struct lines {
    unsigned at[EIGHTS][4];

    __device__ __forceinline__ void load(const bf16 *piece, int count) {
        const int lane = threadIdx.x % 32, column = threadIdx.x / 32 * SLICE + lane % 4 * 8;
        const bf16 *line = piece + lane / 4 * PITCH + column;
#pragma unroll
        for (int i = 0; i < EIGHTS; i++) {
            uint4 pairs = make_uint4(0, 0, 0, 0);
            if (column + 32 * i < count)
                pairs = *(const uint4 *)(line + 32 * i);
            at[i][0] = pairs.x, at[i][1] = pairs.y, at[i][2] = pairs.z, at[i][3] = pairs.w;
        }
    }
    /* c += these times x. */
    __device__ __forceinline__ void multiply(const fragment &x, sums &c) const {
#pragma unroll
        for (int i = 0; i < EIGHTS; i++)
            multiply_add<bf16>(i % 2 ? c.odd : c.even, at[i], x.at[i][0], x.at[i][1]);
    }
};

} // namespace step

#endif
