/*
 * Sums over an SRMSNorm's row, which its threads have in parts: threads that are part of a warp, a
 * warp, several warps of a block, or those of all blocks of a cluster.
 */
#ifndef TNL_SRMSNORM_CUDA_SUMS_CUH
#define TNL_SRMSNORM_CUDA_SUMS_CUH

#include "kernels/common/bulk.cuh"

enum { NORM_CLUSTER_WARPS = 64 }; /* of all blocks of a row, at the most */

/* ---- in a block ----------------------------------------------------------------------------- */

/* The sums over a warp, of one value or two. Of two the first 16 lanes get the first sum and the
 * others the second, so that both take no more shuffles than one. */
template <int N> static __device__ __forceinline__ float warp_sums(const float (&value)[N]) {
    if constexpr (N == 1) {
        return warp_sum(value[0]);
    } else {
        const bool second = threadIdx.x % 32 >= 16;
        float sum = second ? value[1] : value[0];
        sum += __shfl_xor_sync(0xffffffffu, second ? value[0] : value[1], 16);
#pragma unroll
        for (int distance = 8; distance > 0; distance /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, distance);
        return sum;
    }
}

/* The sums over the part of a warp, or the warp, that a row has, each thread getting them. */
template <int N> static __device__ __forceinline__ void lane_sums(float (&sum)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (unsigned distance = 16; distance > 0; distance /= 2)
            if (distance < blockDim.x)
                sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], (int)distance);
}

/* The sums over the warps that a row has in a block, each thread getting them. All threads of the
 * block take part. */
template <int N> static __device__ __forceinline__ void block_sums(float (&sum)[N]) {
    /* part[i]: the sum of each warp. A row's lie side by side, with zeros up to a multiple of 4: a
     * lane takes 4 of them. */
    __shared__ alignas(16) float part[N][32];
    const unsigned warps = blockDim.x / 32, end = (warps + 3) / 4 * 4;
    const unsigned lane = threadIdx.x % 32, which = lane / 16 % N, first = threadIdx.y * end;
    if (warps + threadIdx.x < end)
#pragma unroll
        for (int i = 0; i < N; i++)
            part[i][first + warps + threadIdx.x] = 0;
    const float own = warp_sums(sum);
    if (lane % 16 == 0 && lane / 16 < N)
        part[which][first + threadIdx.x / 32] = own;
    __syncthreads();
    const unsigned mine = lane % 8 * 4;
    pack<float, 4> parts = {};
    if (mine < warps)
        parts = *(const pack<float, 4> *)&part[which][first + mine];
    float total = (parts.at[0] + parts.at[1]) + (parts.at[2] + parts.at[3]);
#pragma unroll
    for (int distance = 4; distance > 0; distance /= 2)
        total += __shfl_xor_sync(0xffffffffu, total, distance);
    sum[0] = total;
    if constexpr (N == 2) {
        const float other = __shfl_xor_sync(0xffffffffu, total, 16);
        sum[0] = which ? other : total;
        sum[1] = which ? total : other;
    }
}

/* ---- in a cluster --------------------------------------------------------------------------- */

/* What of a row is a thread's: the row, its number among the row's threads, and how many these
 * are. The SPLIT blocks of a cluster follow one another. single: a block has one row at most. */
template <int SPLIT> struct norm_place {
    int64_t row;
    unsigned thread, threads;

    __device__ __forceinline__ norm_place(bool single)
        : row(SPLIT > 1 || single ? blockIdx.x / SPLIT
                                  : (int64_t)blockIdx.x * blockDim.y + threadIdx.y),
          thread(blockIdx.x % SPLIT * blockDim.x + threadIdx.x), threads(SPLIT * blockDim.x) {}

    __device__ __forceinline__ bool exists(int64_t rows) const {
        return SPLIT > 1 || row < rows;
    }
};

/* Where the warps of a row's blocks leave their sums, in the shared memory of each of them. */
template <int N, int SPLIT> struct norm_exchange {
    pack<float, N> part[NORM_CLUSTER_WARPS];
    uint64_t arrived;

    /* Say that this block may be written to, and wait until all others may. */
    __device__ __forceinline__ void open(const norm_place<SPLIT> &place) {
#if __CUDA_ARCH__ >= 900
        if constexpr (SPLIT > 1) {
            if (threadIdx.x == 0) {
                asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n"
                             "fence.mbarrier_init.release.cluster;" ::"r"(shared_address(&arrived))
                             : "memory");
                bulk_expect(&arrived, place.threads / 32 * (unsigned)sizeof part[0]);
            }
            __syncwarp();
            asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
            asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
        }
#endif
    }

    /* Put a warp's sums into the block of each lane's number. */
    __device__ __forceinline__ void put(const float (&sum)[N], unsigned warp) {
#if __CUDA_ARCH__ >= 900
        const unsigned lane = threadIdx.x % 32;
        unsigned to, at;
        asm("mapa.shared::cluster.u32 %0, %1, %2;"
            : "=r"(to)
            : "r"(shared_address(&part[warp])), "r"(lane));
        asm("mapa.shared::cluster.u32 %0, %1, %2;"
            : "=r"(at)
            : "r"(shared_address(&arrived)), "r"(lane));
        if (lane >= SPLIT)
            return;
        if constexpr (N == 1)
            asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.f32 "
                         "[%0], %1, [%2];" ::"r"(to),
                         "f"(sum[0]), "r"(at)
                         : "memory");
        else
            asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 "
                         "[%0], {%1, %2}, [%3];" ::"r"(to),
                         "f"(sum[0]), "f"(sum[1]), "r"(at)
                         : "memory");
#endif
    }
};

/* The sums over a row, each thread getting them. All threads of its blocks take part. */
template <int SPLIT, int N>
static __device__ __forceinline__ void row_sums(float (&sum)[N], const norm_place<SPLIT> &place,
                                                norm_exchange<N, SPLIT> &exchange) {
    if constexpr (SPLIT == 1) {
        if (blockDim.x <= 32)
            lane_sums(sum);
        else
            block_sums(sum);
    } else {
        const unsigned lane = threadIdx.x % 32, warps = place.threads / 32;
#pragma unroll
        for (int i = 0; i < N; i++)
            sum[i] = warp_sum(sum[i]);
        exchange.put(sum, place.thread / 32);
        bulk_wait(&exchange.arrived, 0);
        pack<float, N> first = {}, second = {};
        if (lane < warps)
            first = exchange.part[lane];
        if (lane + 32 < warps)
            second = exchange.part[lane + 32];
#pragma unroll
        for (int i = 0; i < N; i++)
            sum[i] = warp_sum(first.at[i] + second.at[i]);
    }
}

#endif
