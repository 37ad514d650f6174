/*
 * A block of the hopper sweep: its warps, its shared memory, and the warps that fill and empty it.
 *
 *     [ output groups ][ state groups ][ loader, storer, two idle warps ]     four warps each
 *
 * The loader brings chunk after chunk of x, y and z by TMA into the stages of a ring. A state group
 * keeps 64 or 128 rows of the state S in registers, brings it through the sequence, and publishes
 * it once a chunk in 16 bits, into two buffers by turns. An output group computes the outputs of
 * every chunk, or where there are two of every second one.
 *
 * Shared memory, all tiles in panels of 64 columns (hopper.cuh):
 *     [ x 64 x INNER | y 64 x INNER | z 64 x OUTER ] a stage
 *     [ S INNER x OUTER ] twice   [ out 64 x OUTER ] an output group
 *     [ powers of lambda ][ M ][ units and peaks of S ][ barriers ]
 *
 *     barrier        ends a phase when                          waited for by
 *     full           a stage's bytes have come                  all groups
 *     empty          the state groups and the output group      the loader
 *                    whose chunk it holds are done with a stage
 *     empty_x, _y    they are done with x, with y, where tiles  the loader
 *                    leave a stage one by one
 *     state_full     S is published in a buffer                 output groups
 *     state_empty    an output group is done with a buffer      state groups
 *     out_full       an output group's tile is written          the storer
 *     out_empty      an output group's tile is stored           that group
 *     cleared        rows of other sequences are zero           all groups
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_HOPPER_MEMORY_CUH
#define TNL_KERNELS_ATTENTION_CUDA_HOPPER_MEMORY_CUH

#include "kernels/attention/cuda_sweep.cuh"
#include "kernels/attention/cuda_tile.cuh"
#include "kernels/common/wgmma.cuh"

/* A sweep and the tensor maps of its products' x, y, z and out. */
struct hopper_sweep {
    sweep args;
    CUtensorMap map[4][4];
};

constexpr int GROUP = 128;                  /* threads of a group */
constexpr int PANEL = TILE * PANEL_COLUMNS; /* elements of a panel of 64 rows */
constexpr int PANEL_BYTES = TILE * PANEL_ROW_BYTES;
constexpr int MOST_SHARED_BYTES = 227 * 1024;
/* Sequences up to so long have their scores, and where they are one chunk their states, go into
 * products in two parts: there may be too few terms in a sum for roundings to average out. */
constexpr int FEW_TOKENS = 512;

constexpr int MOST_STAGES = 4;

/* What lies behind the tiles. */
template <int STAGES> struct hopper_tables {
    float decay[TILE + 1];  /* lambda^0 .. lambda^64 */
    uint2 weight[TILE + 2]; /* [1 + i]: lambda^i and its neighbour's power, in two parts */
    float2 mask[2 * TILE];  /* [64 + r - c]: M of row r, columns c and c + 1 */
    float peak[2][16];      /* of a warp's part of |S|, for float16 */
    int unit[2];            /* the exponent of the unit of a published S */
    barrier full[STAGES], empty_x[STAGES], empty_y[STAGES], empty[STAGES];
    barrier state_full[2], state_empty[2], out_full[2], out_empty[2];
    barrier cleared;
};

template <typename T, int INNER, int OUTER, bool OUTPUTS> struct hopper_shape {
    static constexpr int STATE_GROUPS = INNER == 64 ? 1 : 2;
    static constexpr int STATE_TILES = INNER / 64 / STATE_GROUPS; /* of 64 rows, a group's */
    static constexpr int OUTPUT_GROUPS = !OUTPUTS ? 0 : OUTER == 64 && INNER <= 128 ? 2 : 1;
    static constexpr int GROUPS = STATE_GROUPS + OUTPUT_GROUPS;
    static constexpr int THREADS = GROUP * (GROUPS + 1);
    /* A thread's registers at the start; then the loader's, and those of the others: where there
     * are two groups of each kind, outputs need more than states; with two tiles a group, less. */
    static constexpr int REGISTERS = 65536 / THREADS / 8 * 8;
    static constexpr int LOADER_REGISTERS = INNER == 64 ? 40 : 32;
    static constexpr int GROUP_REGISTERS =
        (REGISTERS * (GROUPS + 1) - LOADER_REGISTERS) / GROUPS / 8 * 8;
    static constexpr int MORE = GROUPS == 4 ? 8 : STATE_TILES == 2 ? -8 : 0;
    static constexpr int STATE_REGISTERS = GROUP_REGISTERS - MORE;
    static constexpr int OUTPUT_REGISTERS =
        GROUP_REGISTERS + MORE * STATE_GROUPS / (OUTPUTS ? OUTPUT_GROUPS : 1);
    static constexpr int X_PANELS = OUTPUTS ? INNER / 64 : 0;
    static constexpr int Y_PANELS = INNER / 64, Z_PANELS = OUTER / 64;
    static constexpr int STAGE_BYTES = (X_PANELS + Y_PANELS + Z_PANELS) * PANEL_BYTES;
    static constexpr int STATE = OUTPUTS ? INNER * OUTER : 0; /* elements */
    static constexpr int OTHER_BYTES = 4 * STATE + OUTPUT_GROUPS * Z_PANELS * PANEL_BYTES +
                                       (int)sizeof(hopper_tables<MOST_STAGES>);
    static constexpr int ROOM = (MOST_SHARED_BYTES - OTHER_BYTES) / STAGE_BYTES;
    static constexpr int STAGES = ROOM < MOST_STAGES ? ROOM : MOST_STAGES;
    static_assert(STAGES >= 2); /* a chunk is begun before the one ahead of it is done */
    /* Whether x and y leave a stage before z, by barriers of their own: measured to be of use with
     * these tiles, and to cost more than it brings with others. */
    static constexpr bool TILES_LEAVE = INNER != 128;
    /* Whether a part of a segment is taken from its last chunk to its first, so that the sweep for
     * outputs, which begins with the first, finds it in the L2. Weights then decay from chunk to
     * chunk, for which float16 lacks the range. */
    static constexpr bool BACKWARDS =
        !OUTPUTS && STATE_TILES == 1 && std::is_same_v<T, __nv_bfloat16>;
};

template <typename T, int INNER, int OUTER, bool OUTPUTS> struct hopper_memory {
    using shape = hopper_shape<T, INNER, OUTER, OUTPUTS>;
    unsigned char *base;

    static constexpr int STATES_AT = shape::STAGES * shape::STAGE_BYTES;
    static constexpr int OUT_AT = STATES_AT + 4 * shape::STATE;
    static constexpr int TABLES_AT = OUT_AT + shape::OUTPUT_GROUPS * shape::Z_PANELS * PANEL_BYTES;
    static constexpr int BYTES = TABLES_AT + (int)sizeof(hopper_tables<shape::STAGES>);
    static_assert(BYTES <= MOST_SHARED_BYTES);

    __device__ T *x(int stage) const {
        return (T *)(base + stage * shape::STAGE_BYTES);
    }
    __device__ T *y(int stage) const {
        return x(stage) + shape::X_PANELS * PANEL;
    }
    __device__ T *z(int stage) const {
        return y(stage) + shape::Y_PANELS * PANEL;
    }
    __device__ T *state(int buffer) const {
        return (T *)(base + STATES_AT) + buffer * shape::STATE;
    }
    __device__ T *out(int group) const {
        return (T *)(base + OUT_AT) + group * shape::Z_PANELS * PANEL;
    }
    __device__ hopper_tables<shape::STAGES> &tables() const {
        return *(hopper_tables<shape::STAGES> *)(base + TABLES_AT);
    }
};

#ifdef TNL_HOPPER_CODE

/* Where a block is: its part of the sweep, and what of it a chunk is. */
struct hopper_place {
    const product *p;
    const CUtensorMap *map; /* x, y, z, out */
    sweep_part part;
    int chunks;
    bool packed;

    /* The rows of a chunk. */
    __device__ __forceinline__ int rows(int chunk) const {
        return min(TILE, (int)part.s.rows - TILE * chunk);
    }
    /* The token in the first row of a chunk's tile. Where the product looks forwards its chunks
     * follow each other from the sequence's end on; rows of a tile are in memory's order. */
    __device__ __forceinline__ int token(int chunk) const {
        const int first = (int)part.s.first + TILE * chunk;
        return (int)part.s.begin + (p->future ? (int)part.s.tokens - TILE - first : first);
    }
    /* Whether a chunk's tiles of inputs have rows of other sequences in them. */
    __device__ __forceinline__ bool mixed(int chunk) const {
        return packed && rows(chunk) < TILE;
    }
    /* The place in the product's order, within the chunk, of a row of the tile. */
    __device__ __forceinline__ int order(int row) const {
        return p->future ? TILE - 1 - row : row;
    }
};

/* Element (row, column) of a tile of panels with ROWS rows. */
template <int ROWS, typename T>
static __device__ __forceinline__ T *panel_at(T *tile, int row, int column) {
    return tile_at<PANEL_COLUMNS>(tile + column / PANEL_COLUMNS * (ROWS * PANEL_COLUMNS), row,
                                  column % PANEL_COLUMNS);
}

/* Write a warp's 16 rows of an accumulator, times `scale`, to rows `top` on of a tile; or (rest)
 * what rounding takes from them. */
template <int ROWS, typename T, int N>
static __device__ __forceinline__ void store_fragments(T *tile, int top, const float (&c)[N][4],
                                                       float scale, bool rest) {
    const int row = top + lane_index() % 16;
#pragma unroll
    for (int j = 0; j < N; j += 2) {
        uint32_t m[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float left = scale * c[j + i / 2][i % 2 * 2];
            const float right = scale * c[j + i / 2][i % 2 * 2 + 1];
            m[i] = pack_pair<T>(left, right);
            if (rest) {
                const float2 rounded = unpack_pair<T>(m[i]);
                m[i] = pack_pair<T>(left - rounded.x, right - rounded.y);
            }
        }
        store_matrices(panel_at<ROWS>(tile, row, 8 * (j + lane_index() / 16)), m);
    }
}

/* ---- the loader --------------------------------------------------------------------------- */

/* Make the rows of a chunk's y and z that are another sequence's zero, by one warp. */
template <typename T, typename M>
static __device__ __forceinline__ void clear_rows(const M &shared, const hopper_place &at,
                                                  int chunk, int stage) {
    using shape = typename M::shape;
    const int rows = at.rows(chunk), first = at.p->future ? 0 : rows, count = TILE - rows;
    T *const y = shared.y(stage); /* and z behind it */
    for (int i = lane_index(); i < (shape::Y_PANELS + shape::Z_PANELS) * count * 8; i += 32)
        *(uint4 *)(y + i / (count * 8) * PANEL + (first + i / 8 % count) * PANEL_COLUMNS +
                   i % 8 * 8) = make_uint4(0, 0, 0, 0);
    fence_async_proxy();
}

/* Start loading a tile, from `column` of its tensor on. */
template <int PANELS, typename T>
static __device__ __forceinline__ void load_tile(T *tile, const CUtensorMap *map, barrier *full,
                                                 const hopper_place &at, int column, int chunk) {
#pragma unroll
    for (int i = 0; i < PANELS; i++)
        tma_load(tile + i * PANEL, map, full, column + PANEL_COLUMNS * i, at.token(chunk),
                 at.part.head, (int)at.part.s.batch);
}

/* Load the block's `turn`th chunk into its stage, each tile as soon as there is room. */
template <typename T, typename M>
static __device__ __forceinline__ void load_chunk(const M &shared, const hopper_place &at,
                                                  int turn) {
    using shape = typename M::shape;
    auto &tables = shared.tables();
    const int chunk = shape::BACKWARDS ? at.chunks - 1 - turn : turn;
    const int stage = turn % shape::STAGES, parity = (turn / shape::STAGES - 1) & 1;
    barrier *const full = &tables.full[stage];
    const auto wait = [&](barrier *empty) {
        if (turn >= shape::STAGES)
            barrier_wait(&empty[stage], parity);
    };
    wait(shape::TILES_LEAVE ? tables.empty_y : tables.empty);
    if (elect_one()) {
        barrier_expect(full, shape::STAGE_BYTES);
        load_tile<shape::Y_PANELS>(shared.y(stage), &at.map[1], full, at, 0, chunk);
    }
    if (shape::TILES_LEAVE && shape::X_PANELS > 0)
        wait(tables.empty_x);
    if (elect_one())
        load_tile<shape::X_PANELS>(shared.x(stage), &at.map[0], full, at, 0, chunk);
    if (shape::TILES_LEAVE)
        wait(tables.empty);
    if (elect_one())
        load_tile<shape::Z_PANELS>(shared.z(stage), &at.map[2], full, at, at.part.column, chunk);
}

template <typename T, typename M>
static __device__ __forceinline__ void run_loader(const M &shared, const hopper_place &at) {
    constexpr int STAGES = M::shape::STAGES;
    auto &tables = shared.tables();
    for (int chunk = 0; chunk < at.chunks; chunk++)
        load_chunk<T>(shared, at, chunk);
    const int last = at.chunks - 1;
    if (last < 0 || !at.mixed(last))
        return;
    barrier_wait(&tables.full[last % STAGES], last / STAGES & 1);
    clear_rows<T>(shared, at, last, last % STAGES);
    barrier_arrive(&tables.cleared);
}

/* A warp is done with a stage; or before, where they leave one by one, with one of its tiles. */
static __device__ __forceinline__ void leave_stage(barrier *empty) {
    __syncwarp();
    if (lane_index() == 0)
        barrier_arrive(empty);
}

template <typename M> static __device__ __forceinline__ void leave_tile(barrier *empty) {
    if constexpr (M::shape::TILES_LEAVE)
        leave_stage(empty);
}

/* Wait until a chunk's tiles are there. */
template <typename M>
static __device__ __forceinline__ void wait_for_chunk(const M &shared, const hopper_place &at,
                                                      int chunk) {
    constexpr int STAGES = M::shape::STAGES;
    barrier_wait(&shared.tables().full[chunk % STAGES], chunk / STAGES & 1);
    if (at.mixed(chunk))
        barrier_wait(&shared.tables().cleared, 0);
}

/* ---- the storer --------------------------------------------------------------------------- */

/* The rows of a tile of outputs that are this sequence's. */
template <typename T, int OUTER>
static __device__ __forceinline__ void store_own_rows(T *tile, const hopper_place &at, int chunk) {
    const rows_view &out = at.p->out;
    T *const to =
        (T *)out.data + at.part.s.batch * out.batch + at.part.head * out.head + at.part.column;
    const int token = at.token(chunk);
#pragma unroll 1
    for (int i = lane_index(); i < TILE * OUTER / 8; i += 32) {
        const int row = i / (OUTER / 8), column = i % (OUTER / 8) * 8;
        if (at.order(row) < at.rows(chunk) && at.part.column + column < at.p->outer)
            *(uint4 *)(to + (token + row) * out.token + column) =
                *(const uint4 *)panel_at<TILE>(tile, row, column);
    }
}

template <typename T, int OUTER, typename M>
static __device__ __forceinline__ void run_storer(const M &shared, const hopper_place &at) {
    constexpr int STEP = M::shape::OUTPUT_GROUPS;
    auto &tables = shared.tables();
#pragma unroll 1
    for (int chunk = 0; chunk < at.chunks; chunk++) {
        const int group = chunk % STEP;
        T *const tile = shared.out(group);
        barrier_wait(&tables.out_full[group], chunk / STEP & 1);
        if (at.rows(chunk) < TILE) { /* TMA stores no box that begins before its tensor */
            store_own_rows<T, OUTER>(tile, at, chunk);
        } else if (elect_one()) {
            for (int i = 0; i < M::shape::Z_PANELS; i++)
                tma_store(&at.map[3], tile + i * PANEL, at.part.column + PANEL_COLUMNS * i,
                          at.token(chunk), at.part.head, (int)at.part.s.batch);
            tma_commit();
            tma_wait_read<0>();
        }
        __syncwarp();
        if (lane_index() == 0)
            barrier_arrive(&tables.out_empty[group]);
    }
}

#endif

#endif
