/*
 * How the fused SRMSNorm kernels share out rows, and r = 1 / sqrt(mean(x^2) + eps).
 *
 * A row belongs to blockDim.x threads: a part of a warp, a warp, or several warps; a block has
 * blockDim.y rows. A row is cut into packs of W elements, 16 bytes or, where the tensors do not
 * allow that, one element. Thread i of a row has packs i, i + blockDim.x, ...; the first NORM_HELD
 * of them stay in registers between the sum over the row and the result, so that the row is read
 * once, and are all asked for before the first is used. What a very long row has beyond that is
 * read a second time.
 */
#ifndef TNL_SRMSNORM_CUDA_ROW_CUH
#define TNL_SRMSNORM_CUDA_ROW_CUH

#include "kernels/common/cuda.cuh"

enum { NORM_HELD = 4, NORM_THREADS = 256 };

typedef enum norm_kind { NORM_PLAIN, NORM_RESIDUAL, NORM_GATE } norm_kind;

typedef struct norm_shape {
    int64_t m;
    unsigned packs; /* in a row */
    double inverse_width, eps;
} norm_shape;

static norm_shape shape_of(const tnl_call *call, int width_of_pack) {
    return {call->dim[DIM_M], (unsigned)(call->dim[DIM_HIDDEN] / width_of_pack),
            1.0 / (double)call->dim[DIM_HIDDEN], call->eps};
}

/* The block for rows of that many packs: as few threads a row as hold it, several rows where that
 * leaves room for them. At most `most` threads. */
static dim3 norm_block(unsigned packs, unsigned most) {
    const unsigned needed = (unsigned)ceil_div(packs, NORM_HELD);
    unsigned x = needed <= 8 ? 8 : needed <= 16 ? 16 : (unsigned)ceil_div(needed, 32) * 32;
    x = x < most ? x : most;
    return dim3(x, x < NORM_THREADS ? NORM_THREADS / x : 1);
}

/* r in two parts, high + low, so that r x can be rounded once. */
struct norm_scale {
    float high, low;
    __device__ __forceinline__ float times(float x) const {
        return fmaf(x, high, x * low);
    }
};

/* From the sum of squares. One step of Newton's method on rsqrtf, the error 1 - (mean + eps) r^2
 * being computed in two floats. Where the sum overflowed r is 0, as in plain float32. */
static __device__ __forceinline__ norm_scale norm_scale_of(float squares, const norm_shape &shape) {
    const double mean = fma((double)squares, shape.inverse_width, shape.eps);
    const float high = (float)mean, low = (float)(mean - (double)high);
    const float r = rsqrtf(high);
    const float product = high * r, lost = fmaf(high, r, -product);
    const float error = fmaf(-product, r, 1.0f) - (lost + low * r) * r;
    return {r, r > 0 && isfinite(r) ? 0.5f * r * error : 0.0f};
}

/* Sums over the threads of a row, each thread getting them. All threads of the block take part. */
template <int N> static __device__ __forceinline__ void row_sums(float (&sum)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (unsigned distance = 16; distance > 0; distance /= 2)
            if (distance < blockDim.x)
                sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], (int)distance);
    if (blockDim.x <= 32)
        return;

    /* part[i]: the sum of each warp of the block; a row's warps lie side by side */
    __shared__ float part[N][32];
    const unsigned warps = blockDim.x / 32, first = threadIdx.y * warps, lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (lane == 0)
            part[i][first + threadIdx.x / 32] = sum[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++)
        sum[i] = warp_sum(lane < warps ? part[i][first + lane] : 0.0f);
}

#endif
