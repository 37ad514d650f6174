/*
 * The matrix product of one row, y = W x with W [n,k], in 16-bit types with sums in float32: all
 * its time goes into reading W once, and nothing reads memory faster than many small blocks that
 * each ask for all that they want, 16 KiB or some more, before they use the first of it, and end.
 *
 * A block has VECTOR_ROWS rows of W, and its threads share k. At the end the first warp adds the
 * warps' sums, a lane each, so that two runs agree.
 *
 * On an H200, D = 4096 and g = 11264, cold, in microseconds (an empty kernel: 2.9):
 *                                         gate    down    projection
 *     reads of W alone                    43.5    23.5    32.3
 *     this kernel                         43.2    24.0    32.6
 *     with products under a condition     43.3    24.1    32.7
 *     a thread adds up a row's sums       43.2    24.3    32.5
 *     both of these                       43.3    24.5    32.8
 *     cuda_streaming.cuh                  48.5    26.2    36.0
 *     four features a block               51.8    27.4    33.6
 *     x asked for only where it's used    47.2    25.8    36.6
 * The reads and the last three are of another run. In some processes the gate takes 44.5. Loads
 * under a condition each are no good: the compiler then puts them between the products, a few on
 * their way at a time; nor is a condition around the products, into which it draws their loads. In
 * a loop without rests down takes no less with x kept in registers by blocks that stay, a warp to
 * each slice of k (24.7, as with both of these), more with bulk copies to shared memory instead of
 * loads (25.3 to 26.4), and more with W brought to L2 ahead (27 and more).
 */
#ifndef TNL_KERNELS_COMMON_CUDA_VECTORS_CUH
#define TNL_KERNELS_COMMON_CUDA_VECTORS_CUH

#include "kernels/common/cuda_launch.cuh"
#include "kernels/common/mma.cuh"

namespace streaming {

constexpr int VECTOR_LOADS = 2;     /* of 16 bytes of each row of W, a thread's at a time */
constexpr int VECTOR_ROWS = 2;      /* of W, of all matrices together: a block's */
constexpr int VECTOR_THREADS = 768; /* at most */

/* With two matrices (of equal shape) their products are made side by side. */
template <typename T, int MATRICES, typename Output> struct vector_arguments {
    const T *x;
    matrix<const T> w[MATRICES];
    int features, depth;
    Output output;
};

/* 16 bytes that nobody will want again. */
static __device__ __forceinline__ uint4 load_once(const void *from) {
    uint4 words;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(from));
    return words;
}

/* The sum of the products of eight elements each, added to `sum`. */
template <typename T> static __device__ __forceinline__ float dot(uint4 a, uint4 b, float sum) {
    const uint32_t pairs[4][2] = {{a.x, b.x}, {a.y, b.y}, {a.z, b.z}, {a.w, b.w}};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 of_a = unpack_pair<T>(pairs[i][0]), of_b = unpack_pair<T>(pairs[i][1]);
        sum = fmaf(of_a.x, of_b.x, sum);
        sum = fmaf(of_a.y, of_b.y, sum);
    }
    return sum;
}

/* Output as in cuda_streaming.cuh. */
template <typename T, int MATRICES, typename Output>
__global__ void __launch_bounds__(VECTOR_THREADS)
    vector_kernel(const vector_arguments<T, MATRICES, Output> at) {
    constexpr int LOADS = VECTOR_LOADS, FEATURES = VECTOR_ROWS / MATRICES;
    __shared__ float parts[VECTOR_THREADS / 32][MATRICES][FEATURES];
    const int first = (int)blockIdx.x * FEATURES, stride = (int)blockDim.x * 8;
    const T *row[MATRICES][FEATURES];
#pragma unroll
    for (int i = 0; i < MATRICES; i++)
#pragma unroll
        for (int f = 0; f < FEATURES; f++)
            row[i][f] = at.w[i].row(min(first + f, at.features - 1));
    await_previous();
    float sum[MATRICES][FEATURES] = {};
    for (int k = (int)threadIdx.x * 8; k < at.depth; k += LOADS * stride) {
        uint4 w[LOADS][MATRICES][FEATURES], x[LOADS];
        bool inside[LOADS];
        int from[LOADS];
#pragma unroll
        for (int l = 0; l < LOADS; l++) {
            inside[l] = l == 0 || k + l * stride < at.depth;
            from[l] = inside[l] ? k + l * stride : k;
        }
#pragma unroll
        for (int l = 0; l < LOADS; l++)
#pragma unroll
            for (int i = 0; i < MATRICES; i++)
#pragma unroll
                for (int f = 0; f < FEATURES; f++)
                    w[l][i][f] = load_once(row[i][f] + from[l]);
#pragma unroll
        for (int l = 0; l < LOADS; l++)
            x[l] = *(const uint4 *)(at.x + from[l]);
#pragma unroll
        for (int l = 0; l < LOADS; l++)
#pragma unroll
            for (int i = 0; i < MATRICES; i++)
#pragma unroll
                for (int f = 0; f < FEATURES; f++) {
                    const float more = dot<T>(w[l][i][f], x[l], sum[i][f]);
                    sum[i][f] = inside[l] ? more : sum[i][f];
                }
    }
#pragma unroll
    for (int i = 0; i < MATRICES; i++)
#pragma unroll
        for (int f = 0; f < FEATURES; f++) {
            const float of_warp = warp_sum(sum[i][f]);
            if (threadIdx.x % 32 == 0)
                parts[threadIdx.x / 32][i][f] = of_warp;
        }
    __syncthreads();
    if (threadIdx.x >= 32)
        return;
    const int lane = (int)threadIdx.x, warps = (int)blockDim.x / 32;
    float value[MATRICES];
#pragma unroll
    for (int i = 0; i < MATRICES; i++)
#pragma unroll
        for (int f = 0; f < FEATURES; f++) {
            const float total = warp_sum(lane < warps ? parts[lane][i][f] : 0);
            value[i] = f == 0 || lane == f ? total : value[i];
        }
    if (lane < FEATURES && first + lane < at.features)
        at.output.write(0, first + lane, value);
}

template <typename T, int MATRICES, typename Output>
static tnl_status launch_vector(const tnl_call *call, const tnl_tensor *x,
                                const tnl_tensor *const (&w)[MATRICES], const Output &output) {
    vector_arguments<T, MATRICES, Output> at = {.x = (const T *)x->data,
                                                .features = (int)w[0]->shape[0],
                                                .depth = (int)x->shape[1],
                                                .output = output};
    for (int i = 0; i < MATRICES; i++)
        at.w[i] = tnl_matrix_of<const T>(w[i]);
    /* threads that have all their loads on their way at once, or a few times as many loads */
    const int64_t loads = ceil_div(at.depth, 8 * VECTOR_LOADS);
    const int64_t threads = ceil_div(ceil_div(loads, ceil_div(loads, VECTOR_THREADS)), 32) * 32;
    return tnl_launch(call, vector_kernel<T, MATRICES, Output>,
                      dim3((unsigned)ceil_div(at.features, VECTOR_ROWS / MATRICES)),
                      dim3((unsigned)threads), 0, at);
}

} // namespace streaming

#endif
