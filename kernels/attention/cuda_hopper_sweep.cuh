/*
 * The sweep of the hopper rows: its output groups, and the kernel.
 *
 * With S the state before a chunk of 64 rows, P = (X Y^T) * M its scores, r a row's place in the
 * product's order,
 *
 *     out = diag(lambda^(r+1)) X S + P Z          over a future diag(lambda^r) X S + P Z
 *
 * A group starts X Y^T and X S, weighs the scores while X S is under way, scales the rows of X S,
 * and adds P Z to them in the same accumulator. Outputs leave by TMA from a tile of their own.
 *
 * Numbers: S is rounded once where it is published, P once where it meets Z; both average out over
 * the terms of a sum. In sequences of one chunk, where there may be few, both go in as two parts.
 * float16 gets S in units of a power of two, and each row of scores in one of its own.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_HOPPER_SWEEP_CUH
#define TNL_KERNELS_ATTENTION_CUDA_HOPPER_SWEEP_CUH

#include "kernels/attention/cuda_hopper_state.cuh"

#ifdef TNL_HOPPER_CODE

/* ---- outputs ------------------------------------------------------------------------------ */

/* c = or (adds) += X B^T or X B over the inner dimension; B in panels of 64 rows, or (B_MN) INNER.
 */
template <typename T, int INNER, bool B_MN, int N>
static __device__ __forceinline__ void multiply_rows(float (&c)[N][4], T *x, uint64_t b,
                                                     bool adds) {
    const uint64_t a = k_major(x);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < INNER / 16; k++) {
        const int along = k / 4 * PANEL_BYTES + k % 4 * 32;
        wgmma<T, B_MN>(c, further(a, along), further(b, B_MN ? 16 * k * PANEL_ROW_BYTES : along),
                       adds || k > 0);
    }
}

/* Scores times M; what it excludes becomes 0 whatever it was. */
static __device__ __forceinline__ void mask_scores(float (&score)[TILE / 8][4], const float2 *mask,
                                                   int row) {
    mask += TILE + row - lane_index() % 4 * 2;
#pragma unroll
    for (int i = 0; i < TILE / 8; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float2 weight = mask[8 * half - 8 * i];
            float &left = score[i][2 * half], &right = score[i][2 * half + 1];
            left = weight.x != 0 ? left * weight.x : 0;
            right = weight.y != 0 ? right * weight.y : 0;
        }
}

/* sum += P Z; P rounded, or (exact) in two parts. */
template <typename T, int N>
static __device__ __forceinline__ void
add_scores_product(float (&sum)[N][4], const float (&score)[TILE / 8][4], T *z, bool exact) {
    uint32_t high[TILE / 16][4], low[TILE / 16][4] = {};
    if (exact) {
#pragma unroll
        for (int k = 0; k < TILE / 16; k++)
            split_scores<T>(score, k, high[k], low[k]);
    } else {
#pragma unroll
        for (int k = 0; k < TILE / 16; k++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                high[k][i] = pack_pair<T>(score[2 * k + i / 2][i % 2 * 2],
                                          score[2 * k + i / 2][i % 2 * 2 + 1]);
    }
    const uint64_t b = mn_major(z, PANEL_BYTES);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < TILE / 16; k++)
        wgmma<T, true>(sum, high[k], further(b, 16 * k * PANEL_ROW_BYTES), true);
    if (exact) {
        wgmma_begin();
#pragma unroll
        for (int k = 0; k < TILE / 16; k++)
            wgmma<T, true>(sum, low[k], further(b, 16 * k * PANEL_ROW_BYTES), true);
    }
    wgmma_commit();
    wgmma_wait<0>();
    pin(sum);
}

/* A chunk's outputs, in the group's accumulator. `row`: the lane's first row of the tile. */
template <typename T, int INNER, int OUTER, typename M>
static __device__ __forceinline__ void compute_outputs(const M &shared, const hopper_place &at,
                                                       int chunk, int row, bool exact,
                                                       float (&sum)[OUTER / 8][4]) {
    const int stage = chunk % M::shape::STAGES, buffer = chunk % 2;
    auto &tables = shared.tables();
    float score[TILE / 8][4];
    multiply_rows<T, INNER, false>(score, shared.x(stage), k_major(shared.y(stage)), false);
    wgmma_commit();
    barrier_wait(&tables.state_full[buffer], chunk / 2 & 1);
    multiply_rows<T, INNER, true>(sum, shared.x(stage),
                                  mn_major(shared.state(buffer), INNER * PANEL_ROW_BYTES), false);
    if (exact)
        multiply_rows<T, INNER, true>(sum, shared.x(stage),
                                      mn_major(shared.state(1 - buffer), INNER * PANEL_ROW_BYTES),
                                      true);
    wgmma_commit();
    wgmma_wait<1>();
    pin(score);
    mask_scores(score, tables.mask, row);
    wgmma_wait<0>();
    pin(sum);
    int unit[2];
    first_units<T>(unit);
    const float scale =
        power_of_two(std::is_same_v<T, __half> ? tables.unit[buffer] - LEAST_UNIT : 0);
    __syncwarp();
    if (lane_index() == 0)
        barrier_arrive(&tables.state_empty[buffer]);
    const float *decay = tables.decay + (at.p->future ? 0 : 1);
    const float weight[2] = {scale * decay[at.order(row)], scale * decay[at.order(row + 8)]};
#pragma unroll
    for (int i = 0; i < OUTER / 8; i++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            sum[i][r] *= weight[r / 2];
    fit_scores<T>(score, sum, unit);
    add_scores_product<T>(sum, score, shared.z(stage), exact);
    leave_units<T>(sum, unit);
}

/* The rows of a tile of outputs that are this sequence's, by a group. */
template <typename T, int OUTER>
static __device__ __forceinline__ void store_own_rows(T *tile, const hopper_place &at, int chunk) {
    const product &p = *at.p;
    T *const to = (T *)p.out.data + at.part.s.batch * p.out.batch + at.part.head * p.out.head +
                  at.part.column;
    for (int i = threadIdx.x % GROUP; i < TILE * OUTER / 8; i += GROUP) {
        const int row = i / (OUTER / 8), column = i % (OUTER / 8) * 8;
        if (at.order(row) < at.rows(chunk) && at.part.column + column < p.outer)
            *(uint4 *)(to + (at.token(chunk) + row) * p.out.token + column) =
                *(const uint4 *)panel_at<TILE>(tile, row, column);
    }
}

/* An output group's way through its segment: every `step`-th chunk from `group` on. */
template <typename T, int INNER, int OUTER, typename M>
static __device__ __forceinline__ void run_outputs(const M &shared, const hopper_place &at,
                                                   int group) {
    const int thread = threadIdx.x % GROUP, top = thread / 32 * 16;
    const bool exact = at.part.s.tokens <= EXACT_TOKENS;
    T *const tile = shared.out(group);
    for (int chunk = group; chunk < at.chunks; chunk += M::shape::OUTPUT_GROUPS) {
        float sum[OUTER / 8][4];
        wait_for_chunk(shared, at, chunk);
        compute_outputs<T, INNER, OUTER>(shared, at, chunk, top + lane_index() / 4, exact, sum);
        __syncwarp();
        if (lane_index() == 0)
            barrier_arrive(&shared.tables().empty[chunk % M::shape::STAGES]);
        if (thread == 0)
            tma_wait_read<0>();
        sync_threads(1 + group, GROUP);
        store_fragments<TILE>(tile, top, sum, 1, false);
        fence_async_proxy();
        sync_threads(1 + group, GROUP);
        if (at.mixed(chunk)) {
            store_own_rows<T, OUTER>(tile, at, chunk);
        } else if (thread == 0) {
            for (int i = 0; i < M::shape::Z_PANELS; i++)
                tma_store(&at.map[3], tile + i * PANEL, at.part.column + PANEL_COLUMNS * i,
                          at.token(chunk), at.part.head, (int)at.part.s.batch);
            tma_commit();
        }
    }
    if (thread == 0)
        tma_wait_read<0>();
}

/* ---- the kernel --------------------------------------------------------------------------- */

/* Powers of lambda, M and the barriers. */
template <typename M>
static __device__ __forceinline__ void make_tables(const M &shared, decay_rate rate, bool future) {
    using shape = typename M::shape;
    auto &tables = shared.tables();
    for (int i = threadIdx.x; i <= TILE; i += shape::THREADS)
        tables.decay[i] = decay_by(rate, (float)i);
    for (int i = threadIdx.x; i < 2 * TILE; i += shape::THREADS) {
        const int left = future ? TILE - i : i - TILE, right = future ? left + 1 : left - 1;
        tables.mask[i] = make_float2(left >= 0 ? decay_by(rate, (float)left) : 0,
                                     right >= 0 ? decay_by(rate, (float)right) : 0);
    }
    if (threadIdx.x == 0) {
        for (int i = 0; i < shape::STAGES; i++) {
            barrier_init(&tables.full[i], 1);
            barrier_init(&tables.empty[i], 4 * (shape::STATE_GROUPS + (shape::OUTPUT_GROUPS > 0)));
        }
        for (int i = 0; i < 2; i++) {
            barrier_init(&tables.state_full[i], 4 * shape::STATE_GROUPS);
            barrier_init(&tables.state_empty[i], 4);
        }
        barrier_init(&tables.cleared, 1);
        barrier_init_fence();
    }
    __syncthreads();
}

#endif

template <typename T, int INNER, int OUTER, bool OUTPUTS>
static __global__ void __launch_bounds__((hopper_shape<T, INNER, OUTER, OUTPUTS>::THREADS), 1)
    sweep_hopper(const __grid_constant__ hopper_sweep sweep) {
#ifdef TNL_HOPPER_CODE
    using shape = hopper_shape<T, INNER, OUTER, OUTPUTS>;
    extern __shared__ __align__(1024) unsigned char raw[];
    const hopper_memory<T, INNER, OUTER, OUTPUTS> shared = {raw};
    const int product_number = blockIdx.x % sweep.args.count;
    const swept_product &swept = sweep.args.at[product_number];
    allow_next_kernel();

    hopper_place at = {&swept.p, &swept.ends, sweep.map[product_number]};
    at.part = find_part<OUTER, OUTPUTS>(sweep.args, swept.p, blockIdx.x / sweep.args.count);
    if (at.part.idle)
        return;
    at.chunks = (int)ceil_div(at.part.s.rows, TILE);
    at.packed = sweep.args.tokens.cu_seqlens != NULL;
    const decay_rate rate = decay_rate_of(sweep.args.slope[at.part.head]);
    make_tables(shared, rate, swept.p.future);

    const int warp = warp_index(), outputs = 4 * shape::OUTPUT_GROUPS;
    if (warp >= 4 * shape::GROUPS) {
        if constexpr (OUTPUTS)
            give_registers<shape::LOADER_REGISTERS>();
        if (warp == 4 * shape::GROUPS)
            run_loader<T>(shared, at);
    } else if (warp >= outputs) {
        if constexpr (OUTPUTS)
            take_registers<shape::GROUP_REGISTERS>();
        run_state<T, INNER, OUTER, OUTPUTS>(shared, at, rate, sweep.args.tokens.length,
                                            warp - outputs);
    } else if constexpr (OUTPUTS) {
        take_registers<shape::GROUP_REGISTERS>();
        run_outputs<T, INNER, OUTER>(shared, at, warp / 4);
    }
#endif
}

/* ---- launching ---------------------------------------------------------------------------- */

/* The map of [b,h,n,columns] rows, by chunks and panels. */
static inline tnl_status map_rows(const tnl_call *call, const rows_view &rows, int columns,
                                  CUtensorMap *map) {
    const tnl_tensor t = {rows.data,
                          call->type,
                          4,
                          {call->dim[DIM_B], call->dim[DIM_H], call->dim[DIM_N], columns},
                          {rows.batch, rows.head, rows.token, 1}};
    return tnl_make_tensor_map(call, &t, {{PANEL_COLUMNS, TILE, 1, 1}}, map);
}

/* Sweep the products of args, whose inner dimensions fit INNER. `overlaps`: behind a sweep whose
 * states it waits for. */
template <typename T, int INNER, int OUTER, bool OUTPUTS>
static tnl_status launch_hopper(const tnl_call *call, const sweep &args, bool overlaps) {
    hopper_sweep sweep = {args, {}};
    int outer = 0;
    tnl_status status = TNL_OK;
    for (int i = 0; i < args.count && status == TNL_OK; i++) {
        const product &p = args.at[i].p;
        outer = max(outer, p.outer);
        status = map_rows(call, p.y, p.inner, &sweep.map[i][1]);
        if (status == TNL_OK)
            status = map_rows(call, p.z, p.outer, &sweep.map[i][2]);
        if (OUTPUTS && status == TNL_OK)
            status = map_rows(call, p.x, p.inner, &sweep.map[i][0]);
        if (OUTPUTS && status == TNL_OK)
            status = map_rows(call, p.out, p.outer, &sweep.map[i][3]);
    }
    if (status != TNL_OK)
        return status;
    sweep.args.outer_blocks = (int)ceil_div(outer, OUTER);
    const int64_t blocks =
        division_items(args.tokens) * args.heads * sweep.args.outer_blocks * args.count;
    return tnl_launch_overlapping(call, sweep_hopper<T, INNER, OUTER, OUTPUTS>,
                                  dim3((unsigned)blocks),
                                  hopper_shape<T, INNER, OUTER, OUTPUTS>::THREADS,
                                  hopper_memory<T, INNER, OUTER, OUTPUTS>::BYTES, overlaps, sweep);
}

#endif
