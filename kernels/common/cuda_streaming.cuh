/*
 * The matrix product of a few rows, C = X W^T with X [m,k], W [n,k] and m at most MOST_ROWS,
 * in 16-bit types with sums in float32: all its time goes into reading W once, so everything here
 * is for keeping reads of W on their way. One row is cuda_vectors.cuh's, and on Hopper the others
 * are hopper_rows.cuh's where TMA can read X and W; here is what's left.
 *
 * The n features are shared out evenly over the blocks; a block takes its own by 16 at a time, and
 * its warps share k, a chunk at a time by turns. W is the left operand of mma.cuh's product and
 * goes from memory to registers, 16 bytes a lane: sums do not depend on the order of k, so lane
 * (g, t) takes elements 8t to 8t+7 of 32 for columns 2t, 2t+1, 2t+8 and 2t+9 of two products, of W
 * and of X alike. At the end the warps' sums are added in their order, so that two runs agree.
 */
#ifndef TNL_KERNELS_COMMON_CUDA_STREAMING_CUH
#define TNL_KERNELS_COMMON_CUDA_STREAMING_CUH

#include "kernels/common/cuda_vectors.cuh"
#include "kernels/common/hopper_rows.cuh"

namespace streaming {

constexpr int MOST_ROWS = 16;
constexpr int WARPS = 8, THREADS = 32 * WARPS, BLOCKS_PER_MULTIPROCESSOR = 2;
constexpr int FEATURES = 16; /* at a time */
constexpr int STEP = 32;     /* of k */
constexpr int LOADS = 8;     /* of 16 bytes of W, a lane's at a time; half with 16 rows of X */

/* With two matrices (of equal shape) their products are made side by side. */
template <typename T, int MATRICES, typename Output> struct arguments {
    matrix<const T> x, w[MATRICES];
    int rows, features, depth;
    int share; /* features of a block */
    Output output;
};

/* A lane's part of a chunk: of W rows g and g + 8 of each matrix, of X row g of each tile of 8. */
template <int MATRICES, int ROW_TILES> struct chunk {
    static constexpr int STEPS = LOADS / ROW_TILES / (2 * MATRICES);
    static constexpr int DEPTH = STEPS * STEP;
    uint4 w[STEPS][MATRICES][2], x[STEPS][ROW_TILES];

    /* k: the chunk's first element; rows of W from `feature` on, below `end`. */
    template <typename T, typename Output>
    __device__ __forceinline__ void load(const arguments<T, MATRICES, Output> &at, int feature,
                                         int end, int k) {
        const int lane = threadIdx.x % 32, row = lane / 4;
#pragma unroll
        for (int s = 0; s < STEPS; s++) {
            const int column = k + s * STEP + lane % 4 * 8;
            const bool inside = column < at.depth;
#pragma unroll
            for (int i = 0; i < MATRICES; i++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int of = feature + row + 8 * half;
                    w[s][i][half] = inside && of < end ? load_once(at.w[i].row(of) + column)
                                                       : make_uint4(0, 0, 0, 0);
                }
#pragma unroll
            for (int tile = 0; tile < ROW_TILES; tile++)
                x[s][tile] = inside && row + 8 * tile < at.rows
                                 ? *(const uint4 *)(at.x.row(row + 8 * tile) + column)
                                 : make_uint4(0, 0, 0, 0);
        }
    }
};

/* Sums of 16 features (rows) and 8 ROW_TILES rows of X (columns), as C in mma.cuh. */
template <int MATRICES, int ROW_TILES> struct sums {
    float c[MATRICES][ROW_TILES][4];

    __device__ __forceinline__ void clear() {
        memset(c, 0, sizeof c);
    }

    template <typename T>
    __device__ __forceinline__ void add(const chunk<MATRICES, ROW_TILES> &part) {
#pragma unroll
        for (int s = 0; s < part.STEPS; s++)
#pragma unroll
            for (int tile = 0; tile < ROW_TILES; tile++) {
                const uint4 x = part.x[s][tile];
#pragma unroll
                for (int i = 0; i < MATRICES; i++) {
                    const uint4 low = part.w[s][i][0], high = part.w[s][i][1];
                    multiply_add<T>(c[i][tile], {low.x, high.x, low.y, high.y}, x.x, x.y);
                    multiply_add<T>(c[i][tile], {low.z, high.z, low.w, high.w}, x.z, x.w);
                }
            }
    }
};

/* What the warps have summed of 16 features. */
template <int MATRICES, int ROW_TILES> struct exchange {
    float part[WARPS][MATRICES][8 * ROW_TILES][FEATURES + 1]; /* + 1: apart in the banks */

    __device__ __forceinline__ void put(const sums<MATRICES, ROW_TILES> &of) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < MATRICES; i++)
#pragma unroll
            for (int tile = 0; tile < ROW_TILES; tile++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    part[warp][i][8 * tile + lane % 4 * 2 + e % 2][lane / 4 + 8 * (e / 2)] =
                        of.c[i][tile][e];
    }
    __device__ __forceinline__ float total(int i, int row, int feature) const {
        float sum = 0;
#pragma unroll
        for (int warp = 0; warp < WARPS; warp++)
            sum += part[warp][i][row][feature];
        return sum;
    }
};

/*
 * Output has
 *     __device__ void write(int row, int feature, const float (&value)[MATRICES]) const;
 * which gets the products' element of each matrix.
 */
template <typename T, int MATRICES, int ROW_TILES, typename Output>
__global__ void __launch_bounds__(THREADS, BLOCKS_PER_MULTIPROCESSOR)
    kernel(const arguments<T, MATRICES, Output> at) {
    __shared__ exchange<MATRICES, ROW_TILES> shared;
    constexpr int DEPTH = chunk<MATRICES, ROW_TILES>::DEPTH;
    const int begin = (int)blockIdx.x * at.share, end = min(begin + at.share, at.features);
    const int first_k = threadIdx.x / 32 * DEPTH;
#ifdef TNL_HOPPER_CODE
    allow_next_kernel();
    wait_for_kernel_before();
#endif
    chunk<MATRICES, ROW_TILES> now, next;
    sums<MATRICES, ROW_TILES> of;
    next.load(at, begin, end, first_k);
    for (int feature = begin; feature < end; feature += FEATURES) {
        of.clear();
        for (int k = first_k; k - first_k < at.depth; k += WARPS * DEPTH) {
            now = next;
            if (k - first_k + WARPS * DEPTH < at.depth)
                next.load(at, feature, end, k + WARPS * DEPTH);
            else
                next.load(at, feature + FEATURES, end, first_k);
            of.template add<T>(now);
        }
        shared.put(of);
        __syncthreads();
        const int row = threadIdx.x / FEATURES, mine = threadIdx.x % FEATURES;
        if (row < at.rows && feature + mine < end) {
            float value[MATRICES];
#pragma unroll
            for (int i = 0; i < MATRICES; i++)
                value[i] = shared.total(i, row, mine);
            at.output.write(row, feature + mine, value);
        }
        __syncthreads();
    }
}

static_assert(THREADS == FEATURES * MOST_ROWS, "a thread for each of the sums");

template <typename T, int MATRICES, typename Output>
static tnl_status launch(const tnl_call *call, const tnl_tensor *x,
                         const tnl_tensor *const (&w)[MATRICES], const Output &output) {
    if (x->shape[0] == 1)
        return launch_vector<T>(call, x, w, output);
    if (hopper_rows::takes(call, x, w))
        return hopper_rows::launch<T>(call, x, w, output);
    arguments<T, MATRICES, Output> at = {.x = tnl_matrix_of<const T>(x),
                                         .rows = (int)x->shape[0],
                                         .features = (int)w[0]->shape[0],
                                         .depth = (int)x->shape[1],
                                         .output = output};
    for (int i = 0; i < MATRICES; i++)
        at.w[i] = tnl_matrix_of<const T>(w[i]);
    const int most = call->context->multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    at.share = (int)ceil_div(at.features, most);
    const auto run = at.rows <= 8 ? kernel<T, MATRICES, 1, Output> : kernel<T, MATRICES, 2, Output>;
    return tnl_launch_overlapping(call, run, dim3((unsigned)ceil_div(at.features, at.share)),
                                  THREADS, 0, !rejects_device(call), at);
}

/* Why not, or NULL where these kernels take a product of x with matrices w. */
template <int MATRICES>
static const char *rejects(const tnl_call *call, const tnl_tensor *x,
                           const tnl_tensor *const (&w)[MATRICES]) {
    if (hopper_rows::takes(call, x, w))
        return NULL;
    bool allows = tnl_allows_16_bytes(x);
    for (int i = 0; i < MATRICES; i++)
        allows = allows && tnl_allows_16_bytes(w[i]);
    if (!allows)
        return "wants input rows, strides and pointers of 16 bytes";
    return x->shape[0] <= MOST_ROWS ? NULL : "is for a few rows";
}

} // namespace streaming

#endif
