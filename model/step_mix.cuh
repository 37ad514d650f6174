/*
 * The mixing round of a decode step: Algorithm 2 of q, k and v. A warp has STATE_COLUMNS columns of
 * a head's state, which it asks for before q, k and v have come.
 */
#ifndef TNL_MODEL_STEP_MIX_CUH
#define TNL_MODEL_STEP_MIX_CUH

#include "kernels/common/cuda_activation.cuh"
#include "model/step_operand.cuh"

namespace step {

constexpr int STATE_COLUMNS = 8; /* of a warp: 32 bytes */
constexpr int STATE_ROWS = 16;   /* of a warp at a time, two lanes each */
constexpr int STATE_HELD = 8;    /* times as many are in flight */

/* One row of the state: S <- decay S + k v, o += q S. */
static __device__ __forceinline__ void step_row(float4 &s, float decay, float q, float k,
                                                const float (&v)[4], float (&o)[4]) {
    s.x = fmaf(decay, s.x, k * v[0]);
    s.y = fmaf(decay, s.y, k * v[1]);
    s.z = fmaf(decay, s.z, k * v[2]);
    s.w = fmaf(decay, s.w, k * v[3]);
    o[0] = fmaf(q, s.x, o[0]);
    o[1] = fmaf(q, s.y, o[1]);
    o[2] = fmaf(q, s.z, o[2]);
    o[3] = fmaf(q, s.w, o[3]);
}

/* A lane's channels of q or k, 2 lane + 64 i and the one behind it, after swish. */
struct channels {
    float at[2][2];

    __device__ __forceinline__ void activate(float a, float b, float c, float d) {
        at[0][0] = swish<bf16>(a);
        at[0][1] = swish<bf16>(b);
        at[1][0] = swish<bf16>(c);
        at[1][1] = swish<bf16>(d);
    }
    /* That of the lane's row in step j of the state, lane / 2 + STATE_ROWS j. */
    __device__ __forceinline__ float of_row(int j) const {
        const int lane = threadIdx.x % 32, from = lane / 4 + 8 * (j % 4);
        const float even = __shfl_sync(0xffffffffu, at[j / 4][0], from);
        const float odd = __shfl_sync(0xffffffffu, at[j / 4][1], from);
        return lane / 2 % 2 ? odd : even;
    }
};

/* LRPE's factors of the lane's channels, cosines or sines. */
static __device__ __forceinline__ void turn(channels &q, channels &k, const channels &q_in,
                                            const channels &k_in, const float *theta, int d,
                                            double t, bool sines) {
#pragma unroll 1
    for (int i = 0; i < 4; i++) {
        const int channel = 2 * (int)(threadIdx.x % 32) + i / 2 * 64 + i % 2;
        const rotation by = rotate(channel < d ? theta[channel] : 0, t);
        const float factor = sines ? by.sine : by.cosine;
#pragma unroll
        for (int j = 0; j < 4; j++) /* registers have no index */
            if (i == j) {
                q.at[j / 2][j % 2] = q_in.at[j / 2][j % 2] * factor;
                k.at[j / 2][j % 2] = k_in.at[j / 2][j % 2] * factor;
            }
    }
}

/* Eight columns of a head's state, from `column` on; two lanes a row. With LRPE the state has two
 * parts of d rows, one for the cosines and one for the sines. */
static __device__ __forceinline__ void mix(const arguments &at, const tnl_step_layer &layer, int b,
                                           int head, int column, unsigned flag) {
    const int d = at.shape.hidden / at.shape.heads, parts = layer.theta ? 2 : 1;
    const int lane = threadIdx.x % 32, mine = column + lane % 2 * 4, slot = at.slots[b];
    const word *words = at.qkvu + b * 4 * at.shape.hidden + head * d;
    const float decay = expf(-layer.slope[head]);
    const int64_t first = ((int64_t)max(slot, 0) * at.shape.heads + head) * parts * d;
    float *state = layer.state + (first + lane / 2) * d + mine;
    channels q_in, k_in;
    float v[4], o[4] = {};
    for (int part = 0; part < parts; part++, state += d * d) {
        float4 held[STATE_HELD];
#pragma unroll
        for (int j = 0; j < STATE_HELD; j++)
            if (lane / 2 + j * STATE_ROWS < d)
                held[j] = *(const float4 *)(state + j * STATE_ROWS * d);
        if (part == 0) {
            const int channel = 2 * lane, hidden = at.shape.hidden;
            const word *q0 = channel < d ? words + channel : NULL;
            const word *q1 = channel + 64 < d ? words + channel + 64 : NULL;
            const word *v0 = words + 2 * hidden + mine;
            const exchange::pairs<6> asked = {
                {q0, q1, q0 ? q0 + hidden : NULL, q1 ? q1 + hidden : NULL, v0, v0 + 2}};
            float come[12];
            asked.wait(flag, come);
            q_in.activate(come[0], come[1], come[2], come[3]);
            k_in.activate(come[4], come[5], come[6], come[7]);
#pragma unroll
            for (int i = 0; i < 4; i++)
                v[i] = come[8 + i];
        }
        channels q = q_in, k = k_in;
        if (layer.theta)
            turn(q, k, q_in, k_in, layer.theta + head * d, d, (double)at.positions[b], part);
#pragma unroll
        for (int j = 0; j < STATE_HELD; j++) {
            const float q_row = q.of_row(j), k_row = k.of_row(j);
            if (lane / 2 + j * STATE_ROWS >= d)
                continue;
            step_row(held[j], decay, q_row, k_row, v, o);
            if (slot >= 0)
                *(float4 *)(state + j * STATE_ROWS * d) = held[j];
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int distance = 2; distance < 32; distance *= 2)
            o[i] += __shfl_xor_sync(0xffffffffu, o[i], distance);
        if (lane < 2)
            exchange::put(at.o + b * at.shape.hidden + head * d + mine + i, o[i], flag);
    }
}

template <int ROWS>
static __device__ __forceinline__ void mix_all(const arguments &at, int layer, unsigned flag) {
    const int groups = at.shape.hidden / STATE_COLUMNS; /* of a token */
    const int d = at.shape.hidden / at.shape.heads;
    const int first = (int)(threadIdx.x / 32 * gridDim.x + blockIdx.x);
    for (int task = first; task < ROWS * groups; task += WARPS * (int)gridDim.x) {
        const int column = task % groups * STATE_COLUMNS;
        mix(at, at.layers[layer], task / groups, column / d, column % d, flag);
    }
}

} // namespace step

#endif
