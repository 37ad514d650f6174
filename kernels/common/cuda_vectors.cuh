/*
 * The matrix product of up to 4 rows, C = X W^T with X [m,k], W [n,k], in 16-bit types with sums in
 * float32: a decode step of one or a few sequences. All its time goes into reading W once, so a
 * warp reads a whole row of it (of each matrix), 512 bytes an instruction and 4 KB on their way at
 * once; the sums of its lanes are added up at the end. Blocks are many and short, so that
 * multiprocessors which are nearer to the memory do more of them, and so is the program, whose
 * instructions come from memory too. X lies in shared memory, its rows filled up with zeros.
 */
#ifndef TNL_KERNELS_COMMON_CUDA_VECTORS_CUH
#define TNL_KERNELS_COMMON_CUDA_VECTORS_CUH

#include "kernels/common/hopper.cuh"

namespace vectors {

#ifndef FEW_WARPS
#define FEW_WARPS 8
#endif
#ifndef FEW_BLOCKS
#define FEW_BLOCKS 4
#endif
#ifndef FEW_LOADS
#define FEW_LOADS 8
#endif
#ifndef FEW_PREFETCH
#define FEW_PREFETCH 1
#endif
#ifndef FEW_ORDER
#define FEW_ORDER 0
#endif
#ifndef FEW_PERSIST
#define FEW_PERSIST 0
#endif

constexpr int MOST_ROWS = 4;
constexpr int WARPS = FEW_WARPS, THREADS = 32 * WARPS, BLOCKS_PER_MULTIPROCESSOR = FEW_BLOCKS;
constexpr int LOADS = FEW_LOADS; /* of 16 bytes of W, a lane's at a time */
constexpr int PACK = 8;          /* elements of 16 bytes */
constexpr int LINE = 128;        /* bytes */
constexpr int MOST_SHARED = 96 << 10;

/* With two matrices (of equal shape) their products are made side by side. */
template <typename T, int MATRICES, typename Output> struct arguments {
    matrix<const T> x, w[MATRICES];
    int rows, features, depth;
    Output output;
};

/* 16 bytes that nobody will want again. */
static __device__ __forceinline__ uint4 load_once(const void *from) {
    uint4 words;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(from));
    return words;
}

/* sum + the products of 8 elements. */
template <typename T>
static __device__ __forceinline__ float add_products(float sum, const uint4 &w, const uint4 &x) {
    const uint32_t ws[] = {w.x, w.y, w.z, w.w}, xs[] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 a = unpack_pair<T>(ws[i]), b = unpack_pair<T>(xs[i]);
        sum = fmaf(a.y, b.y, fmaf(a.x, b.x, sum));
    }
    return sum;
}

/* Elements of a row that a warp takes at a time. */
template <int MATRICES> constexpr int BATCH = LOADS / MATRICES * 32 * PACK;

template <int MATRICES> static __host__ __device__ int padded(int depth) {
    return (depth + BATCH<MATRICES> - 1) / BATCH<MATRICES> * BATCH<MATRICES>;
}

/* The lane's part of a batch: of each matrix, EACH times 16 bytes. */
template <typename T, int MATRICES> struct batch {
    static constexpr int EACH = LOADS / MATRICES, STEP = 32 * PACK;
    uint4 held[MATRICES][EACH];

    /* w: of the lane, at its first element, of which `left` are left in the row. */
    __device__ __forceinline__ void load(const T *const (&w)[MATRICES], int left) {
#pragma unroll
        for (int j = 0; j < EACH; j++)
#pragma unroll
            for (int i = 0; i < MATRICES; i++)
                held[i][j] = j * STEP < left ? load_once(w[i] + j * STEP) : make_uint4(0, 0, 0, 0);
    }
};

/* Output as in cuda_streaming.cuh. */
template <typename T, int MATRICES, int ROWS, typename Output>
__global__ void __launch_bounds__(THREADS, ROWS > 2 ? BLOCKS_PER_MULTIPROCESSOR / 2
                                                    : BLOCKS_PER_MULTIPROCESSOR)
    kernel(const arguments<T, MATRICES, Output> at) {
    extern __shared__ __align__(16) unsigned char shared[];
    using held = batch<T, MATRICES>;
    T *const xs = (T *)shared; /* [ROWS][padded] */
    const int lane = threadIdx.x % 32;
#if FEW_ORDER
    int feature = threadIdx.x / 32 * gridDim.x + blockIdx.x;
#else
    int feature = blockIdx.x * WARPS + threadIdx.x / 32;
#endif
    const int width = padded<MATRICES>(at.depth);
    const T *w[MATRICES];
#pragma unroll
    for (int i = 0; i < MATRICES; i++) {
        w[i] = at.w[i].row(min(feature, at.features - 1)) + lane * PACK;
#if FEW_PREFETCH
        /* What comes first into the L2 cache, where it stays what it is until it is read. */
        const int line = lane * LINE / (int)sizeof(T);
        if (lane < BATCH<MATRICES> * (int)sizeof(T) / LINE && line < at.depth)
            asm volatile("prefetch.global.L2 [%0];" ::"l"(
                __cvta_generic_to_global(w[i] - lane * PACK + line)));
#endif
    }
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    held now;
    now.load(w, at.depth - lane * PACK);
#pragma unroll 1
    for (int i = threadIdx.x * PACK; i < width; i += THREADS * PACK)
#pragma unroll
        for (int row = 0; row < ROWS; row++)
            copy_async_16(xs + row * width + i,
                          at.x.row(ROWS == 1 ? 0 : min(row, at.rows - 1)) + i, i < at.depth);
    copy_async_wait();
    __syncthreads();
#if FEW_PERSIST
    bool begun = true;
    for (; feature < at.features; feature += gridDim.x * WARPS) {
    if (!begun) { for (int i = 0; i < MATRICES; i++) w[i] = at.w[i].row(feature) + lane * PACK; now.load(w, at.depth - lane * PACK); }
    begun = false;
#endif
    float sum[MATRICES][ROWS] = {};
    for (int first = lane * PACK; first < width; first += BATCH<MATRICES>) {
#pragma unroll
        for (int j = 0; j < held::EACH; j++)
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                const uint4 x = *(const uint4 *)(xs + row * width + first + j * held::STEP);
#pragma unroll
                for (int i = 0; i < MATRICES; i++)
                    sum[i][row] = add_products<T>(sum[i][row], now.held[i][j], x);
            }
#pragma unroll
        for (int i = 0; i < MATRICES; i++)
            w[i] += BATCH<MATRICES>;
        now.load(w, at.depth - first - BATCH<MATRICES>);
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        float value[MATRICES];
#pragma unroll
        for (int i = 0; i < MATRICES; i++)
            value[i] = warp_sum(sum[i][row]);
        if (lane == row && row < at.rows && feature < at.features)
            at.output.write(row, feature, value);
    }
#if FEW_PERSIST
    }
#endif
}

static int rows_held(int64_t rows) {
    return rows <= 2 ? (int)rows : MOST_ROWS;
}

/* Of shared memory, where a row of X has so many elements. */
template <int MATRICES> static int64_t shared_bytes(int64_t rows, int64_t depth) {
    return rows_held(rows) * ceil_div(depth, BATCH<MATRICES>) * BATCH<MATRICES> * 2;
}

template <typename T, int MATRICES, typename Output>
static tnl_status launch(const tnl_call *call, const tnl_tensor *x,
                         const tnl_tensor *const (&w)[MATRICES], const Output &output) {
    arguments<T, MATRICES, Output> at = {.x = tnl_matrix_of<const T>(x),
                                         .rows = (int)x->shape[0],
                                         .features = (int)w[0]->shape[0],
                                         .depth = (int)x->shape[1],
                                         .output = output};
    for (int i = 0; i < MATRICES; i++)
        at.w[i] = tnl_matrix_of<const T>(w[i]);
    const auto run = at.rows == 1   ? kernel<T, MATRICES, 1, Output>
                     : at.rows == 2 ? kernel<T, MATRICES, 2, Output>
                                    : kernel<T, MATRICES, MOST_ROWS, Output>;
    return tnl_launch_overlapping(call, run, dim3((unsigned)ceil_div(at.features, WARPS)), THREADS,
                                  (size_t)shared_bytes<MATRICES>(at.rows, at.depth),
                                  !rejects_device(call), at);
}

/* Whether this kernel takes a product of x with matrices w. */
template <int MATRICES>
static bool takes(const tnl_tensor *x, const tnl_tensor *const (&w)[MATRICES]) {
    bool allows = tnl_allows_16_bytes(x) && x->shape[0] <= MOST_ROWS;
    for (int i = 0; i < MATRICES; i++)
        allows = allows && tnl_allows_16_bytes(w[i]);
    return allows && shared_bytes<MATRICES>(x->shape[0], x->shape[1]) <= MOST_SHARED;
}

} // namespace vectors

#endif
