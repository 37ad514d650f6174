/*
 * How SRMSNorm's kernels share out rows: the blockDim.x threads of a row are part of a warp, a warp
 * or several warps; a block has blockDim.y rows. A row is cut into packs of W elements, 16 bytes.
 * Thread i of a row has packs i, i + blockDim.x, ...; the first HELD of them stay in registers
 * between the sum over the row and the result, so that the row is read once, and are all asked for
 * before the first is used. What a row has beyond that, where no block has enough threads for it,
 * is read a second time.
 *
 * Few rows want every row on many threads with little to do each, and a short program: HELD is 1,
 * and where no thread is without a pack (EVEN), none asks whether it has one. A long row, of which
 * one multiprocessor would take its time to read and write so much, is shared by the SPLIT blocks
 * of a cluster. Many rows want several packs in flight on each of fewer threads; but long ones of
 * three tensors to read are shared by a cluster, too: as many threads as hold so much of a row
 * leave a multiprocessor no room for other rows.
 *
 * A row of any length, at any address (EDGES), is cut where memory has multiples of 16 bytes; the
 * elements before the first and behind the last are dealt out to the row's first threads, one
 * each. That works where all tensors have a row at the same distance from a multiple of 16 bytes,
 * as contiguous ones do; the rest has packs of one element.
 */
#ifndef TNL_SRMSNORM_CUDA_ROW_CUH
#define TNL_SRMSNORM_CUDA_ROW_CUH

#include <type_traits>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/srmsnorm/cuda_sums.cuh"

enum { NORM_MOST_HELD = 4, NORM_MOST_THREADS = 1024, NORM_THREADS = 128 };
/* Of a block at the most where each has one pack. */
enum { NORM_SINGLE_THREADS = 512 };
enum { NORM_MOST_SPLIT = 8 }; /* blocks of a row */
/* Edges have fewer elements than this each, and rows with edges twice as many threads or more. */
enum { NORM_EDGE = 8 };

typedef enum norm_kind { NORM_PLAIN, NORM_RESIDUAL, NORM_GATE } norm_kind;

/* The two numbers that float32 wants in double, and what they are in float. */
struct norm_shape {
    int64_t m;
    int width;
    float inverse_width, eps;
    double exact_inverse_width, exact_eps;
};

static norm_shape shape_of(const tnl_call *call) {
    const double inverse = 1.0 / (double)call->dim[DIM_HIDDEN];
    return {call->dim[DIM_M], (int)call->dim[DIM_HIDDEN], (float)inverse, (float)call->eps, inverse,
            call->eps};
}

/* ---- packs ---------------------------------------------------------------------------------- */

/* Where a row of m is cut; with no edges, all of it is packs. */
template <typename T, int W, bool EDGES> struct norm_cut {
    unsigned packs;
    int head, tail; /* elements before and behind the packs */

    __device__ __forceinline__ norm_cut(const T *row, bool exists, int width) {
        head = EDGES ? min((int)((16 - (uintptr_t)row % 16) % 16 / sizeof(T)), width) : 0;
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

/* A pack's elements as floats. A bfloat16 is the upper half of its float, which the compiler, left
 * to itself, puts there in two instructions. */
template <typename T, int W>
static __device__ __forceinline__ void widen(const pack<T, W> &from, float (&to)[W]) {
    if constexpr (std::is_same_v<T, __nv_bfloat16> && W % 2 == 0) {
        uint32_t words[W / 2];
        memcpy(words, &from, sizeof words);
#pragma unroll
        for (int w = 0; w < W; w++)
            to[w] = __uint_as_float(w % 2 ? words[w / 2] & 0xffff0000 : words[w / 2] << 16);
    } else {
#pragma unroll
        for (int w = 0; w < W; w++)
            to[w] = to_float(from.at[w]);
    }
}

/* Have the page that a thread will write to looked up while the inputs come: one thread of each 64
 * blocks asks for a line of it, and none waits. */
template <typename T> static __device__ __forceinline__ void look_up_page(const T *to) {
    asm volatile("{\n"
                 ".reg .pred p;\n"
                 "setp.eq.u32 p, %1, 0;\n"
                 "@p prefetch.global.L2 [%0];\n"
                 "}" ::"l"(__cvta_generic_to_global(to)),
                 "r"(threadIdx.x | blockIdx.x % 64));
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
        return {rsqrtf(fmaf(squares, shape.inverse_width, shape.eps)), 0};
    } else {
        const double mean = fma((double)squares, shape.exact_inverse_width, shape.exact_eps);
        const float high = (float)mean, low = (float)(mean - (double)high);
        const float r = rsqrtf(high);
        const float product = high * r, lost = fmaf(high, r, -product);
        const float error = fmaf(-product, r, 1.0f) - (lost + low * r) * r;
        return {r, r > 0 && isfinite(r) ? 0.5f * r * error : 0.0f};
    }
}

/* ---- launching ------------------------------------------------------------------------------ */

/* A kernel's constants. */
template <int W_, int HELD_, bool EDGES_ = false, int SPLIT_ = 1, bool EVEN_ = false>
struct norm_form {
    static constexpr int W = W_, HELD = HELD_, SPLIT = SPLIT_;
    static constexpr bool EDGES = EDGES_, EVEN = EVEN_;
};

/* What a launch has besides. */
struct norm_grid {
    dim3 block;
    unsigned blocks;
};

/* Whether rows can be cut at multiples of 16 bytes: see the top. */
static inline bool norm_allows_edges(const tnl_tensor *const *tensor, int count) {
    const int64_t size = (int64_t)tnl_type_size(tensor[0]->type);
    for (int i = 0; i < count; i++) {
        const tnl_tensor *t = tensor[i], *first = tensor[0];
        if ((uintptr_t)t->data % (uintptr_t)size != 0 ||
            ((uintptr_t)t->data - (uintptr_t)first->data) % 16 != 0 ||
            (t->shape[0] > 1 && (t->stride[0] - first->stride[0]) * size % 16 != 0))
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

/* Whether a call has few blocks, with so many for a row: two or fewer for each multiprocessor. */
static bool norm_few(const tnl_call *call, int64_t blocks) {
    return call->dim[DIM_M] * blocks <= 2 * call->context->multiprocessors;
}

/* How many packs a thread holds where rows have no edges: more where a row would else take a large
 * block, whose threads wait for each other. */
static int norm_held(const tnl_call *call, unsigned packs) {
    int held = norm_few(call, 1) ? 1 : 2;
    while (held < NORM_MOST_HELD && ceil_div(packs, held) > NORM_SINGLE_THREADS)
        held *= 2;
    return held;
}

/* The blocks that share a row without edges, each of its threads having one pack. Few rows are
 * split as long as the blocks don't become too small, nor more than the multiprocessors hold two
 * of; long rows of three tensors to read, however many there are. */
static int norm_split(const tnl_call *call, unsigned packs, int inputs) {
#ifdef TNL_BUILT_FOR_90
    const bool has_clusters = call->context->compute_capability >= 90;
#else
    const bool has_clusters = false;
#endif
    const bool is_long = inputs == 3 && packs >= 2 * NORM_SINGLE_THREADS;
    unsigned split = has_clusters ? NORM_MOST_SPLIT : 1;
    while (split > 1 && (!norm_few(call, split) || packs < split * NORM_THREADS) &&
           !(is_long && packs >= split * 2 * NORM_THREADS))
        split /= 2;
    const unsigned most_packs = split * NORM_SINGLE_THREADS;
    return packs <= (most_packs < 32 * NORM_CLUSTER_WARPS ? most_packs : 32 * NORM_CLUSTER_WARPS)
               ? (int)split
               : 1;
}

/* Call run() for rows without edges of which each thread has one pack. EVEN: no thread is without,
 * which saves few rows some time; with many, registers for as many more threads count for more. */
template <int W, bool EVEN, typename F>
static tnl_status norm_run_single(int split, norm_grid grid, F run) {
    return split == 1   ? run(norm_form<W, 1, false, 1, EVEN>(), grid)
           : split == 2 ? run(norm_form<W, 1, false, 2, EVEN>(), grid)
           : split == 4 ? run(norm_form<W, 1, false, 4, EVEN>(), grid)
                        : run(norm_form<W, 1, false, NORM_MOST_SPLIT, EVEN>(), grid);
}

/* Call run(norm_form(), norm_grid()) with what shares out the rows of the tensors of these indices,
 * so many of which are read. most: threads a row where a thread holds as many packs as it can,
 * without edges or with. */
template <typename T, int COUNT, typename F>
static tnl_status norm_dispatch(const tnl_call *call, const int (&index)[COUNT], int inputs,
                                unsigned most_without, unsigned most_with, F run) {
    constexpr int W = pack<T>::size;
    const tnl_tensor *tensor[COUNT];
    bool whole = true;
    for (int i = 0; i < COUNT; i++) {
        tensor[i] = &call->tensor[index[i]];
        whole = whole && tnl_allows_16_bytes(tensor[i]);
    }
    const bool edges = !whole && norm_allows_edges(tensor, COUNT);
    const int64_t m = call->dim[DIM_M];
    const unsigned packs = (unsigned)ceil_div(call->dim[DIM_HIDDEN], whole || edges ? W : 1);
    const int split = whole ? norm_split(call, packs, inputs) : 1;
    const int held = !whole ? NORM_MOST_HELD : split > 1 ? 1 : norm_held(call, packs);
    if (held == 1) {
        const unsigned threads = norm_threads(packs, split, NORM_SINGLE_THREADS);
        const norm_grid grid = {threads, (unsigned)(m * split)};
        const bool even = threads * split == packs && norm_few(call, split);
        return even ? norm_run_single<W, true>(split, grid, run)
                    : norm_run_single<W, false>(split, grid, run);
    }

    unsigned x = norm_threads(packs, held, edges ? most_with : most_without);
    if (edges && x < 2 * NORM_EDGE)
        x = 2 * NORM_EDGE;
    unsigned y = x < NORM_THREADS ? NORM_THREADS / x : 1;
    while (y > 1 && ceil_div(m, y) < call->context->multiprocessors)
        y /= 2;
    const norm_grid grid = {dim3(x, y), (unsigned)ceil_div(m, y)};
    if (!whole)
        return edges ? run(norm_form<W, NORM_MOST_HELD, true>(), grid)
                     : run(norm_form<1, NORM_MOST_HELD>(), grid);
    return held == 2 ? run(norm_form<W, 2>(), grid) : run(norm_form<W, NORM_MOST_HELD>(), grid);
}

#endif
