/*
 * How SRMSNorm's kernels share out rows: the blockDim.x threads of a row are part of a warp, a warp
 * or several warps; a block has blockDim.y rows. A row is cut into packs of W elements, 16 bytes.
 * Thread i of a row has packs i, i + blockDim.x, ...; the first HELD of them stay in registers
 * between the sum over the row and the result, so that the row is read once, and are all asked for
 * before the first is used. What a row has beyond that, where no block has enough threads for it,
 * is read a second time.
 *
 * Few rows want every row on many threads with little to do each, and a short program, since its
 * instructions come from memory too: HELD is 1. A long one, of which one multiprocessor would take
 * its time to read and write so much, is shared by the blocks of a cluster (CLUSTER). Many rows
 * want several packs in flight on each of fewer threads.
 *
 * A row of any length, at any address (EDGES), is cut where memory has multiples of 16 bytes; the
 * elements before the first and behind the last are dealt out to the row's first threads, one
 * each. That works where all tensors have a row at the same distance from a multiple of 16 bytes,
 * as contiguous ones do; the rest has packs of one element.
 */
#ifndef TNL_SRMSNORM_CUDA_ROW_CUH
#define TNL_SRMSNORM_CUDA_ROW_CUH

#include "kernels/common/cuda_launch.cuh"

enum { NORM_MOST_HELD = 4, NORM_MOST_THREADS = 1024, NORM_THREADS = 128 };
/* Of a row in a cluster: blocks, threads of each at the most, warps in all of them. */
enum { NORM_CLUSTER_BLOCKS = 4, NORM_CLUSTER_THREADS = 512, NORM_CLUSTER_WARPS = 64 };
/* Edges have fewer elements than this each, and rows with edges twice as many threads or more. */
enum { NORM_EDGE = 8 };

typedef enum norm_kind { NORM_PLAIN, NORM_RESIDUAL, NORM_GATE } norm_kind;

struct norm_shape {
    int64_t m;
    int width;
    double inverse_width, eps;
};

static norm_shape shape_of(const tnl_call *call) {
    return {call->dim[DIM_M], (int)call->dim[DIM_HIDDEN], 1.0 / (double)call->dim[DIM_HIDDEN],
            call->eps};
}

/* ---- packs ---------------------------------------------------------------------------------- */

/* Where a row of m is cut; with no edges, all of it is packs. */
template <typename T, int W, bool EDGES> struct norm_cut {
    unsigned packs;
    int head, tail; /* elements before and behind the packs */

    __device__ __forceinline__ norm_cut(const T *row, bool exists, int width) {
        head = EDGES ? (int)((16 - (uintptr_t)row % 16) % 16 / sizeof(T)) : 0;
        head = head < width ? head : width;
        packs = exists ? (unsigned)(width - head) / W : 0;
        tail = EDGES ? (width - head) % W : 0;
        if (EDGES && !exists)
            head = tail = 0;
    }
    /* The first element of a pack. */
    __device__ __forceinline__ int64_t at(unsigned i) const {
        return head + (int64_t)i * W;
    }
    /* The edges' element that is the i-th thread's; -1: none. */
    __device__ __forceinline__ int64_t edge(unsigned i) const {
        const int j = (int)i - NORM_EDGE;
        return !EDGES ? -1 : (int)i < head ? (int)i : j >= 0 && j < tail ? at(packs) + j : -1;
    }
};

template <int N, typename T>
static __device__ __forceinline__ pack<T, N> load_whole(const T *from) {
    return *(const pack<T, N> *)from;
}

/* ---- the scale of a row --------------------------------------------------------------------- */

/* r in two parts, high + low, so that r x can be rounded once; 16-bit types need the first only. */
template <typename T> struct norm_scale {
    float high, low;
    __device__ __forceinline__ float times(float x) const {
        return sizeof(T) == sizeof(float) ? fmaf(x, high, x * low) : x * high;
    }
};

/* From the sum of squares. For float32 one step of Newton's method on rsqrtf, the error
 * 1 - (mean + eps) r^2 being computed in two floats. Where the sum overflowed r is 0, as in plain
 * float32. */
template <typename T>
static __device__ __forceinline__ norm_scale<T> norm_scale_of(float squares,
                                                              const norm_shape &shape) {
    if constexpr (sizeof(T) < sizeof(float)) {
        return {rsqrtf(fmaf(squares, (float)shape.inverse_width, (float)shape.eps)), 0};
    } else {
        const double mean = fma((double)squares, shape.inverse_width, shape.eps);
        const float high = (float)mean, low = (float)(mean - (double)high);
        const float r = rsqrtf(high);
        const float product = high * r, lost = fmaf(high, r, -product);
        const float error = fmaf(-product, r, 1.0f) - (lost + low * r) * r;
        return {r, r > 0 && isfinite(r) ? 0.5f * r * error : 0.0f};
    }
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

/* ---- a row in a cluster --------------------------------------------------------------------- */

/* What of a row is a thread's: the row, its number among the row's threads, and how many these
 * are. With CLUSTER the block says at once that it has begun, for cluster_row_sums(). */
template <bool CLUSTER> struct norm_place {
    int64_t row;
    unsigned thread, threads;

    __device__ __forceinline__ norm_place()
        : row((int64_t)blockIdx.x * blockDim.y + threadIdx.y), thread(threadIdx.x),
          threads(blockDim.x) {
#if __CUDA_ARCH__ >= 900
        if constexpr (CLUSTER) {
            unsigned rank, blocks;
            asm volatile("barrier.cluster.arrive.relaxed.aligned;");
            asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
            asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
            row = blockIdx.x / blocks;
            thread = rank * blockDim.x + threadIdx.x;
            threads = blocks * blockDim.x;
        }
#endif
    }
};

/* Sums over the threads of all blocks of the cluster, each thread getting them: every warp puts its
 * own into the shared memory of every block. */
template <int N>
static __device__ __forceinline__ void cluster_row_sums(float (&sum)[N],
                                                        const norm_place<true> &place) {
#if __CUDA_ARCH__ >= 900
    __shared__ float part[N][NORM_CLUSTER_WARPS];
    const unsigned lane = threadIdx.x % 32, warps = place.threads / 32;
#pragma unroll
    for (int i = 0; i < N; i++)
        sum[i] = warp_sum(sum[i]);
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); /* all blocks have begun */
    if (lane < place.threads / blockDim.x)
#pragma unroll
        for (int i = 0; i < N; i++)
            asm volatile("{\n"
                         ".reg .b32 there;\n"
                         "mapa.shared::cluster.u32 there, %0, %1;\n"
                         "st.shared::cluster.f32 [there], %2;\n"
                         "}" ::"r"((unsigned)__cvta_generic_to_shared(&part[i][place.thread / 32])),
                         "r"(lane), "f"(sum[i])
                         : "memory");
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float first = lane < warps ? part[i][lane] : 0.0f;
        sum[i] = warp_sum(first + (lane + 32 < warps ? part[i][lane + 32] : 0.0f));
    }
#endif
}

/* ---- launching ------------------------------------------------------------------------------ */

/* How the rows of a call are shared out: the kernel's W, HELD and EDGES, its blocks, and how many
 * of these are a cluster. */
struct norm_layout {
    int width, held;
    bool edges;
    dim3 block;
    unsigned blocks, cluster;
};

template <int N> struct norm_count { static constexpr int value = N; };

/* Call f with `held` as a constant. */
template <typename F> static tnl_status norm_with_held(int held, F f) {
    return held == 1   ? f(norm_count<1>())
           : held == 2 ? f(norm_count<2>())
                       : f(norm_count<NORM_MOST_HELD>());
}

/* Whether rows can be cut at multiples of 16 bytes: see the top. Absent tensors don't matter. */
static bool norm_allows_edges(const tnl_tensor *const *tensor, int count) {
    const int64_t size = (int64_t)tnl_type_size(tensor[0]->type);
    for (int i = 0; i < count; i++) {
        const tnl_tensor *t = tensor[i], *first = tensor[0];
        if (t->data && ((uintptr_t)t->data % (uintptr_t)size != 0 ||
                        ((uintptr_t)t->data - (uintptr_t)first->data) % 16 != 0 ||
                        (t->shape[0] > 1 && (t->stride[0] - first->stride[0]) * size % 16 != 0)))
            return false;
    }
    return true;
}

/* Threads of a row, where each holds so many packs of it: as few as will do. */
static unsigned norm_threads(unsigned packs, int held, unsigned most) {
    const unsigned needed = (unsigned)ceil_div(packs, held);
    const unsigned x = needed <= 8 ? 8 : needed <= 16 ? 16 : (unsigned)ceil_div(needed, 32) * 32;
    return x < most ? x : most;
}

/* How many packs a thread holds where rows have no edges: more where a row would else take a large
 * block, whose threads wait for each other. */
static int norm_held(const tnl_call *call, unsigned packs) {
    int held = call->dim[DIM_M] <= 2 * call->context->multiprocessors ? 1 : 2;
    while (held < NORM_MOST_HELD && ceil_div(packs, held) > NORM_MOST_THREADS / 2)
        held *= 2;
    return held;
}

/* The blocks that share a row without edges: several where two of their size would not do and the
 * device has room for those of all rows at once. Two for a shorter row gain nothing. */
static unsigned norm_cluster(const tnl_call *call, unsigned packs) {
#ifdef TNL_BUILT_FOR_90
    const bool has_clusters = call->context->compute_capability >= 90;
#else
    const bool has_clusters = false;
#endif
    const bool fit = packs > NORM_CLUSTER_BLOCKS / 2 * NORM_CLUSTER_THREADS &&
                     packs <= NORM_CLUSTER_BLOCKS * NORM_CLUSTER_THREADS &&
                     call->dim[DIM_M] * NORM_CLUSTER_BLOCKS <= call->context->multiprocessors;
    return has_clusters && fit ? NORM_CLUSTER_BLOCKS : 1;
}

/* The layout for the tensors of these indices (the first one present). most: threads a row where a
 * thread holds as many packs as it can, without edges or with. */
template <typename T>
static norm_layout norm_layout_of(const tnl_call *call, const int *index, int count,
                                  unsigned most_without, unsigned most_with) {
    const tnl_tensor *tensor[TNL_MAX_TENSORS];
    bool whole = true;
    for (int i = 0; i < count; i++) {
        tensor[i] = &call->tensor[index[i]];
        whole = whole && (!tensor[i]->data || tnl_allows_16_bytes(tensor[i]));
    }
    const bool edges = !whole && norm_allows_edges(tensor, count);
    const int width = whole || edges ? pack<T>::size : 1;
    const int64_t m = call->dim[DIM_M];
    const unsigned packs = (unsigned)ceil_div(call->dim[DIM_HIDDEN], width);
    const unsigned cluster = whole ? norm_cluster(call, packs) : 1;
    if (cluster > 1) {
        const unsigned threads = norm_threads(packs, (int)cluster, NORM_CLUSTER_THREADS);
        return {width, 1, false, dim3(threads), (unsigned)m * cluster, cluster};
    }
    const int held = whole ? norm_held(call, packs) : NORM_MOST_HELD;
    unsigned x = norm_threads(packs, held, edges ? most_with : most_without);
    if (edges && x < 2 * NORM_EDGE)
        x = 2 * NORM_EDGE;
    unsigned y = x < NORM_THREADS ? NORM_THREADS / x : 1;
    while (y > 1 && ceil_div(m, y) < call->context->multiprocessors)
        y /= 2;
    return {width, held, edges, dim3(x, y), (unsigned)ceil_div(m, y), 1};
}

#endif
