/*
 * What the kernels for many tokens share: their arguments, and the softmax of rows of scores that
 * lie as C fragments (mma.cuh), N / 8 of them side by side for N keys.
 */
#ifndef TNL_TRANSFORMER_SOFTMAX_CUH
#define TNL_TRANSFORMER_SOFTMAX_CUH

#include "kernels/common/mma.cuh"
#include "transformer/rope.cuh"

struct prefill_arguments {
    number *packed, *k, *v, *o;
    int64_t rows, first, capacity;
    int heads;
    rope_turns turns;
};

/* The same by what Hopper alone has, where the device is one: transformer/attention_hopper.cu. */
bool attention_takes_hopper(const attention_call *call);
tnl_status attention_hopper(const attention_call *call, const prefill_arguments &of);

/* Rows g and g + 8 of 16: the highest score so far, and this lane's part of the sum of weights. */
struct row_pair {
    float highest[2], total[2];
};

/* Leave out the keys after their query. `apart` is the first query's position less the first key's.
 */
template <int N>
static __device__ __forceinline__ void mask_scores(float (&score)[N][4], int apart) {
    const int last = apart + (int)(threadIdx.x % 32) / 4; /* the last key that row g sees */
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const int key = 8 * i + (int)(threadIdx.x % 32) % 4 * 2 + r % 2;
            score[i][r] = key <= last + r / 2 * 8 ? score[i][r] : -INFINITY;
        }
}

/* Scores to weights, and what was summed before to the new maximum. */
template <int N>
static __device__ __forceinline__ void weigh(float (&score)[N][4], float (&sum)[D / 8][4],
                                             row_pair &rows) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float best = rows.highest[half];
#pragma unroll
        for (int i = 0; i < N; i++)
            best = fmaxf(best, fmaxf(score[i][2 * half], score[i][2 * half + 1]));
        best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 1));
        best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 2));
        const float base = best == -INFINITY ? 0 : best * SCORE_UNIT;
        const float scale = power_of_2(fmaf(rows.highest[half], SCORE_UNIT, -base));
        rows.highest[half] = best;
        rows.total[half] *= scale;
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            sum[i][2 * half] *= scale;
            sum[i][2 * half + 1] *= scale;
        }
#pragma unroll
        for (int i = 0; i < N; i++)
#pragma unroll
            for (int r = 2 * half; r < 2 * half + 2; r++) {
                score[i][r] = power_of_2(fmaf(score[i][r], SCORE_UNIT, -base));
                rows.total[half] += score[i][r];
            }
    }
}

/* Columns 16 `step` to 16 `step` + 15 of the weights as A. */
template <int N>
static __device__ __forceinline__ void pack_weights(const float (&score)[N][4], int step,
                                                    uint32_t (&a)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float *pair = &score[2 * step + i / 2][i % 2 * 2];
        a[i] = pack_pair<number>(pair[0], pair[1]);
    }
}

static __device__ __forceinline__ void divide_by_totals(float (&sum)[D / 8][4], row_pair &rows) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float total = rows.total[half];
        total += __shfl_xor_sync(0xffffffffu, total, 1);
        total += __shfl_xor_sync(0xffffffffu, total, 2);
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
            sum[i][2 * half] /= total;
            sum[i][2 * half + 1] /= total;
        }
    }
}

/* A warp's 16 rows of outputs from row `row` of the call on. */
static __device__ __forceinline__ void store_output(const prefill_arguments &at, int64_t row,
                                                    int head, const float (&sum)[D / 8][4]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int64_t mine = row + (int)(threadIdx.x % 32) / 4 + 8 * half;
        number *o = at.o + (mine * at.heads + head) * D + (int)(threadIdx.x % 32) % 4 * 2;
        if (mine < at.rows)
#pragma unroll
            for (int i = 0; i < D / 8; i++)
                *reinterpret_cast<uint32_t *>(o + 8 * i) =
                    pack_pair<number>(sum[i][2 * half], sum[i][2 * half + 1]);
    }
}

#endif
