/*
 * The state groups of the hopper sweep. With j a row's place in the product's order in its chunk,
 *
 *     S' = lambda^rows S + (diag(w) Y)^T Z
 *
 * with w_j = lambda^(rows-1-j), and over a future lambda^(rows-j). A group has one or two tiles of
 * 64 rows of S, a warp 16 rows of each, in float32 registers. (diag(w) Y)^T goes through registers
 * too, where it gets its weights, and into the products as a high and a low part, which together
 * are right to some 17 bits. What is published is rounded once.
 *
 * Products with an operand in registers hold up the warps that start them until nearly their end.
 * Two groups in step would leave the tensor cores idle half of the time: they take turns.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_HOPPER_STATE_CUH
#define TNL_KERNELS_ATTENTION_CUDA_HOPPER_STATE_CUH

#include "kernels/attention/cuda_hopper_memory.cuh"

#ifdef TNL_HOPPER_CODE

/* A warp's rows of S: of tile i those from `top` + 64 i on. */
template <int TILES, int OUTER> struct hopper_state {
    float at[TILES][OUTER / 8][4];
    int top;

    /* f(element, its row, its column) for all of the lane's. */
    template <typename F> __device__ __forceinline__ void for_each(F f) {
        const int lane = lane_index();
#pragma unroll
        for (int i = 0; i < TILES; i++)
#pragma unroll
            for (int j = 0; j < OUTER / 8; j++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    f(at[i][j][r], top + 64 * i + lane / 4 + r / 2 * 8,
                      8 * j + lane % 4 * 2 + r % 2);
    }

    __device__ __forceinline__ void scale(float factor) {
        for_each([&](float &value, int, int) { value *= factor; });
    }

    /* S = passed S + a state of which this block has a whole part: (TRANSPOSED) [outer,inner] with
     * rows of `stride` floats, or [inner,outer]. */
    template <bool TRANSPOSED>
    __device__ __forceinline__ void add_whole(float passed, const float *from, int stride) {
        const int row = top + lane_index() / 4, column = lane_index() % 4 * 2;
        from += TRANSPOSED ? column * stride + row : row * stride + column;
#pragma unroll
        for (int i = 0; i < TILES; i++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int j = 0; j < OUTER / 8; j++) {
                    const int down = 64 * i + 8 * half;
                    float *to = &at[i][j][2 * half];
                    float2 pair;
                    if constexpr (TRANSPOSED)
                        pair = make_float2(from[8 * j * stride + down],
                                           from[(8 * j + 1) * stride + down]);
                    else
                        pair = *(const float2 *)(from + down * stride + 8 * j);
                    to[0] = fmaf(passed, to[0], pair.x);
                    to[1] = fmaf(passed, to[1], pair.y);
                }
    }

    /* S = passed S + a state: a caller's, or one at the end of a part, from the workspace. */
    template <int INNER>
    __device__ __forceinline__ void add(float passed, const states_view &view, int64_t number,
                                        bool of_part, const hopper_place &place) {
        const product &p = *place.p;
        const float *from = view.data + number * view.sequence + place.part.head * view.head +
                            place.part.column * view.outer;
        const bool whole = of_part && p.inner == INNER && place.part.column + OUTER <= p.outer;
        if (whole && p.transposed)
            add_whole<true>(passed, from, (int)view.outer);
        else if (whole)
            add_whole<false>(passed, from, (int)view.inner);
        else
            for_each([&](float &value, int row, int column) {
                if (row < p.inner && place.part.column + column < p.outer)
                    value = fmaf(passed, value, from[row * view.inner + column * view.outer]);
            });
    }

    /* From zero to the state before the block's segment: the one before the sequence, and those at
     * the ends of parts, or the last of them where they have been added up. */
    template <int INNER>
    __device__ __forceinline__ void begin(const sweep &args, const swept_product &swept,
                                          decay_rate rate, const hopper_place &place) {
        const segment &s = place.part.s;
        const int parts = (int)s.index * (int)parts_of(args);
        const float passed = decay_by(rate, (float)args.parts.length);
#pragma unroll 1
        for (int i = args.added_up ? parts : 0; i <= parts; i++) {
            const states_view &view = i == 0 ? swept.p.state_in : swept.ends;
            const int64_t number = i == 0 ? s.sequence : first_end(args.parts, s) + i - 1;
            if (view.data)
                add<INNER>(passed, view, number, i > 0, place);
        }
    }

    /* The state behind the block's part of a segment, to the workspace: [inner,outer]. */
    template <int INNER>
    __device__ __forceinline__ void store_end(const states_view &ends, int64_t number,
                                              const hopper_place &place) {
        if (place.p->inner != INNER || place.part.column + OUTER > place.p->outer) {
            store(ends, number, place);
            return;
        }
        const int stride = (int)ends.inner;
        float *to = ends.data + number * ends.sequence + place.part.head * ends.head +
                    place.part.column + (top + lane_index() / 4) * stride + lane_index() % 4 * 2;
#pragma unroll
        for (int i = 0; i < TILES; i++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int j = 0; j < OUTER / 8; j++)
                    *(float2 *)(to + (64 * i + 8 * half) * stride + 8 * j) =
                        make_float2(at[i][j][2 * half], at[i][j][2 * half + 1]);
    }

    __device__ __forceinline__ void store(const states_view &view, int64_t number,
                                          const hopper_place &place) {
        const product &p = *place.p;
        float *to = view.data + number * view.sequence + place.part.head * view.head +
                    place.part.column * view.outer;
        for_each([&](float &value, int row, int column) {
            if (row < p.inner && place.part.column + column < p.outer)
                to[row * view.inner + column * view.outer] = value;
        });
    }
};

/* The exponent of the unit in which S is published in a buffer. */
template <typename M, typename S>
static __device__ __forceinline__ int find_unit(const M &shared, S &state, int buffer) {
    constexpr int WARPS = 4 * M::shape::STATE_GROUPS;
    float peak = 0;
    state.for_each([&](float &value, int, int) { peak = fmaxf(peak, fabsf(value)); });
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, distance));
    float *const peaks = shared.tables().peak[buffer];
    const int warp = warp_index() - 4 * M::shape::OUTPUT_GROUPS;
    if (lane_index() == 0)
        peaks[warp] = peak;
    sync_threads(1 + M::shape::OUTPUT_GROUPS, 32 * WARPS);
#pragma unroll
    for (int i = 0; i < WARPS; i++)
        peak = fmaxf(peak, peaks[i]);
    return unit_for(peak);
}

/* Publish S before a chunk; its rest, for sequences of one chunk, in the other buffer. */
template <typename T, int INNER, typename M, typename S>
static __device__ __forceinline__ void publish(const M &shared, S &state, int chunk, bool rest) {
    const int buffer = chunk % 2;
    auto &tables = shared.tables();
    int unit = 0;
    if constexpr (std::is_same_v<T, __half>) /* which lacks the range of S */
        unit = find_unit(shared, state, buffer);
    if (chunk >= 2)
        barrier_wait(&tables.state_empty[buffer], (chunk / 2 - 1) & 1);
    if (std::is_same_v<T, __half> && state.top == 0 && lane_index() == 0)
        tables.unit[buffer] = unit;
#pragma unroll
    for (int i = 0; i < M::shape::STATE_TILES; i++) {
        const int top = state.top + 64 * i;
        store_fragments<INNER>(shared.state(buffer), top, state.at[i], power_of_two(-unit), false);
        if (rest)
            store_fragments<INNER>(shared.state(1 - buffer), top, state.at[i], power_of_two(-unit),
                                   true);
    }
    fence_async_proxy();
    __syncwarp();
    if (lane_index() == 0)
        barrier_arrive(&tables.state_full[buffer]);
}

/* Over a future float16 takes one lambda out of the weights, for later: they could underflow. */
template <typename T> static __device__ __forceinline__ int later_powers(const hopper_place &at) {
    return std::is_same_v<T, __half> && at.p->future ? 1 : 0;
}

/* A pair of elements times the weights of two neighbours, as high + low. For bfloat16 the weights
 * are in two parts w + r themselves: high = y w rounded, low = y w - high, which is exact, + y r.
 */
static __device__ __forceinline__ void weigh_pair(uint32_t pair, uint2 weight, uint32_t &high,
                                                  uint32_t &low) {
    const auto as_pair = [](uint32_t x) { return *reinterpret_cast<const __nv_bfloat162 *>(&x); };
    const __nv_bfloat162 y = as_pair(pair), w = as_pair(weight.x), r = as_pair(weight.y);
    const __nv_bfloat162 rounded = __hmul2_rn(y, w);
    const __nv_bfloat162 rest = __hfma2(y, r, __hfma2(y, w, __hneg2(rounded)));
    high = *reinterpret_cast<const uint32_t *>(&rounded);
    low = *reinterpret_cast<const uint32_t *>(&rest);
}

static __device__ __forceinline__ void weigh_pair(uint32_t pair, float2 weight, uint32_t &high,
                                                  uint32_t &low) {
    const float2 y = unpack_pair<__half>(pair);
    const float left = y.x * weight.x, right = y.y * weight.y;
    high = pack_pair<__half>(left, right);
    const float2 rounded = unpack_pair<__half>(high);
    low = pack_pair<__half>(left - rounded.x, right - rounded.y);
}

/* lambda^power and lambda^(power+step), at least lambda^0: the weights of two neighbours. Tokens
 * with powers below 0 are zero. */
template <typename T, typename M>
static __device__ __forceinline__ auto weights_at(const M &shared, int power, int step) {
    const auto &tables = shared.tables();
    if constexpr (std::is_same_v<T, __nv_bfloat16>)
        return tables.weight[1 + max(power, -1)];
    else
        return make_float2(tables.decay[max(power, 0)], tables.decay[max(power + step, 0)]);
}

static __device__ __forceinline__ uint2 split_weights(float left, float right) {
    const uint32_t high = pack_pair<__nv_bfloat16>(left, right);
    const float2 rounded = unpack_pair<__nv_bfloat16>(high);
    return make_uint2(high, pack_pair<__nv_bfloat16>(left - rounded.x, right - rounded.y));
}

/* The table that weights_at() reads, entry `i`. */
static __device__ __forceinline__ uint2 make_weight(decay_rate rate, int i, int step) {
    return split_weights(decay_by(rate, (float)max(i - 1, 0)),
                         decay_by(rate, (float)max(i - 1 + step, 0)));
}

/* Of 64 tokens and a warp's 16 rows of S, (diag(w) Y)^T as As for four products. */
struct weighted_part {
    uint32_t high[TILE / 16][4], low[TILE / 16][4];
};

/* The weights of the tokens that a lane has, two of every 8. Where registers allow they are KEPT
 * from chunk to chunk, since shared memory has enough to do. */
template <typename T, bool KEPT> struct lane_weights {
    static constexpr int COUNT = TILE / 8;
    std::conditional_t<std::is_same_v<T, __half>, float2, uint2> kept[COUNT];
    int first, step; /* powers: of token 0, from a token to the next */

    /* For chunks of so many rows. */
    template <typename M>
    __device__ __forceinline__ void set(const M &shared, const hopper_place &at, int rows) {
        step = at.p->future ? 1 : -1;
        first = rows - later_powers<T>(at) - (at.p->future ? TILE - 1 : 1);
        if constexpr (KEPT) {
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                kept[i] = read(shared, i);
        }
    }

    /* For whole chunks with `passed` behind them, in bfloat16. */
    template <typename M>
    __device__ __forceinline__ void set_decayed(const M &shared, const hopper_place &at,
                                                float passed) {
        const float *decay = shared.tables().decay;
        step = at.p->future ? 1 : -1;
        first = at.p->future ? 1 : TILE - 1;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const float *own = decay + first + step * (8 * i + lane_index() % 4 * 2);
            kept[i] = split_weights(passed * own[0], passed * own[step]);
        }
    }

    template <typename M> __device__ __forceinline__ auto read(const M &shared, int i) const {
        return weights_at<T>(shared, first + step * (8 * i + lane_index() % 4 * 2), step);
    }

    template <typename M> __device__ __forceinline__ auto get(const M &shared, int i) const {
        if constexpr (KEPT)
            return kept[i];
        else
            return read(shared, i);
    }
};

/* A chunk's, for the group's tiles. */
template <typename T, typename M, typename S, typename W, int TILES>
static __device__ __forceinline__ void weigh(const M &shared, const S &state, const W &weights,
                                             int chunk, weighted_part (&part)[TILES]) {
    T *const y = shared.y(chunk % M::shape::STAGES) + state.top / 64 * PANEL;
#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int k = 0; k < TILE / 16; k++) {
            uint32_t a[4]; /* a pair is two tokens of one of S's rows */
            load_a_transposed<PANEL_COLUMNS>(a, y + i * PANEL, 16 * k, state.top % 64);
#pragma unroll
            for (int j = 0; j < 4; j++)
                weigh_pair(a[j], weights.get(shared, 2 * k + j / 2), part[i].high[k][j],
                           part[i].low[k][j]);
        }
}

/* Two state groups take turns at their products, so that each weighs and publishes while the tensor
 * cores work for the other. `first`: it is the first of the group's turns, which group 0 need not
 * wait for; `last`: its last, after which group 1 leaves nothing for group 0 to wait for. */
template <typename M> static __device__ __forceinline__ void take_turn(int group, bool first) {
    constexpr int BARRIER = 8, THREADS = 2 * GROUP;
    if constexpr (M::shape::STATE_GROUPS == 2)
        if (group == 1 || !first)
            sync_threads(BARRIER + group, THREADS);
}

template <typename M> static __device__ __forceinline__ void pass_turn(int group, bool last) {
    constexpr int BARRIER = 8, THREADS = 2 * GROUP;
    if constexpr (M::shape::STATE_GROUPS == 2)
        if (group == 0 || !last)
            signal_threads(BARRIER + 1 - group, THREADS);
}

/* S' from S and a chunk, with the chunk's parts of (diag(w) Y)^T; backwards, where S is behind the
 * chunk, it does not decay. */
template <typename T, typename M, typename S, int TILES>
static __device__ __forceinline__ void advance(const M &shared, const hopper_place &at, S &state,
                                               int chunk, const weighted_part (&part)[TILES]) {
    const int stage = chunk % M::shape::STAGES, group = state.top / 64 / TILES;
    const uint64_t z = mn_major(shared.z(stage), PANEL_BYTES);
    if constexpr (!M::shape::BACKWARDS)
        state.scale(shared.tables().decay[at.rows(chunk) - later_powers<T>(at)]);
    take_turn<M>(group, chunk == 0);
    wgmma_begin();
#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int k = 0; k < TILE / 16; k++) {
            const uint64_t b = further(z, 16 * k * PANEL_ROW_BYTES);
            wgmma<T, true>(state.at[i], part[i].high[k], b, true);
            wgmma<T, true>(state.at[i], part[i].low[k], b, true);
        }
    wgmma_commit();
    pass_turn<M>(group, chunk + 1 == at.chunks);
    wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < TILES; i++)
        pin(state.at[i]);
    if (later_powers<T>(at))
        state.scale(shared.tables().decay[1]);
    leave_stage(&shared.tables().empty[stage]);
}

/* A state group's way through its segment. `warp`: the warp's number among the state groups'. */
template <typename T, int INNER, int OUTER, bool OUTPUTS, typename M>
static __device__ __forceinline__ void run_state(const M &shared, const hopper_place &at,
                                                 const sweep &args, const swept_product &swept,
                                                 decay_rate rate, int warp) {
    constexpr int TILES = M::shape::STATE_TILES;
    const product &p = *at.p;
    const segment &s = at.part.s;
    hopper_state<TILES, OUTER> state;
    state.top = warp / 4 * 64 * TILES + warp % 4 * 16;
    state.for_each([](float &value, int, int) { value = 0; });
    if constexpr (OUTPUTS) {
        if (s.index > 0)
            wait_for_kernel_before();
        state.template begin<INNER>(args, swept, rate, at);
        if (at.chunks > 0)
            publish<T, INNER>(shared, state, 0, s.tokens <= TILE);
    }
    constexpr bool KEPT = TILES == 1, BACKWARDS = M::shape::BACKWARDS;
    lane_weights<T, KEPT> weights;
    if constexpr (KEPT && !BACKWARDS)
        weights.set(shared, at, at.rows(0));
    for (int chunk = 0; chunk < at.chunks; chunk++) {
        weighted_part part[TILES];
        if constexpr (BACKWARDS)
            weights.set_decayed(shared, at, decay_by(rate, (float)(TILE * chunk)));
        else if (!KEPT || at.rows(chunk) < TILE)
            weights.set(shared, at, at.rows(chunk));
        wait_for_chunk(shared, at, chunk);
        weigh<T>(shared, state, weights, chunk, part);
        leave_tile<M>(&shared.tables().empty_y[chunk % M::shape::STAGES]);
        advance<T>(shared, at, state, chunk, part);
        if (OUTPUTS && chunk + 1 < at.chunks)
            publish<T, INNER>(shared, state, chunk + 1, false);
    }
    if constexpr (!OUTPUTS) {
        state.template store_end<INNER>(swept.ends, end_of_part(args, s), at);
    } else {
        if (at.part.last && p.state_out.data)
            state.store(p.state_out, s.sequence, at);
    }
}

#endif

#endif
