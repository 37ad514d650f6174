/*
 * The sweep of the chunked rows for float16 and bfloat16, on tensor cores.
 *
 * With S the state before a chunk of 64 rows, P = (X Y^T) * M its scores, i and j its rows,
 *
 *     out = diag(lambda^(i+1)) X S + P Z        S' = lambda^64 S + (diag(lambda^(63-j)) Y)^T Z
 *
 * A block has all of the inner dimension and OUTER columns of the outer one, for which nothing
 * needs another block. S stays in float32 in registers, each warp a quarter of its rows, and is
 * published to all warps in 16 bits once a chunk. X Y^T and X S share the fragments of X, P Z and
 * Y^T Z those of Z.
 *
 * A product over the future (cuda_attention.cuh) has lambda^(64-j) for lambda^(63-j), and for the
 * state handed in lambda^i for lambda^(i+1). The power more stays outside of what is multiplied, so
 * that the last row of a chunk always counts in full, however steep the decay: S is kept without
 * it from the first chunk on, and gets it at the end. From there on the two directions are one.
 *
 * Numbers: P is split in two (cuda_tile.cuh); S as it is published and Y with its decay are
 * rounded, each element once, errors that average out over the inner dimension and over tokens.
 * Where there are few tokens, S too is split in two. float16 gets S in units of a power of two.
 *
 * Memory, while a chunk is computed from one stage and the next is on its way into the other:
 *     [ x 64 x INNER | y 64 x INNER | z 64 x OUTER ] a stage   [ S INNER x OUTER ]
 *     [ lambda^0 .. lambda^64 ]   [ the largest of |S| in each warp ]   [ where the rows are ]
 * At most 97 KiB, so that two blocks share a multiprocessor and every device has room for one.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_CHUNKED_HALF_CUH
#define TNL_KERNELS_ATTENTION_CUDA_CHUNKED_HALF_CUH

#include "kernels/attention/cuda_sweep.cuh"
#include "kernels/attention/cuda_tile.cuh"

constexpr int FEW_TOKENS = 16;

template <typename T, int INNER, bool OUTPUTS> struct sweep_memory {
    static constexpr int OUTER = tile_columns(INNER);
    static constexpr int STAGES = INNER > 128 ? 1 : 2;
    struct alignas(16) {
        T x[OUTPUTS ? TILE * INNER : 8];
        T y[TILE * INNER];
        T z[TILE * OUTER];
    } stage[STAGES];
    alignas(16) T state[OUTPUTS ? INNER * OUTER : 8];
    float decay[TILE + 1];
    float peak[THREADS / 32];
    head_rows<T> x, y, z, out;
};

/* ---- the state ---------------------------------------------------------------------------- */

/* A warp's rows of the state, as C fragments: INNER / 64 times 16 rows by OUTER columns. */
template <int INNER, int OUTER> struct state_part {
    static constexpr int ROWS = INNER / 64, COLUMNS = OUTER / 8;
    float at[ROWS][COLUMNS][4];

    /* f(element, its row, its column) for all of the lane's. */
    template <typename F> __device__ __forceinline__ void for_each(F f) {
        const int lane = lane_index(), top = warp_index() * 16 * ROWS;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    f(at[i][j][r], top + 16 * i + lane / 4 + r / 2 * 8,
                      8 * j + lane % 4 * 2 + r % 2);
    }

    __device__ __forceinline__ void zero() {
        for_each([](float &value, int, int) { value = 0; });
    }

    __device__ __forceinline__ void load(const beginning &state, const sweep_part &part,
                                         const product &p) {
        const states_view &view = state.view;
        const float *from = view.data + state.number * view.sequence + part.head * view.head +
                            part.column * view.outer;
        for_each([&](float &value, int row, int column) {
            const bool inside = row < p.inner && part.column + column < p.outer;
            value = inside ? from[row * view.inner + column * view.outer] : 0;
        });
    }

    __device__ __forceinline__ void store(const states_view &view, int64_t number,
                                          const sweep_part &part, const product &p) {
        float *to =
            view.data + number * view.sequence + part.head * view.head + part.column * view.outer;
        for_each([&](float &value, int row, int column) {
            if (row < p.inner && part.column + column < p.outer)
                to[row * view.inner + column * view.outer] = value;
        });
    }
};

/* Write the largest |S| of each warp, for publish_state; float16 only. */
template <typename T, typename M, typename S>
static __device__ __forceinline__ void publish_peak(M &shared, S &state) {
    if constexpr (std::is_same_v<T, __half>) {
        float peak = 0;
        state.for_each([&](float &value, int, int) { peak = fmaxf(peak, fabsf(value)); });
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2)
            peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, distance));
        if (lane_index() == 0)
            shared.peak[warp_index()] = peak;
    }
}

/* Write the warp's part of S for all warps, or (rest) what rounding took from it. Returns the
 * exponent of its unit. */
template <typename T, int OUTER, typename M, typename S>
static __device__ __forceinline__ int publish_state(M &shared, const S &state, bool rest) {
    int unit = 0;
    if constexpr (std::is_same_v<T, __half>)
        unit = unit_for(
            fmaxf(fmaxf(shared.peak[0], shared.peak[1]), fmaxf(shared.peak[2], shared.peak[3])));
    const float scale = power_of_two(-unit);
    const int lane = lane_index(), top = warp_index() * 16 * S::ROWS;
#pragma unroll
    for (int i = 0; i < S::ROWS; i++)
#pragma unroll
        for (int j = 0; j < S::COLUMNS; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float left = scale * state.at[i][j][2 * half];
                const float right = scale * state.at[i][j][2 * half + 1];
                uint32_t pair = pack_pair<T>(left, right);
                if (rest) {
                    const float2 rounded = unpack_pair<T>(pair);
                    pair = pack_pair<T>(left - rounded.x, right - rounded.y);
                }
                *reinterpret_cast<uint32_t *>(tile_at<OUTER>(
                    shared.state, top + 16 * i + lane / 4 + 8 * half, 8 * j + lane % 4 * 2)) = pair;
            }
    return unit;
}

/* ---- a chunk ------------------------------------------------------------------------------ */

/* sum += X S, 16 columns of X from k on. */
template <int OUTER, typename T>
static __device__ __forceinline__ void add_state_product(const uint32_t (&x)[4], T *state, int k,
                                                         float (&sum)[OUTER / 8][4]) {
#pragma unroll
    for (int j = 0; j < OUTER / 16; j++) {
        uint32_t b[4];
        load_b<OUTER>(b, state, k, 16 * j);
        multiply_add<T>(sum[2 * j], x, b[0], b[1]);
        multiply_add<T>(sum[2 * j + 1], x, b[2], b[3]);
    }
}

/* score += X Y^T, sum += X S, for the warp's rows of X. */
template <int INNER, int OUTER, typename T>
static __device__ __forceinline__ void multiply_x(T *x, T *y, T *state, float (&score)[TILE / 8][4],
                                                  float (&sum)[OUTER / 8][4]) {
#pragma unroll 4
    for (int k = 0; k < INNER; k += 16) {
        uint32_t a[4];
        load_a<INNER>(a, x, 16 * warp_index(), k);
        add_scores<INNER>(a, y, k, score);
        add_state_product<OUTER>(a, state, k, sum);
    }
}

/* Scores times M; what lies above the diagonal becomes 0 whatever it was. */
static __device__ __forceinline__ void mask_scores(float (&score)[TILE / 8][4],
                                                   const float *decay) {
    const int first = 16 * warp_index() + lane_index() / 4 - lane_index() % 4 * 2;
#pragma unroll
    for (int i = 0; i < TILE / 8; i++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const int distance = first + r / 2 * 8 - 8 * i - r % 2;
            score[i][r] = distance >= 0 ? score[i][r] * decay[max(distance, 0)] : 0;
        }
}

/* A of (diag(weights) Y)^T, 16 of its rows from `column`, for tokens `token` to token + 15. The
 * weight of a token is lambda^(last - token); tokens beyond `last` are zero. */
template <int INNER, typename T>
static __device__ __forceinline__ void load_decayed(uint32_t (&a)[4], T *y, int token, int column,
                                                    const float *decay, int last) {
    load_a_transposed<INNER>(a, y, token, column);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int power = last - (token + lane_index() % 4 * 2 + i / 2 * 8);
        const float2 pair = unpack_pair<T>(a[i]);
        a[i] = pack_pair<T>(pair.x * decay[max(power, 0)], pair.y * decay[max(power - 1, 0)]);
    }
}

/* sum += score Z (with OUTPUTS), state += (diag(weights) Y)^T Z. */
template <int INNER, int OUTER, bool OUTPUTS, typename T, typename S>
static __device__ __forceinline__ void multiply_z(T *y, T *z, const float (&score)[TILE / 8][4],
                                                  float (&sum)[OUTER / 8][4], S &state,
                                                  const float *decay, int last) {
#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        uint32_t high[4], low[4], a[S::ROWS][4], b[4];
        if constexpr (OUTPUTS)
            split_scores<T>(score, k, high, low);
#pragma unroll
        for (int i = 0; i < S::ROWS; i++)
            load_decayed<INNER>(a[i], y, 16 * k, 16 * (S::ROWS * warp_index() + i), decay, last);
#pragma unroll
        for (int j = 0; j < OUTER / 16; j++) {
            load_b<OUTER>(b, z, 16 * k, 16 * j);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                if constexpr (OUTPUTS) {
                    multiply_add<T>(sum[2 * j + half], high, b[2 * half], b[2 * half + 1]);
                    multiply_add<T>(sum[2 * j + half], low, b[2 * half], b[2 * half + 1]);
                }
#pragma unroll
                for (int i = 0; i < S::ROWS; i++)
                    multiply_add<T>(state.at[i][2 * j + half], a[i], b[2 * half], b[2 * half + 1]);
            }
        }
    }
}

/* A chunk's outputs but for P Z: X S with its decay in `sum`, P in `score`. `age` is the power of
 * lambda of the first row; `few`: S with what rounding takes from it. */
template <int INNER, int OUTER, typename T, typename M, typename S>
static __device__ __forceinline__ void begin_outputs(M &shared, int stage, const S &state, int age,
                                                     bool few, float (&score)[TILE / 8][4],
                                                     float (&sum)[OUTER / 8][4], int (&unit)[2]) {
    const int state_unit = publish_state<T, OUTER>(shared, state, false);
    __syncthreads();
    set_zero(score);
    set_zero(sum);
    multiply_x<INNER, OUTER>(shared.stage[stage].x, shared.stage[stage].y, shared.state, score,
                             sum);
    if (few) {
        __syncthreads();
        publish_state<T, OUTER>(shared, state, true);
        __syncthreads();
#pragma unroll 1
        for (int k = 0; k < INNER; k += 16) {
            uint32_t a[4];
            load_a<INNER>(a, shared.stage[stage].x, 16 * warp_index(), k);
            add_state_product<OUTER>(a, shared.state, k, sum);
        }
    }
    first_units<T>(unit);
    const float *decay = shared.decay + 16 * warp_index() + lane_index() / 4 + age;
    const float scale = power_of_two(state_unit) * power_of_two(-unit[0]);
#pragma unroll
    for (int i = 0; i < OUTER / 8; i++)
#pragma unroll
        for (int r = 0; r < 4; r++)
            sum[i][r] *= decay[r / 2 * 8] * scale;
    mask_scores(score, shared.decay);
    fit_scores<T>(score, sum, unit);
}

/* ---- the kernel --------------------------------------------------------------------------- */

template <typename T, int INNER, bool OUTPUTS>
static __global__ void __launch_bounds__(THREADS, 2)
    sweep_half(const __grid_constant__ sweep args) {
    using memory = sweep_memory<T, INNER, OUTPUTS>;
    constexpr int OUTER = memory::OUTER, STAGES = memory::STAGES;
    extern __shared__ __align__(128) unsigned char raw[];
    memory &shared = *reinterpret_cast<memory *>(raw);

    const swept_product &swept = args.at[blockIdx.y];
    const product &p = swept.p;
    const sweep_part part = find_part<OUTER, OUTPUTS>(args, p, blockIdx.x);
    if (part.idle)
        return;
    const segment &s = part.s;
    if (threadIdx.x == 0) { /* in shared memory, since registers are short */
        shared.x = find_rows<T>(p.x, s, part.head, p.future);
        shared.y = find_rows<T>(p.y, s, part.head, p.future);
        shared.z = find_rows<T>(p.z, s, part.head, p.future);
        shared.out = find_rows<T>(p.out, s, part.head, p.future);
    }
    __syncthreads();
    const auto load = [&](int chunk) {
        auto &stage = shared.stage[chunk % STAGES];
        tile_part tile = {s.first + (int64_t)TILE * chunk, (int)s.rows - TILE * chunk, 0, p.inner,
                          args.aligned};
        if constexpr (OUTPUTS)
            load_tile<INNER>(stage.x, shared.x, tile);
        load_tile<INNER>(stage.y, shared.y, tile);
        tile.column = part.column;
        tile.columns = p.outer - part.column;
        load_tile<OUTER>(stage.z, shared.z, tile);
    };
    if (s.rows > 0)
        load(0);

    const decay_rate rate = decay_rate_of(args.slope[part.head]);
    for (int i = threadIdx.x; i <= TILE; i += THREADS)
        shared.decay[i] = decay_by(rate, (float)i);
    state_part<INNER, OUTER> state;
    state.zero();
    if constexpr (OUTPUTS) {
        const beginning from = find_beginning(args, swept, s);
        if (from.view.data)
            state.load(from, part, p);
    }

    const int chunks = (int)ceil_div(s.rows, TILE);
    int age = p.future ? 0 : 1; /* of the state at a chunk's first row */
    for (int chunk = 0; chunk < chunks; chunk++) {
        const int rows = min(TILE, (int)s.rows - TILE * chunk), stage = chunk % STAGES;
        float score[TILE / 8][4], sum[OUTER / 8][4];
        int unit[2];
        if constexpr (OUTPUTS)
            publish_peak<T>(shared, state);
        copy_async_wait();
        __syncthreads();
        if (STAGES > 1 && chunk + 1 < chunks)
            load(chunk + 1);
        if constexpr (OUTPUTS)
            begin_outputs<INNER, OUTER, T>(shared, stage, state, age, s.tokens <= FEW_TOKENS, score,
                                           sum, unit);
        const float passed = shared.decay[rows - 1 + age];
        state.for_each([&](float &value, int, int) { value *= passed; });
        multiply_z<INNER, OUTER, OUTPUTS>(shared.stage[stage].y, shared.stage[stage].z, score, sum,
                                          state, shared.decay, rows - 1);
        if constexpr (OUTPUTS) {
            leave_units<T>(sum, unit);
            store_rows<INNER, OUTER>(shared.stage[stage].x, sum, shared.out,
                                     {s.first + (int64_t)TILE * chunk, rows, part.column,
                                      p.outer - part.column, args.aligned});
        }
        age = 1;
        if (STAGES == 1) {
            __syncthreads();
            if (chunk + 1 < chunks)
                load(chunk + 1);
        }
    }
    if (p.future && chunks > 0)
        state.for_each([&](float &value, int, int) { value *= shared.decay[1]; });
    if constexpr (!OUTPUTS)
        state.store(swept.ends, end_of_part(args, s), part, p);
    else if (part.last && p.state_out.data)
        state.store(p.state_out, s.sequence, part, p);
}

/* Sweep with rows of type T, in tiles of INNER columns. */
template <typename T, int INNER, bool OUTPUTS>
static tnl_status launch_sweep_half(const tnl_call *call, const sweep &args) {
    using memory = sweep_memory<T, INNER, OUTPUTS>;
    return launch_sweep(call, args, OUTPUTS ? args.tokens : args.parts,
                        sweep_half<T, INNER, OUTPUTS>, memory::OUTER, THREADS, sizeof(memory));
}

#endif
