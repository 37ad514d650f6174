/*
 * The arguments of a kernel that takes products through their sequences: what a block computes is
 * a segment of one head of one product, for some columns of its outer dimension. To the tiled rows
 * a segment is a tile. To the chunked rows it is many chunks with a state between them, and there
 * are two kinds of sweep: one hands out the states with which segments, or equal parts of them,
 * end, each as if it began with zero; the other begins with what those make together and computes
 * outputs.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_SWEEP_CUH
#define TNL_KERNELS_ATTENTION_CUDA_SWEEP_CUH

#include "kernels/attention/cuda_attention.cuh"

constexpr int LARGEST_INNER = 256; /* and outer */

/* A product, and for the chunked rows the states at the ends of its segments' parts. */
struct swept_product {
    product p;
    states_view ends;
};

struct sweep {
    swept_product at[4];
    int count;
    division tokens, parts; /* among blocks with outputs, and among those without */
    const float *slope;
    int heads, outer_blocks; /* the latter set at the launch */
    bool aligned;            /* whether 16-byte accesses work on all rows */
    bool added_up; /* whether the states at parts' ends are those of all before them together */
};

/* One block's part: a segment of one head of one product, and of its outer dimension some columns
 * from `column` on. */
struct sweep_part {
    segment s;
    int head, column;
    bool last; /* segment of its sequence */
    bool idle;
};

/* How many parts a segment has. */
static __device__ __forceinline__ unsigned parts_of(const sweep &args) {
    return (unsigned)args.tokens.length / (unsigned)args.parts.length;
}

/* How many of a sequence's parts leave a state that is needed: those before its last segment. */
static __device__ __forceinline__ int needed_ends(const sweep &args, const segment &s) {
    const unsigned last = max((unsigned)s.tokens, 1u) - 1;
    return (int)(last / (unsigned)args.tokens.length * parts_of(args));
}

/* The number of the state that a part leaves behind. */
static __device__ __forceinline__ int64_t end_of_part(const sweep &args, const segment &s) {
    return first_end(args.parts, s) + s.index;
}

/* The state that a block with outputs begins with: its view, empty where that is zero, and number.
 */
struct beginning {
    const states_view &view;
    int64_t number;
};

static __device__ __forceinline__ beginning find_beginning(const sweep &args,
                                                           const swept_product &swept,
                                                           const segment &s) {
    if (s.index == 0)
        return {swept.p.state_in, s.sequence};
    return {swept.ends, first_end(args.parts, s) + s.index * parts_of(args) - 1};
}

/* The part of product p numbered `index`: columns of the outer dimension first, then heads. */
template <int COLUMNS, bool OUTPUTS>
static __device__ __forceinline__ sweep_part find_part(const sweep &args, const product &p,
                                                       int index) {
    const int head_and_item = index / args.outer_blocks;
    sweep_part part;
    part.column = index % args.outer_blocks * COLUMNS;
    part.head = head_and_item % args.heads;
    part.s = find_segment(OUTPUTS ? args.tokens : args.parts, head_and_item / args.heads);
    part.last = part.s.first + part.s.rows == part.s.tokens;
    part.idle = part.column >= p.outer || (part.s.rows == 0 && part.s.index > 0) ||
                (!OUTPUTS && part.s.index >= needed_ends(args, part.s));
    return part;
}

/* Blocks for one head of a segment, at most, in the first dimension of a grid: launch_sweep()'s. */
constexpr int MOST_HEAD_BLOCKS = LARGEST_INNER / 32;

/* Whether a device takes a grid with so many blocks for a head of a segment. */
static inline bool sweep_fits(const tnl_call *call, const division &tokens, int head_blocks) {
    const double blocks = (double)division_items(tokens) * (double)call->dim[DIM_H];
    return blocks * head_blocks <= INT32_MAX;
}

/* Launch `kernel` on the items of a sweep, with so many columns a block. */
static inline tnl_status launch_sweep(const tnl_call *call, sweep args, const division &items,
                                      void (*kernel)(const sweep), int columns, int threads,
                                      size_t shared_bytes) {
    int outer = 0;
    for (int i = 0; i < args.count; i++)
        outer = max(outer, args.at[i].p.outer);
    args.outer_blocks = (int)ceil_div(outer, columns);
    const dim3 grid((unsigned)(division_items(items) * args.heads * args.outer_blocks),
                    (unsigned)args.count);
    tnl_status status = tnl_cuda_status(
        call, cudaFuncSetAttribute((const void *)kernel,
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes));
    if (status != TNL_OK)
        return status;
    kernel<<<grid, threads, shared_bytes, tnl_stream(call)>>>(args);
    return tnl_launched(call);
}

/* The width of the tile that holds a product's inner dimension, for 16-bit types, and the columns
 * of its outer dimension that a block takes. */
static inline int tile_width(int inner) {
    return inner <= 64 ? 64 : inner <= 128 ? 128 : LARGEST_INNER;
}
static inline __host__ __device__ constexpr int tile_columns(int width) {
    return width > 128 ? 32 : 64;
}

/* f(a sweep, its width) for each width of tile among the products of args, with those. */
template <typename F> static inline tnl_status for_each_width(const sweep &args, F f) {
    tnl_status status = TNL_OK;
    for (int width = 64; width <= LARGEST_INNER && status == TNL_OK; width *= 2) {
        sweep part = args;
        part.count = 0;
        for (int i = 0; i < args.count; i++)
            if (tile_width(args.at[i].p.inner) == width)
                part.at[part.count++] = args.at[i];
        if (part.count > 0)
            status = f(part, width);
    }
    return status;
}

/* NULL where blocks with so much shared memory run on the call's device, else why not. */
static inline const char *rejects_shared_bytes(const tnl_call *call, size_t bytes) {
    int limit = 0;
    const cudaError_t error = cudaDeviceGetAttribute(
        &limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, call->context->index);
    return error == cudaSuccess && bytes <= (size_t)limit
               ? NULL
               : "needs more shared memory a block than the device has";
}

/* The largest inner dimension of a call's products. */
static inline int largest_inner(const sweep &args) {
    int inner = 0;
    for (int i = 0; i < args.count; i++)
        inner = max(inner, args.at[i].p.inner);
    return inner;
}

#endif
