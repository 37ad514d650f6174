/*
 * The float32 parts of the attention rows: tiles of 32 rows in shared memory and their products by
 * plain multiply-adds, as accurate as a loop in float32.
 *
 * A block of 128 threads computes 32 rows by 64 columns of outputs; thread 16i + j has columns 4j
 * to 4j+3 of rows i, i + 8, i + 16 and i + 24. Rows of a tile of x or y are 4 floats longer than
 * the inner dimension, a multiple of 32, so that eight rows' 16 bytes of a column lie in
 * different banks.
 *
 * A sum of products is made of short ones, so that what it errs by grows with their number and
 * not with that of its terms: a loop in float32, one term after another, errs by more.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_FLOAT_CUH
#define TNL_KERNELS_ATTENTION_CUDA_FLOAT_CUH

#include "kernels/attention/cuda_attention.cuh"
#include "kernels/common/mma.cuh"

constexpr int FLOAT_ROWS = 32;
constexpr int FLOAT_COLUMNS = 64;
constexpr int FLOAT_THREADS = 128;
constexpr int SCORES_STRIDE = FLOAT_ROWS + 4;
constexpr int SHORT_SUM = 16; /* its terms */

static inline __host__ __device__ int padded_inner(int inner) {
    return (inner + 31) / 32 * 32;
}
static inline __host__ __device__ int float_stride(int inner) {
    return padded_inner(inner) + 4;
}

static __device__ __forceinline__ float4 &as_float4(float *p) {
    return *reinterpret_cast<float4 *>(p);
}
static __device__ __forceinline__ const float4 &as_float4(const float *p) {
    return *reinterpret_cast<const float4 *>(p);
}

/* What of a head's rows a tile holds; the rest of its `width` columns and 32 rows is zero. */
struct float_part {
    int64_t first;
    int rows, column, columns;
    bool aligned;
};

/* Start loading a tile; complete after copy_async_wait() and a barrier. */
static __device__ __forceinline__ void load_float_tile(float *tile, int stride, int width,
                                                       const head_rows<float> &from,
                                                       const float_part &part) {
    for (int i = threadIdx.x; i < FLOAT_ROWS * width / 4; i += FLOAT_THREADS) {
        const int row = i / (width / 4), column = i % (width / 4) * 4;
        float *to = tile + row * stride + column;
        const float *source = from.row(part.first + row) + part.column + column;
        if (part.aligned) {
            const bool inside = row < part.rows && column < part.columns;
            copy_async_16(to, inside ? source : from.first, inside);
        } else {
            for (int j = 0; j < 4; j++)
                to[j] = row < part.rows && column + j < part.columns ? source[j] : 0;
        }
    }
}

/* score = f(X Y^T element, its row, its column), in shared memory. */
template <typename F>
static __device__ __forceinline__ void float_scores(const float *x, const float *y, int inner,
                                                    float *score, F f) {
    const int stride = float_stride(inner), row = threadIdx.x / 8, column = threadIdx.x % 8;
    float sum[2][4] = {};
    for (int k = 0; k < padded_inner(inner); k += 4) {
        float4 a[2], b[4];
        for (int i = 0; i < 2; i++)
            a[i] = as_float4(x + (row + 16 * i) * stride + k);
        for (int j = 0; j < 4; j++)
            b[j] = as_float4(y + (column + 8 * j) * stride + k);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 4; j++)
                sum[i][j] += a[i].x * b[j].x + a[i].y * b[j].y + a[i].z * b[j].z + a[i].w * b[j].w;
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            score[(row + 16 * i) * SCORES_STRIDE + column + 8 * j] =
                f(sum[i][j], row + 16 * i, column + 8 * j);
}

/* c += (a_0 .. a_3) times four columns of four numbers. */
static __device__ __forceinline__ void add_row(float (&c)[4], const float4 &a,
                                               const float4 (&b)[4]) {
    const float part[4] = {a.x, a.y, a.z, a.w};
    for (int k = 0; k < 4; k++) {
        c[0] += part[k] * b[k].x;
        c[1] += part[k] * b[k].y;
        c[2] += part[k] * b[k].z;
        c[3] += part[k] * b[k].w;
    }
}

static __device__ __forceinline__ void add(float (&sum)[4][4], const float (&part)[4][4]) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            sum[i][j] += part[i][j];
}

/* sum += A B for the thread's rows and columns; A has rows of `stride` floats, B of 64. depth is a
 * multiple of SHORT_SUM. */
static __device__ __forceinline__ void float_multiply(const float *a, int stride, const float *b,
                                                      int depth, float (&sum)[4][4]) {
    const int row = threadIdx.x / 16, column = threadIdx.x % 16 * 4;
    for (int first = 0; first < depth; first += SHORT_SUM) {
        float part[4][4] = {};
        for (int k = first; k < first + SHORT_SUM; k += 4) {
            float4 right[4];
            for (int i = 0; i < 4; i++)
                right[i] = as_float4(b + (k + i) * FLOAT_COLUMNS + column);
            for (int i = 0; i < 4; i++)
                add_row(part[i], as_float4(a + (row + 8 * i) * stride + k), right);
        }
        add(sum, part);
    }
}

/* Write the thread's outputs. */
static __device__ __forceinline__ void
store_float_rows(const float (&sum)[4][4], const head_rows<float> &out, const float_part &part) {
    const int column = threadIdx.x % 16 * 4;
    for (int i = 0; i < 4; i++) {
        const int row = threadIdx.x / 16 + 8 * i;
        float *to = out.row(part.first + row) + part.column + column;
        if (row < part.rows && part.aligned && column < part.columns)
            as_float4(to) = make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
        for (int j = 0; j < 4; j++)
            if (row < part.rows && !part.aligned && column + j < part.columns)
                to[j] = sum[i][j];
    }
}

#endif
