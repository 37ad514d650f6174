/*
 * The sweep of the hopper rows: its output groups, and the kernel.
 *
 * With S the state before a chunk of 64 rows, P = (X Y^T) * M its scores, r a row's place in the
 * product's order,
 *
 *     out = diag(lambda^(r+1)) X S + P Z          over a future diag(lambda^r) X S + P Z
 *
 * A group starts X Y^T and X S, weighs the scores while X S is under way, scales the rows of X S,
 * and adds P Z to them in the same accumulator. Outputs leave from a tile of
 * their own, by TMA where the chunk is whole.
 *
 * Numbers: S is rounded once where it is published, P once where it meets Z; both average out over
 * the terms of a sum. In short sequences, where there may be few, P goes in as two parts, and in
 * those of one chunk S as well.
 * float16 gets S in units of a power of two, and each row of scores in one of its own.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_HOPPER_SWEEP_CUH
#define TNL_KERNELS_ATTENTION_CUDA_HOPPER_SWEEP_CUH

#include "kernels/attention/cuda_hopper_state.cuh"

#ifdef TNL_HOPPER_CODE

/* How long a sequence is, for its numbers (FEW_TOKENS). */
enum sequence_size { ONE_CHUNK, FEW_CHUNKS, MANY_CHUNKS };

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

/* What weighs a lane's two rows: the elements of M that it needs, for column blocks of 8 from a row
 * block of 8 on leftwards, and the decays of X S. They stay in registers, since shared memory has
 * enough to do. */
struct lane_weighing {
    float2 mask[TILE / 8 + 1];
    float decay[2];

    /* `row`: the first of the two. */
    template <typename M>
    __device__ __forceinline__ void read(const M &shared, const hopper_place &at, int row) {
        const auto &tables = shared.tables();
#pragma unroll
        for (int i = 0; i <= TILE / 8; i++)
            mask[i] = tables.mask[TILE + row + 8 - 8 * i - lane_index() % 4 * 2];
#pragma unroll
        for (int i = 0; i < 2; i++)
            decay[i] = tables.decay[at.order(row + 8 * i) + (at.p->future ? 0 : 1)];
    }
};

/* Scores of half of the columns times M, where the diagonal is; what it excludes becomes 0 whatever
 * it was. */
template <int FIRST>
static __device__ __forceinline__ void mask_half(float (&score)[TILE / 8][4],
                                                 const lane_weighing &by) {
#pragma unroll
    for (int i = FIRST; i < FIRST + TILE / 16; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float2 weight = by.mask[i + 1 - half];
            float &left = score[i][2 * half], &right = score[i][2 * half + 1];
            left = weight.x != 0 ? left * weight.x : 0;
            right = weight.y != 0 ? right * weight.y : 0;
        }
}

/* Of the other half, which M includes as a whole, or excludes. */
template <int FIRST>
static __device__ __forceinline__ void weigh_half(float (&score)[TILE / 8][4],
                                                  const lane_weighing &by, bool includes) {
    if (!includes) {
        memset(score[FIRST], 0, sizeof score / 2);
        return;
    }
#pragma unroll
    for (int i = FIRST; i < FIRST + TILE / 16; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            score[i][2 * half] *= by.mask[i + 1 - half].x;
            score[i][2 * half + 1] *= by.mask[i + 1 - half].y;
        }
}

/* Scores times M, for a warp's rows from `top` on, and then `pack` them: in branches, which the
 * compiler leaves where they are, between products under way and the wait for them. */
template <typename F>
static __device__ __forceinline__ void
mask_scores(float (&score)[TILE / 8][4], const lane_weighing &by, int top, bool future, F pack) {
    if (top < TILE / 2) {
        mask_half<0>(score, by);
        weigh_half<TILE / 16>(score, by, future);
        pack();
    } else {
        weigh_half<0>(score, by, !future);
        mask_half<TILE / 16>(score, by);
        pack();
    }
}

/* Scores as As for the products with Z, rounded, or in two parts. */
struct scores_part {
    uint32_t high[TILE / 16][4], low[TILE / 16][4];
};

template <typename T, sequence_size CHUNKS>
static __device__ __forceinline__ void pack_scores(const float (&score)[TILE / 8][4],
                                                   scores_part &part) {
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        if constexpr (CHUNKS != MANY_CHUNKS) {
            split_scores<T>(score, k, part.high[k], part.low[k]);
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++)
                part.high[k][i] = pack_pair<T>(score[2 * k + i / 2][i % 2 * 2],
                                               score[2 * k + i / 2][i % 2 * 2 + 1]);
        }
    }
}

/* Start sum += P Z. */
template <sequence_size CHUNKS, typename T, int N>
static __device__ __forceinline__ void add_scores_product(float (&sum)[N][4],
                                                          const scores_part &part, T *z) {
    const uint64_t b = mn_major(z, PANEL_BYTES);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < TILE / 16; k++)
        wgmma<T, true>(sum, part.high[k], further(b, 16 * k * PANEL_ROW_BYTES), true);
    if constexpr (CHUNKS != MANY_CHUNKS) {
#pragma unroll
        for (int k = 0; k < TILE / 16; k++)
            wgmma<T, true>(sum, part.low[k], further(b, 16 * k * PANEL_ROW_BYTES), true);
    }
    wgmma_commit();
}

/* Start score = X Y^T for a chunk, once its tiles are there. */
template <typename T, int INNER, typename M>
static __device__ __forceinline__ void start_scores(const M &shared, const hopper_place &at,
                                                    int chunk, float (&score)[TILE / 8][4]) {
    const int stage = chunk % M::shape::STAGES;
    wait_for_chunk(shared, at, chunk);
    multiply_rows<T, INNER, false>(score, shared.x(stage), k_major(shared.y(stage)), false);
    wgmma_commit();
}

/* Start sum = X S for a chunk, once S is published. */
template <typename T, int INNER, sequence_size CHUNKS, int N, typename M>
static __device__ __forceinline__ void start_state_product(const M &shared, int chunk,
                                                           float (&sum)[N][4]) {
    const int stage = chunk % M::shape::STAGES, buffer = chunk % 2;
    constexpr int BYTES = INNER * PANEL_ROW_BYTES; /* a panel of S */
    barrier_wait(&shared.tables().state_full[buffer], chunk / 2 & 1);
    multiply_rows<T, INNER, true>(sum, shared.x(stage), mn_major(shared.state(buffer), BYTES),
                                  false);
    if constexpr (CHUNKS == ONE_CHUNK)
        multiply_rows<T, INNER, true>(sum, shared.x(stage),
                                      mn_major(shared.state(1 - buffer), BYTES), true);
    wgmma_commit();
}

/* From scores, and X S under way, to X S with its decay, in `sum`, and P as a part; both in units
 * of 2^unit. `top`: the warp's first row of the tile. */
template <typename T, sequence_size CHUNKS, typename M, int N>
static __device__ __forceinline__ void
weigh_outputs(const M &shared, const hopper_place &at, int chunk, int top, const lane_weighing &by,
              float (&score)[TILE / 8][4], float (&sum)[N][4], scores_part &part, int (&unit)[2]) {
    constexpr bool UNITS = std::is_same_v<T, __half>;
    auto &tables = shared.tables();
    mask_scores(score, by, top, at.p->future, [&] {
        if constexpr (!UNITS)
            pack_scores<T, CHUNKS>(score, part);
    });
    wgmma_wait<0>();
    pin(sum);
    leave_tile<M>(&tables.empty_x[chunk % M::shape::STAGES]);
    first_units<T>(unit);
    /* The lane that frees the state reads its unit, so that the barrier alone orders both. */
    int state_unit = 0;
    __syncwarp();
    if (lane_index() == 0) {
        if (UNITS)
            state_unit = tables.unit[chunk % 2];
        barrier_arrive(&tables.state_empty[chunk % 2]);
    }
    const float scale =
        UNITS ? power_of_two(__shfl_sync(0xffffffffu, state_unit, 0) - LEAST_UNIT) : 1;
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            sum[i][r] *= scale * by.decay[r / 2];
    if constexpr (UNITS) {
        fit_scores<T>(score, sum, unit);
        pack_scores<T, CHUNKS>(score, part);
    }
}

/* Hand a chunk's outputs to the storer, in the group's tile. `turn`: the group's chunks before. */
template <typename T, int OUTER, typename M>
static __device__ __forceinline__ void hand_over(const M &shared, int group, int turn,
                                                 const float (&sum)[OUTER / 8][4]) {
    auto &tables = shared.tables();
    if (turn > 0)
        barrier_wait(&tables.out_empty[group], (turn - 1) & 1);
    store_fragments<TILE>(shared.out(group), threadIdx.x % GROUP / 32 * 16, sum, 1, false);
    fence_async_proxy();
    __syncwarp();
    if (lane_index() == 0)
        barrier_arrive(&tables.out_full[group]);
}

/* An output group's way through its segment: chunks from `group` on, as many on as there are
 * groups. The next chunk's scores are under way while outputs are stored. */
template <typename T, int INNER, int OUTER, sequence_size CHUNKS, typename M>
static __device__ __forceinline__ void run_outputs(const M &shared, const hopper_place &at,
                                                   int group) {
    constexpr int STEP = M::shape::OUTPUT_GROUPS;
    /* Two-part scores, and float16's units, leave no registers for the next scores beside them. */
    constexpr bool AHEAD = CHUNKS == MANY_CHUNKS && !std::is_same_v<T, __half>;
    const int top = warp_number() % 4 * 16;
    float score[TILE / 8][4], sum[OUTER / 8][4];
    lane_weighing by;
    if (group >= at.chunks)
        return;
    by.read(shared, at, top + lane_index() / 4);
    start_scores<T, INNER>(shared, at, group, score);
    wgmma_wait<0>();
    pin(score);
    leave_tile<M>(&shared.tables().empty_y[group % M::shape::STAGES]);
    for (int chunk = group; chunk < at.chunks; chunk += STEP) {
        const int stage = chunk % M::shape::STAGES;
        scores_part part;
        int unit[2];
        start_state_product<T, INNER, CHUNKS>(shared, chunk, sum);
        weigh_outputs<T, CHUNKS>(shared, at, chunk, top, by, score, sum, part, unit);
        add_scores_product<CHUNKS>(sum, part, shared.z(stage));
        /* Behind the last chunk that chunk's again: there is no branch among the products. */
        if constexpr (!AHEAD)
            wgmma_wait<0>();
        start_scores<T, INNER>(shared, at, chunk + STEP < at.chunks ? chunk + STEP : chunk, score);
        if constexpr (AHEAD)
            wgmma_wait<1>();
        pin(sum);
        leave_stage(&shared.tables().empty[stage]);
        leave_units<T>(sum, unit);
        hand_over<T, OUTER>(shared, group, chunk / STEP, sum);
        wgmma_wait<0>();
        pin(score);
        if (chunk + STEP < at.chunks)
            leave_tile<M>(&shared.tables().empty_y[(chunk + STEP) % M::shape::STAGES]);
    }
}

/* ---- the kernel --------------------------------------------------------------------------- */

template <typename M> static __device__ __forceinline__ void make_barriers(const M &shared) {
    using shape = typename M::shape;
    auto &tables = shared.tables();
    for (int i = 0; i < shape::STAGES; i++) {
        barrier_init(&tables.full[i], 1);
        constexpr int WARPS = 4 * (shape::STATE_GROUPS + (shape::OUTPUT_GROUPS > 0));
        barrier_init(&tables.empty_x[i], 4);
        barrier_init(&tables.empty_y[i], WARPS);
        barrier_init(&tables.empty[i], WARPS);
    }
    for (int i = 0; i < 2; i++) {
        barrier_init(&tables.state_full[i], 4 * shape::STATE_GROUPS);
        barrier_init(&tables.state_empty[i], 4);
        barrier_init(&tables.out_full[i], 4);
        barrier_init(&tables.out_empty[i], 1);
    }
    barrier_init(&tables.cleared, 32);
    barrier_init_fence();
}

/* Powers of lambda and M, by all groups. */
template <typename M>
static __device__ __forceinline__ void make_tables(const M &shared, decay_rate rate, bool future) {
    constexpr int THREADS = GROUP * M::shape::GROUPS;
    auto &tables = shared.tables();
    for (int i = threadIdx.x; i <= TILE; i += THREADS)
        tables.decay[i] = decay_by(rate, (float)i);
    for (int i = threadIdx.x; i < TILE + 2; i += THREADS)
        tables.weight[i] = make_weight(rate, i, future ? 1 : -1);
    for (int i = threadIdx.x; i < 2 * TILE; i += THREADS) {
        const int left = future ? TILE - i : i - TILE, right = future ? left + 1 : left - 1;
        tables.mask[i] = make_float2(left >= 0 ? decay_by(rate, (float)left) : 0,
                                     right >= 0 ? decay_by(rate, (float)right) : 0);
    }
    sync_threads(1, THREADS);
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
    /* Only where blocks of the next kernel find no room beside these: those of a small one would
     * crowd onto the multiprocessors that have none of these. */
    if (OUTPUTS || !sweep.args.added_up)
        allow_next_kernel();

    hopper_place at = {&swept.p, sweep.map[product_number]};
    at.part = find_part<OUTER, OUTPUTS>(sweep.args, swept.p, blockIdx.x / sweep.args.count);
    if (at.part.idle)
        return;
    at.chunks = (int)ceil_div(at.part.s.rows, TILE);
    at.packed = sweep.args.tokens.cu_seqlens != NULL;
    const int warp = warp_number(), outputs = 4 * shape::OUTPUT_GROUPS;
    if (threadIdx.x == GROUP * shape::GROUPS)
        make_barriers(shared);
    __syncthreads();
    if (warp >= 4 * shape::GROUPS) {
        if constexpr (OUTPUTS)
            give_registers<shape::LOADER_REGISTERS>();
        if (warp == 4 * shape::GROUPS)
            run_loader<T>(shared, at);
        if constexpr (OUTPUTS)
            if (warp == 4 * shape::GROUPS + 1)
                run_storer<T, OUTER>(shared, at);
        if constexpr (OUTPUTS) /* whoever waits for this kernel waits for those before, too */
            wait_for_kernel_before();
        return;
    }
    const decay_rate rate = decay_rate_of(sweep.args.slope[at.part.head]);
    make_tables(shared, rate, swept.p.future);
    if (warp >= outputs) {
        if constexpr (OUTPUTS)
            take_registers<shape::STATE_REGISTERS>();
        run_state<T, INNER, OUTER, OUTPUTS>(shared, at, sweep.args, swept, rate, warp - outputs);
    } else if constexpr (OUTPUTS) {
        take_registers<shape::OUTPUT_REGISTERS>();
        if (at.part.s.tokens <= TILE)
            run_outputs<T, INNER, OUTER, ONE_CHUNK>(shared, at, warp / 4);
        else if (at.part.s.tokens <= FEW_TOKENS)
            run_outputs<T, INNER, OUTER, FEW_CHUNKS>(shared, at, warp / 4);
        else
            run_outputs<T, INNER, OUTER, MANY_CHUNKS>(shared, at, warp / 4);
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
    const int64_t blocks = division_items(OUTPUTS ? args.tokens : args.parts) * args.heads *
                           sweep.args.outer_blocks * args.count;
    return tnl_launch_overlapping(call, sweep_hopper<T, INNER, OUTER, OUTPUTS>,
                                  dim3((unsigned)blocks),
                                  hopper_shape<T, INNER, OUTER, OUTPUTS>::THREADS,
                                  hopper_memory<T, INNER, OUTER, OUTPUTS>::BYTES, overlaps, sweep);
}

#endif
