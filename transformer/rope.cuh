/* What the attention kernels share: the types' names, angles, and launching. */
#ifndef TNL_TRANSFORMER_ROPE_CUH
#define TNL_TRANSFORMER_ROPE_CUH

#include "kernels/common/cuda_launch.cuh"
#include "transformer/attention.h"

constexpr int D = ATTENTION_DIM, PAIRS = ATTENTION_PAIRS;
constexpr int CHUNK = 8; /* elements of 16 bytes */

using number = __nv_bfloat16;

/* Scores are taken in powers of two: log2(e) / sqrt(d). */
constexpr float SCORE_UNIT = 0.127517432f;

/* 2^x; below 2^-126 it is 0. */
static __device__ __forceinline__ float power_of_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The turns of each pair from one position to the next, as a kernel's argument. */
struct rope_turns {
    double at[PAIRS];
};

/* Cosine and sine of a pair at a position; the turns are taken in double, whose digits reach. */
static __device__ __forceinline__ float2 rope_at(double turns, int64_t position) {
    const double turn = (double)position * turns;
    float2 at;
    sincospif(2 * (float)(turn - floor(turn)), &at.y, &at.x);
    return at;
}

/* Turn chunk c of a row's first half, `low`, and the one beside it in the second, `high`. */
static __device__ __forceinline__ void rope_turn(const float2 *rope, int c, float (&low)[CHUNK],
                                                 float (&high)[CHUNK]) {
#pragma unroll
    for (int i = 0; i < CHUNK; i++) {
        const float2 at = rope[c * CHUNK + i];
        const float a = low[i], b = high[i];
        low[i] = a * at.x - b * at.y;
        high[i] = a * at.y + b * at.x;
    }
}

static inline rope_turns turns_of(const attention_call *call) {
    rope_turns turns;
    memcpy(turns.at, call->turns, sizeof turns.at);
    return turns;
}

/* Launch a kernel that calls await_previous(); failures speak of attention. */
template <typename A>
static tnl_status launch_attention(const attention_call *call, void (*kernel)(const A), dim3 grid,
                                   unsigned threads, size_t shared, const A &argument) {
    tnl_call launched = {};
    launched.context = call->context;
    const tnl_status status = tnl_launch(&launched, kernel, grid, dim3(threads), shared, argument);
    return status == TNL_OK ? status
                            : tnl_fail(call->context, status,
                                       "softmax attention: a kernel could not be launched");
}

#endif
