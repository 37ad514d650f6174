/*
 * The state groups of the hopper sweep. With i and j the rows of a chunk in the product's order,
 *
 *     S' = lambda^rows S + (diag(w) Y)^T Z,      w_j = lambda^(rows-1-j), over a future
 * lambda^(rows-j)
 *
 * A group has one or two tiles of 64 rows of S, a warp 16 rows of each, in float32 registers.
 * (diag(w) Y)^T goes through registers too, where it gets its weights, and into the products as a
 * high and a low part: S carries no rounding but its sums'. What is published is rounded once.
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

    /* at = factor at + the state numbered `number`. */
    __device__ __forceinline__ void add(const states_view &view, int64_t number,
                                        const hopper_place &place, float factor) {
        const product &p = *place.p;
        const float *from = view.data + number * view.sequence + place.part.head * view.head +
                            place.part.column * view.outer;
        for_each([&](float &value, int row, int column) {
            const bool inside = row < p.inner && place.part.column + column < p.outer;
            value = factor * value + (inside ? from[row * view.inner + column * view.outer] : 0);
        });
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

/* The exponent of the unit in which S is published in a buffer: float16 lacks its range. */
template <typename T, typename M, typename S>
static __device__ __forceinline__ int find_unit(const M &shared, S &state, int buffer) {
    if constexpr (!std::is_same_v<T, __half>)
        return 0;
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
    if (warp == 0 && lane_index() == 0)
        shared.tables().unit[buffer] = unit_for(peak);
    return unit_for(peak);
}

/* Publish S before a chunk; its rest, for sequences of one chunk, in the other buffer. */
template <typename T, int INNER, typename M, typename S>
static __device__ __forceinline__ void publish(const M &shared, S &state, int chunk, bool rest) {
    const int buffer = chunk % 2;
    auto &tables = shared.tables();
    const int unit = find_unit<T>(shared, state, buffer);
    if (chunk >= 2)
        barrier_wait(&tables.state_empty[buffer], (chunk / 2 - 1) & 1);
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

/* The warp's rows of (diag(w) Y)^T, 16 tokens from `token` on, as A: high + low. The weight of a
 * tile's row is decay[first + row * step], or 1 where that is below 0: such rows are zero. */
template <typename T>
static __device__ __forceinline__ void load_weighted(T *y, int column, int token,
                                                     const float *decay, int first, int step,
                                                     uint32_t (&high)[4], uint32_t (&low)[4]) {
    load_a_transposed<PANEL_COLUMNS>(high, y, token, column);
    const int at = first + step * (token + lane_index() % 4 * 2);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int power = at + 8 * step * half;
        const float left = decay[max(power, 0)], right = decay[max(power + step, 0)];
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
            const float2 pair = unpack_pair<T>(high[i]);
            const float a = pair.x * left, b = pair.y * right;
            high[i] = pack_pair<T>(a, b);
            const float2 rounded = unpack_pair<T>(high[i]);
            low[i] = pack_pair<T>(a - rounded.x, b - rounded.y);
        }
    }
}

/* Start adding (diag(w) Y)^T Z to a tile of S; the weights as in load_weighted(). */
template <typename T, int N>
static __device__ __forceinline__ void add_tile(float (&state)[N][4], T *y, int column, T *z,
                                                const float *decay, int first, int step) {
    uint32_t high[TILE / 16][4], low[TILE / 16][4];
#pragma unroll
    for (int k = 0; k < TILE / 16; k++)
        load_weighted(y, column, 16 * k, decay, first, step, high[k], low[k]);
    const uint64_t b = mn_major(z, PANEL_BYTES);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        wgmma<T, true>(state, high[k], further(b, 16 * k * PANEL_ROW_BYTES), true);
        wgmma<T, true>(state, low[k], further(b, 16 * k * PANEL_ROW_BYTES), true);
    }
    wgmma_commit();
}

/* S' from S and a chunk. */
template <typename T, typename M, typename S>
static __device__ __forceinline__ void advance(const M &shared, const hopper_place &at, S &state,
                                               int chunk) {
    const int stage = chunk % M::shape::STAGES, rows = at.rows(chunk);
    const float *decay = shared.tables().decay;
    const bool future = at.p->future;
    /* Over a future float16 takes one lambda out of its weights: it could underflow. */
    const int later = std::is_same_v<T, __half> && future ? 1 : 0;
    const int step = future ? 1 : -1, first = rows - later - (future ? TILE - 1 : 1);
    state.scale(decay[rows - later]);
#pragma unroll
    for (int i = 0; i < M::shape::STATE_TILES; i++)
        add_tile(state.at[i], shared.y(stage) + (state.top / 64 + i) * PANEL, state.top % 64,
                 shared.z(stage), decay, first, step);
    wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < M::shape::STATE_TILES; i++)
        pin(state.at[i]);
    if (later)
        state.scale(decay[1]);
}

/* A state group's way through its segment. `warp`: the warp's number among the state groups'. */
template <typename T, int INNER, int OUTER, bool OUTPUTS, typename M>
static __device__ __forceinline__ void run_state(const M &shared, const hopper_place &at,
                                                 decay_rate rate, int64_t segment_length,
                                                 int warp) {
    const product &p = *at.p;
    const segment &s = at.part.s;
    auto &tables = shared.tables();
    hopper_state<M::shape::STATE_TILES, OUTER> state;
    state.top = warp / 4 * 64 * M::shape::STATE_TILES + warp % 4 * 16;
    state.for_each([](float &value, int, int) { value = 0; });
    if constexpr (OUTPUTS) {
        const bool exact = s.tokens <= EXACT_TOKENS;
        if (p.state_in.data)
            state.add(p.state_in, s.sequence, at, 0);
        wait_for_kernel_before();
        const float passed = decay_by(rate, (float)segment_length);
        for (int64_t i = 0; i < s.index; i++)
            state.add(*at.ends, s.first_end + i, at, passed);
        if (at.chunks > 0)
            publish<T, INNER>(shared, state, 0, exact);
    }
    for (int chunk = 0; chunk < at.chunks; chunk++) {
        wait_for_chunk(shared, at, chunk);
        advance<T>(shared, at, state, chunk);
        __syncwarp();
        if (lane_index() == 0)
            barrier_arrive(&tables.empty[chunk % M::shape::STAGES]);
        if (OUTPUTS && chunk + 1 < at.chunks)
            publish<T, INNER>(shared, state, chunk + 1, false);
    }
    if constexpr (!OUTPUTS)
        state.store(*at.ends, s.first_end + s.index, at);
    else if (at.part.last && p.state_out.data)
        state.store(p.state_out, s.sequence, at);
}

#endif

#endif
