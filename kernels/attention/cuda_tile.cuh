/*
 * The tensor-core parts of the attention rows for 16-bit types: tiles of 64 rows in shared
 * memory, their fragments, and the scores of 64 rows with 64 others.
 *
 * A block has four warps; warp w owns rows 16w to 16w+15 of a tile of scores and of outputs, a
 * lane of it rows g and g + 8 of those and two columns of every eight (g and t as in mma.cuh).
 *
 * Scores are float32 until they meet z. They then go in as two 16-bit numbers, what rounding
 * leaves and what it takes away, since a row with one score has nothing over which a rounding
 * error could average. float16 lacks the range of a score: its scores are divided by a power of
 * two for each row, which their sum with z gets back at the end.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_TILE_CUH
#define TNL_KERNELS_ATTENTION_CUDA_TILE_CUH

#include <type_traits>

#include "kernels/attention/cuda_attention.cuh"
#include "kernels/common/mma.cuh"

constexpr int TILE = 64;
constexpr int THREADS = 128;

static __device__ __forceinline__ int lane_index() {
    return threadIdx.x % 32;
}
static __device__ __forceinline__ int warp_index() {
    return threadIdx.x / 32;
}

/* ---- tiles in shared memory --------------------------------------------------------------- */

/*
 * Element (row, column) of a tile of rows of WIDTH elements. The 16-byte chunks of a row change
 * places by the row's number, so that eight rows' chunks of one column lie in different banks.
 */
template <int WIDTH, typename T>
static __device__ __forceinline__ T *tile_at(T *tile, int row, int column) {
    const int turn = WIDTH >= 64 ? row % 8 : row / 2 % 4;
    return tile + row * WIDTH + ((column / 8) ^ turn) * 8 + column % 8;
}

/* What of a head's rows a tile holds: `rows` rows from row `first`, `columns` from `column`. The
 * rest of the tile is zero. */
struct tile_part {
    int64_t first;
    int rows, column, columns;
    bool aligned; /* whether 16-byte accesses work */
};

/* Start loading a tile; complete after copy_async_wait() and a barrier. */
template <int WIDTH, typename T>
static __device__ __forceinline__ void load_tile(T *tile, const head_rows<T> &from,
                                                 const tile_part &part) {
    constexpr int CHUNKS = WIDTH / 8, ROWS = THREADS / CHUNKS; /* a pass of the block */
    const int column = threadIdx.x % CHUNKS * 8;
    const int64_t step = ROWS * from.stride;
    const T *source = from.row(part.first + threadIdx.x / CHUNKS) + part.column + column;
#pragma unroll 1
    for (int row = threadIdx.x / CHUNKS; row < TILE; row += ROWS, source += step) {
        T *to = tile_at<WIDTH>(tile, row, column);
        if (part.aligned) {
            const bool inside = row < part.rows && column < part.columns;
            copy_async_16(to, inside ? source : from.first, inside);
        } else {
            pack<T> values;
            for (int j = 0; j < pack<T>::size; j++)
                values.at[j] =
                    row < part.rows && column + j < part.columns ? source[j] : from_float<T>(0);
            *reinterpret_cast<pack<T> *>(to) = values;
        }
    }
}

/* Write a warp's 16 rows of outputs, going through its rows of a tile that it alone still reads. */
template <int WIDTH, int COLUMNS, typename T>
static __device__ __forceinline__ void store_rows(T *tile, const float (&sum)[COLUMNS / 8][4],
                                                  const head_rows<T> &out, const tile_part &part) {
    const int lane = lane_index(), top = 16 * warp_index();
    __syncwarp();
#pragma unroll
    for (int i = 0; i < COLUMNS / 8; i++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            *reinterpret_cast<uint32_t *>(
                tile_at<WIDTH>(tile, top + lane / 4 + 8 * half, 8 * i + lane % 4 * 2)) =
                pack_pair<T>(sum[i][2 * half], sum[i][2 * half + 1]);
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * COLUMNS / 8; i += 32) {
        const int row = top + i / (COLUMNS / 8), column = i % (COLUMNS / 8) * 8;
        const pack<T> values = *reinterpret_cast<pack<T> *>(tile_at<WIDTH>(tile, row, column));
        T *to = out.row(part.first + row) + part.column + column;
        if (row >= part.rows || column >= part.columns)
            continue;
        if (part.aligned)
            *reinterpret_cast<pack<T> *>(to) = values;
        else
            for (int j = 0; j < pack<T>::size; j++)
                if (column + j < part.columns)
                    to[j] = values.at[j];
    }
}

/* ---- fragments ---------------------------------------------------------------------------- */

/* A: rows `row` to row+15, columns `column` to column+15 of a tile. */
template <int WIDTH, typename T>
static __device__ __forceinline__ void load_a(uint32_t (&a)[4], T *tile, int row, int column) {
    const int lane = lane_index();
    load_matrices(a, tile_at<WIDTH>(tile, row + lane % 16, column + lane / 16 * 8));
}

/* A of the tile's transpose: row m of A is column `column` + m of the tile, from row `row` on. */
template <int WIDTH, typename T>
static __device__ __forceinline__ void load_a_transposed(uint32_t (&a)[4], T *tile, int row,
                                                         int column) {
    const int lane = lane_index();
    load_matrices_transposed(
        a, tile_at<WIDTH>(tile, row + lane % 8 + lane / 16 * 8, column + lane / 8 % 2 * 8));
}

/* Two Bs side by side, b[0], b[1] and b[2], b[3]: 16 rows of the tile by 16 columns. */
template <int WIDTH, typename T>
static __device__ __forceinline__ void load_b(uint32_t (&b)[4], T *tile, int row, int column) {
    const int lane = lane_index();
    load_matrices_transposed(b, tile_at<WIDTH>(tile, row + lane % 16, column + lane / 16 * 8));
}

/* Two Bs of the tile's transpose: column j of B is row `row` + j of the tile. */
template <int WIDTH, typename T>
static __device__ __forceinline__ void load_b_transposed(uint32_t (&b)[4], T *tile, int row,
                                                         int column) {
    const int lane = lane_index();
    load_matrices(b,
                  tile_at<WIDTH>(tile, row + lane % 8 + lane / 16 * 8, column + lane / 8 % 2 * 8));
}

template <int N> static __device__ __forceinline__ void set_zero(float (&c)[N][4]) {
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            c[i][j] = 0;
}

/* ---- scores ------------------------------------------------------------------------------- */

/* score += 16 columns of X, from k on, times those of Y, 64 rows. */
template <int WIDTH, typename T>
static __device__ __forceinline__ void add_scores(const uint32_t (&x)[4], T *y, int k,
                                                  float (&score)[TILE / 8][4]) {
#pragma unroll
    for (int j = 0; j < TILE / 16; j++) {
        uint32_t b[4];
        load_b_transposed<WIDTH>(b, y, 16 * j, k);
        multiply_add<T>(score[2 * j], x, b[0], b[1]);
        multiply_add<T>(score[2 * j + 1], x, b[2], b[3]);
    }
}

/* Columns 16 `step` to 16 `step` + 15 of the scores as A: high + low. */
template <typename T>
static __device__ __forceinline__ void split_scores(const float (&score)[TILE / 8][4], int step,
                                                    uint32_t (&high)[4], uint32_t (&low)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float *pair = &score[2 * step + i / 2][i % 2 * 2];
        high[i] = pack_pair<T>(pair[0], pair[1]);
        const float2 rounded = unpack_pair<T>(high[i]);
        low[i] = pack_pair<T>(pair[0] - rounded.x, pair[1] - rounded.y);
    }
}

/* 2^exponent, -126 <= exponent <= 127. */
static __device__ __forceinline__ float power_of_two(int exponent) {
    return __int_as_float((exponent + 127) << 23);
}

constexpr int LEAST_UNIT = -30, LARGEST_UNIT = 90;

/* The exponent of a unit in which numbers up to `peak` are below 2^14, within float16's range. */
static __device__ __forceinline__ int unit_for(float peak) {
    const int exponent = (__float_as_int(peak) >> 23) - 127 - 13;
    return min(max(exponent, LEAST_UNIT), LARGEST_UNIT);
}

/* The sums of a lane's two rows are in units of 2^unit: of LEAST_UNIT to begin with, for float16.
 */
template <typename T> static __device__ __forceinline__ void first_units(int (&unit)[2]) {
    unit[0] = unit[1] = std::is_same_v<T, __half> ? LEAST_UNIT : 0;
}

/* Bring scores into the unit of their row's sums, or, where they are too large for it, both into
 * a larger one. */
template <typename T, int N>
static __device__ __forceinline__ void fit_scores(float (&score)[TILE / 8][4], float (&sum)[N][4],
                                                  int (&unit)[2]) {
    if constexpr (std::is_same_v<T, __half>) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float peak = 0;
#pragma unroll
            for (int i = 0; i < TILE / 8; i++)
                peak = fmaxf(peak, fmaxf(fabsf(score[i][2 * half]), fabsf(score[i][2 * half + 1])));
            peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 1));
            peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, 2));
            const int larger = max(unit[half], unit_for(peak));
            const float rescale = power_of_two(unit[half] - larger);
            const float scale = power_of_two(-larger);
            unit[half] = larger;
#pragma unroll
            for (int i = 0; i < N; i++) {
                sum[i][2 * half] *= rescale;
                sum[i][2 * half + 1] *= rescale;
            }
#pragma unroll
            for (int i = 0; i < TILE / 8; i++) {
                score[i][2 * half] *= scale;
                score[i][2 * half + 1] *= scale;
            }
        }
    }
}

/* Out of their units. */
template <typename T, int N>
static __device__ __forceinline__ void leave_units(float (&sum)[N][4], const int (&unit)[2]) {
    if constexpr (std::is_same_v<T, __half>) {
#pragma unroll
        for (int i = 0; i < N; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                sum[i][j] *= power_of_two(unit[j / 2]);
    }
}

#endif
