/*
 * Attention by the paper's Algorithms 3 and 4: the left product tile by tile on chip, n^2 work and
 * no memory beyond the outputs.
 *
 * Algorithm 3 takes each tile of Q through the tiles of K and V; of the T_c tiles those above the
 * diagonal are skipped, and M is computed from the slope. Algorithm 4 takes each tile of K and V
 * through those of Q and dO, and accumulates dK and dV on chip but dQ in memory. Here each of the
 * three has a block of its own that accumulates it on chip, dQ in a loop like Algorithm 3's: all
 * are then one kernel, the products of cuda_attention.cuh, and nothing is added up in memory.
 * (Where its text misprints the products, that table has what the mathematics says.)
 *
 * The n^2 work is in P = (X Y^T) * M and P Z for every pair of tiles; 16-bit types do it on tensor
 * cores, float32 by plain multiply-adds. With tiles of B rows the power of lambda between row i of
 * a tile and row j of the tile c tiles before it is B c + i - j.
 *
 * Memory of a block, for 16-bit types with INNER the width of the inner dimension's tile:
 *     [ x 64 x INNER ]   [ y 64 x INNER | z 64 x OUTER ] a stage
 * and for float32, I being the inner dimension up to a multiple of 32:
 *     [ x 32 x (I+4) ][ y 32 x (I+4) ][ z 32 x 64 ][ score 32 x 36 ]
 */
#include "kernels/attention/cuda_float.cuh"
#include "kernels/attention/cuda_sweep.cuh"
#include "kernels/attention/cuda_tile.cuh"

/* ---- 16-bit types ------------------------------------------------------------------------- */

template <typename T, int INNER> struct tiled_memory {
    static constexpr int OUTER = tile_columns(INNER);
    static constexpr int STAGES = INNER > 128 ? 1 : 2;
    alignas(16) T x[TILE * INNER];
    struct alignas(16) {
        T y[TILE * INNER];
        T z[TILE * OUTER];
    } stage[STAGES];
};

/* Scores times M, for tiles that begin `apart` rows from one another. */
static __device__ __forceinline__ void mask_scores(float (&score)[TILE / 8][4], float log2_lambda,
                                                   int apart) {
    const int first = 16 * warp_index() + lane_index() / 4 - lane_index() % 4 * 2;
#pragma unroll
    for (int i = 0; i < TILE / 8; i++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const int distance = apart + first + r / 2 * 8 - 8 * i - r % 2;
            score[i][r] = distance >= 0 ? score[i][r] * decay_by(log2_lambda, distance) : 0;
        }
}

/* sum += score Z. */
template <int OUTER, typename T>
static __device__ __forceinline__ void multiply_scores(const float (&score)[TILE / 8][4], T *z,
                                                       float (&sum)[OUTER / 8][4]) {
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        uint32_t high[4], low[4], b[4];
        split_scores<T>(score, k, high, low);
#pragma unroll
        for (int j = 0; j < OUTER / 16; j++) {
            load_b<OUTER>(b, z, 16 * k, 16 * j);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                multiply_add<T>(sum[2 * j + half], high, b[2 * half], b[2 * half + 1]);
                multiply_add<T>(sum[2 * j + half], low, b[2 * half], b[2 * half + 1]);
            }
        }
    }
}

template <typename T, int INNER>
static __global__ void __launch_bounds__(THREADS, 2)
    tiled_half(const __grid_constant__ sweep args) {
    using memory = tiled_memory<T, INNER>;
    constexpr int OUTER = memory::OUTER, STAGES = memory::STAGES;
    extern __shared__ __align__(128) unsigned char raw[];
    memory &shared = *reinterpret_cast<memory *>(raw);

    const product &p = args.at[blockIdx.y].p;
    const sweep_part part = find_part<OUTER, true>(args, p, blockIdx.x);
    if (part.idle)
        return;
    const segment &s = part.s;
    const head_rows<T> x = find_rows<T>(p.x, s, part.head, p.future),
                       y = find_rows<T>(p.y, s, part.head, p.future),
                       z = find_rows<T>(p.z, s, part.head, p.future),
                       out = find_rows<T>(p.out, s, part.head, p.future);
    const tile_part outer = {s.first, (int)s.rows, part.column, p.outer - part.column,
                             args.aligned};
    const auto load = [&](int64_t tile) {
        const int64_t first = TILE * tile;
        const int rows = (int)min((int64_t)TILE, s.tokens - first);
        auto &stage = shared.stage[tile % STAGES];
        load_tile<INNER>(stage.y, y, {first, rows, 0, p.inner, args.aligned});
        load_tile<OUTER>(stage.z, z, {first, rows, outer.column, outer.columns, args.aligned});
    };
    load_tile<INNER>(shared.x, x, {s.first, (int)s.rows, 0, p.inner, args.aligned});
    load(0);

    const float log2_lambda = -args.slope[part.head] * LOG2_E;
    float sum[OUTER / 8][4];
    int unit[2];
    set_zero(sum);
    first_units<T>(unit);
    for (int64_t tile = 0; tile <= s.index; tile++) {
        auto &stage = shared.stage[tile % STAGES];
        copy_async_wait();
        __syncthreads();
        if (STAGES > 1 && tile < s.index)
            load(tile + 1);
        float score[TILE / 8][4];
        set_zero(score);
#pragma unroll 4
        for (int k = 0; k < INNER; k += 16) {
            uint32_t a[4];
            load_a<INNER>(a, shared.x, 16 * warp_index(), k);
            add_scores<INNER>(a, stage.y, k, score);
        }
        mask_scores(score, log2_lambda, (int)(s.first - TILE * tile));
        fit_scores<T>(score, sum, unit);
        multiply_scores<OUTER>(score, stage.z, sum);
        if (STAGES == 1) {
            __syncthreads();
            if (tile < s.index)
                load(tile + 1);
        }
    }
    leave_units<T>(sum, unit);
    store_rows<INNER, OUTER>(shared.x, sum, out, outer);
}

template <typename T> static tnl_status launch_half(const tnl_call *call, const sweep &args) {
    return for_each_width(args, [&](const sweep &part, int width) {
        switch (width) {
        case 64:
            return launch_sweep(call, part, part.tokens, tiled_half<T, 64>, tile_columns(64),
                                THREADS, sizeof(tiled_memory<T, 64>));
        case 128:
            return launch_sweep(call, part, part.tokens, tiled_half<T, 128>, tile_columns(128),
                                THREADS, sizeof(tiled_memory<T, 128>));
        default:
            return launch_sweep(call, part, part.tokens, tiled_half<T, 256>, tile_columns(256),
                                THREADS, sizeof(tiled_memory<T, 256>));
        }
    });
}

/* ---- float32 ------------------------------------------------------------------------------ */

static size_t float_shared_bytes(int inner) {
    return sizeof(float) * (2 * FLOAT_ROWS * float_stride(inner) + FLOAT_ROWS * FLOAT_COLUMNS +
                            FLOAT_ROWS * SCORES_STRIDE);
}

static __global__ void __launch_bounds__(FLOAT_THREADS)
    tiled_float(const __grid_constant__ sweep args) {
    extern __shared__ __align__(128) unsigned char raw[];
    const product &p = args.at[blockIdx.y].p;
    const sweep_part part = find_part<FLOAT_COLUMNS, true>(args, p, blockIdx.x);
    if (part.idle)
        return;
    const segment &s = part.s;
    const int stride = float_stride(p.inner), width = padded_inner(p.inner);
    float *x_tile = reinterpret_cast<float *>(raw), *y_tile = x_tile + FLOAT_ROWS * stride,
          *z_tile = y_tile + FLOAT_ROWS * stride, *scores = z_tile + FLOAT_ROWS * FLOAT_COLUMNS;
    const head_rows<float> x = find_rows<float>(p.x, s, part.head, p.future),
                           y = find_rows<float>(p.y, s, part.head, p.future),
                           z = find_rows<float>(p.z, s, part.head, p.future),
                           out = find_rows<float>(p.out, s, part.head, p.future);
    const float_part outer = {s.first, (int)s.rows, part.column, p.outer - part.column,
                              args.aligned};
    load_float_tile(x_tile, stride, width, x, {s.first, (int)s.rows, 0, p.inner, args.aligned});

    const float log2_lambda = -args.slope[part.head] * LOG2_E;
    float sum[4][4] = {};
    for (int64_t tile = 0; tile <= s.index; tile++) {
        const int64_t first = FLOAT_ROWS * tile;
        const int apart = (int)(s.first - first);
        const int rows = (int)min((int64_t)FLOAT_ROWS, s.tokens - first);
        load_float_tile(y_tile, stride, width, y, {first, rows, 0, p.inner, args.aligned});
        load_float_tile(z_tile, FLOAT_COLUMNS, FLOAT_COLUMNS, z,
                        {first, rows, outer.column, outer.columns, args.aligned});
        copy_async_wait();
        __syncthreads();
        float_scores(x_tile, y_tile, p.inner, scores, [&](float score, int row, int column) {
            const int distance = apart + row - column;
            return distance >= 0 ? score * decay_by(log2_lambda, distance) : 0;
        });
        __syncthreads();
        float_multiply(scores, SCORES_STRIDE, z_tile, FLOAT_ROWS, sum);
        __syncthreads();
    }
    store_float_rows(sum, out, outer);
}

/* ---- the rows ----------------------------------------------------------------------------- */

static division tiles_of(const tnl_call *call) {
    return divide_tokens(call, call->type == TNL_FLOAT32 ? FLOAT_ROWS : TILE);
}

static const char *rejects(const tnl_call *call) {
    const products all = find_products(call);
    int inner = 0;
    for (int i = 0; i < all.count; i++) {
        if (all.at[i].state_in.data || all.at[i].state_out.data)
            return "knows no states, as Algorithms 3 and 4 do not";
        inner = max(inner, all.at[i].inner);
    }
    if (call->dim[DIM_D] > LARGEST_INNER || call->dim[DIM_E] > LARGEST_INNER)
        return "takes d and e up to 256";
    if (!sweep_fits(call, tiles_of(call), MOST_HEAD_BLOCKS))
        return "takes up to 2^31 / 8 heads of tiles";
    return call->type == TNL_FLOAT32 ? rejects_shared_bytes(call, float_shared_bytes(inner)) : NULL;
}

static tnl_status launch(const tnl_call *call) {
    const products all = find_products(call);
    sweep args = {.at = {},
                  .count = all.count,
                  .tokens = tiles_of(call),
                  .parts = tiles_of(call),
                  .slope = slopes_of(call),
                  .heads = (int)call->dim[DIM_H],
                  .outer_blocks = 0,
                  .aligned = rows_allow_16_bytes(call)};
    for (int i = 0; i < all.count; i++)
        args.at[i] = {all.at[i], {}};
    switch (call->type) {
    case TNL_FLOAT16:
        return launch_half<__half>(call, args);
    case TNL_BFLOAT16:
        return launch_half<__nv_bfloat16>(call, args);
    default:
        return launch_sweep(call, args, args.tokens, tiled_float, FLOAT_COLUMNS, FLOAT_THREADS,
                            float_shared_bytes(largest_inner(args)));
    }
}

const tnl_kernel tnl_cuda_attention_forward_tiled = {
    .launch = launch, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cuda_attention_backward_tiled = {
    .launch = launch, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cuda_attention_forward_backward_tiled = {
    .launch = launch, .rejects = rejects, .deterministic = true};
