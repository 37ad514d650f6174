/*
 * A matrix product on Hopper for 16-bit types, A [m,k] with B [n,k] or, with B_MN, [k,n]; sums in
 * float32; and what becomes of a tile of it while it is in registers: the Output of the kernel.
 *
 * A block makes tiles of 128 rows and 256 columns, one after another. Warpgroup 0 fetches: one of
 * its threads keeps STAGES stages of the operands on their way by TMA. Warpgroups 1 and 2 multiply,
 * 64 rows each. What they make of a tile they round to the data type and keep in registers, and
 * write it out, a panel of 64 columns at a time, while the products of the next tile's first stages
 * are under way: tensor cores do not wait for it. An output that needs a tile in float32 has it
 * before the next tile's products, with matrices of its own that come as stages too. The 256
 * columns come as two halves; of two matrices B [n,k], a product with both shares A's tiles. With
 * B_MN the products of two pairs of matrices may be added.
 *
 * Two blocks, a cluster, have tiles side by side in M: each fetches one half of B for both. Where
 * there are rows for one tile alone, blocks work alone.
 *
 * What clusters at work at one time read is mostly the same, but only while they keep step does it
 * come from the L2, and nothing makes them keep step. A long product is therefore divided into
 * launches. SGLU's gate for 8192 rows, D = 8192 and g = 22016 in one launch: 15 GB read from
 * memory; in four, of 21 tiles a block: 6. Such a product runs at an H200's power limit, so that
 * what is saved becomes clock: in ms, beside cuBLAS's two GEMMs in 7.35,
 *
 *     tiles a block in a launch     84     42     21     11      6      3
 *     four stages                 7.51   7.25   7.18   7.20   7.22   7.27
 *     three stages                7.23          7.18          7.23
 *
 * With D = 4096 (43 tiles of half the length a block) it is 1.84 in one launch or several. Two
 * stages, or waiting for each stage's products before the next are started with three, leave the
 * tensor cores idle (10.1 and 9.1). A quarter fewer instructions, by roles that the compiler knows
 * to be a warp's (uniform registers), are 0.1 to 1 %.
 *
 * Shared memory:
 *     stage 0 | stage 1 | stage 2 | stage 3 | a writer's panels, for each of 8 warps | barriers
 * a stage: A, 128 rows of 64 elements | B, 256 rows of 64 elements, the two halves after another;
 * with B_MN its four panels of 64 columns, 64 steps of k each.
 */
#ifndef TNL_KERNELS_COMMON_HOPPER_GEMM_CUH
#define TNL_KERNELS_COMMON_HOPPER_GEMM_CUH

#include "kernels/common/hopper_writer.cuh"

namespace hopper_gemm {

constexpr int ROWS = 128; /* of a block's tile */
constexpr int DEPTH = 64; /* of a stage: a panel's columns */
constexpr int STAGES = 4;
constexpr int MULTIPLIERS = 2; /* warpgroups */
constexpr int WARPGROUP = 128; /* threads */
constexpr int THREADS = (1 + MULTIPLIERS) * WARPGROUP;
constexpr int WARPS = MULTIPLIERS * WARPGROUP / 32; /* that multiply */
constexpr int PIECE_EVERY = 2;       /* stages a piece of the tile before is written */
constexpr int GROUP_ROWS = 8;        /* cluster tiles: see tile_order */
constexpr int STAGES_IN_STEP = 2816; /* that clusters keep step for: see above */

/* Together the 168 a thread that the block begins with. */
constexpr int FETCHER_REGISTERS = 40, MULTIPLIER_REGISTERS = 232;

constexpr int A_BYTES = ROWS * PANEL_ROW_BYTES;
constexpr int HALF_BYTES = HALF * PANEL_ROW_BYTES;
constexpr int MN_PANEL_BYTES = DEPTH * PANEL_ROW_BYTES;
constexpr int STAGE_BYTES = A_BYTES + 2 * HALF_BYTES;
constexpr int BARRIERS_AT = STAGES * STAGE_BYTES + WARPS * WRITER_PANELS * WRITER_PANEL_BYTES;
constexpr int SHARED_BYTES = BARRIERS_AT + 2 * STAGES * (int)sizeof(uint64_t);

/* The tiles of clusters, in an order in which those at work at one time cover about as many rows of
 * A as of B, so that both come from the cache: columns of GROUP_ROWS tiles. */
struct tile_order {
    int rows, columns;

    __device__ void find(int index, int *row, int *column) const {
        const int group = index / (GROUP_ROWS * columns), first = group * GROUP_ROWS;
        const int height = min(GROUP_ROWS, rows - first);
        const int within = index - first * columns;
        *row = first + within % height;
        *column = within / height;
    }
};

template <typename Output> struct arguments {
    CUtensorMap a[2], b[2]; /* boxes: of a ROWS rows, of b HALF rows, or with B_MN DEPTH rows */
    int step, second;       /* half i of tile column j begins at row step j + second i of B [n,k] */
    int stages;             /* of a tile: k in panels; */
    int first_stages;       /* with B_MN, so many are of a[0] and b[0], the others of the second */
    int cluster;            /* blocks: 1 or 2 */
    int begin, end;         /* a launch's tiles, in their order */
    tile_order order;
    Output output;
};

#ifdef TNL_HOPPER_CODE

/* ---- stages --------------------------------------------------------------------------------- */

/* Where a thread is in the ring of stages. */
template <int CLUSTER> struct stage_ring {
    unsigned char *stages;
    barrier *full, *empty; /* the stage's bytes have come; every warp that reads it is done */
    int slot = 0, parity = 0;

    __device__ explicit stage_ring(unsigned char *shared)
        : stages(shared), full((barrier *)(shared + BARRIERS_AT)), empty(full + STAGES) {}
    __device__ unsigned char *stage() const {
        return stages + slot * STAGE_BYTES;
    }
    __device__ void advance() {
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        parity ^= slot == 0;
    }
    /* A slot is empty when the warps of both blocks are done: a half of B goes to both. */
    __device__ void init() const {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], CLUSTER * WARPS);
        }
        barrier_init_fence();
    }
    __device__ void release(int which) const {
        if (threadIdx.x % 32 < CLUSTER)
            barrier_arrive_at(&empty[which], threadIdx.x % 32);
    }
};

/* Half `half` of B's stage i, for all blocks of the cluster. */
template <int CLUSTER, bool B_MN, typename Output>
static __device__ __forceinline__ void fetch_half(const arguments<Output> &at, unsigned char *to,
                                                  barrier *full, int half, int column, int i) {
    constexpr int EVERY = (1 << CLUSTER) - 1;
    if constexpr (B_MN) {
        const bool second = i >= at.first_stages;
        const int k = (second ? i - at.first_stages : i) * DEPTH;
        for (int panel = 0; panel < HALF / PANEL_COLUMNS; panel++)
            tma_load_to(EVERY, to + panel * MN_PANEL_BYTES, &at.b[second], full,
                        (2 * column + half) * HALF + panel * PANEL_COLUMNS, k);
    } else {
        tma_load_to(EVERY, to, &at.b[half], full, i * DEPTH, at.step * column + at.second * half);
    }
}

/* One thread: fetch what the block's tiles need. */
template <int CLUSTER, bool B_MN, typename Output>
static __device__ void fetch(const arguments<Output> &at, stage_ring<CLUSTER> &ring, int cluster,
                             int clusters) {
    const int rank = cluster_rank();
    for (int tile = at.begin + cluster; tile < at.end; tile += clusters) {
        int row, column;
        at.order.find(tile, &row, &column);
        const int a_row = (row * CLUSTER + rank) * ROWS;
        for (int i = 0; i < at.stages; i++, ring.advance()) {
            barrier *const full = &ring.full[ring.slot];
            unsigned char *const a = ring.stage(), *const b = a + A_BYTES;
            const bool second = B_MN && i >= at.first_stages;
            barrier_wait(&ring.empty[ring.slot], ring.parity ^ 1);
            barrier_expect(full, STAGE_BYTES);
            for (int half = rank; half < 2; half += CLUSTER)
                fetch_half<CLUSTER, B_MN>(at, b + half * HALF_BYTES, full, half, column, i);
            tma_load(a, &at.a[second], full, (second ? i - at.first_stages : i) * DEPTH, a_row);
        }
        if constexpr (Output::LOADS > 0)
            for (int i = 0; i < Output::LOADS; i++, ring.advance()) {
                barrier *const full = &ring.full[ring.slot];
                barrier_wait(&ring.empty[ring.slot], ring.parity ^ 1);
                barrier_expect(full, Output::LOAD_BYTES);
                at.output.load(ring.stage(), full, i, a_row, column);
            }
    }
}

/* A warpgroup: start one stage of its 64 rows, do something else, and wait for the stage before. */
template <typename T, bool B_MN, int CLUSTER, typename F>
static __device__ __forceinline__ void multiply_stage(float (&c)[32][4], stage_ring<CLUSTER> &ring,
                                                      int multiplier, bool adds, F meanwhile) {
    constexpr int A_STEP = 16 * 2, B_STEP = B_MN ? 16 * PANEL_ROW_BYTES : A_STEP; /* bytes */
    const uint64_t a = k_major(ring.stage() + multiplier * 64 * PANEL_ROW_BYTES);
    const uint64_t b =
        B_MN ? mn_major(ring.stage() + A_BYTES, MN_PANEL_BYTES) : k_major(ring.stage() + A_BYTES);
    barrier_wait(&ring.full[ring.slot], ring.parity);
    wgmma_begin();
#pragma unroll
    for (int step = 0; step < DEPTH / 16; step++)
        wgmma<T, B_MN>(c, further(a, A_STEP * step), further(b, B_STEP * step), adds || step > 0);
    wgmma_commit();
    meanwhile();
    if (adds) {
        wgmma_wait<1>();
        ring.release(ring.slot == 0 ? STAGES - 1 : ring.slot - 1);
    }
    ring.advance();
}

/* A warpgroup: c = its 64 rows of the next tile; meanwhile, write_piece(panel, piece) for PANELS
 * times PIECES, not at each stage, so that products do not run out. */
template <typename T, bool B_MN, int PANELS, int PIECES, int CLUSTER, typename F>
static __device__ __forceinline__ void multiply(float (&c)[32][4], stage_ring<CLUSTER> &ring,
                                                int multiplier, int stages, F write_piece) {
    constexpr int STEPS = PIECES * PIECE_EVERY; /* of a panel */
#pragma unroll
    for (int panel = 0; panel < PANELS; panel++)
#pragma unroll(PIECES == 1 ? STEPS : 1) /* the panel is in registers, which piece it is is not */
        for (int step = 0; step < STEPS; step++) {
            const int i = panel * STEPS + step;
            const auto write = [&] {
                if (step % PIECE_EVERY == PIECE_EVERY - 1)
                    write_piece(panel, step / PIECE_EVERY);
            };
            if (i < stages)
                multiply_stage<T, B_MN>(c, ring, multiplier, i > 0, write);
            else
                write();
        }
    for (int i = PANELS * STEPS; i < stages; i++)
        multiply_stage<T, B_MN>(c, ring, multiplier, i > 0, [] {});
    wgmma_wait<0>();
    pin(c);
    ring.release(ring.slot == 0 ? STAGES - 1 : ring.slot - 1);
}

/* ---- output --------------------------------------------------------------------------------- */

/* A warp: hand c to an output that has stages of its own, with its rows of each, `first_row` of the
 * tile on. What it stores out of a stage is read before the stage is given back. */
template <typename T, int CLUSTER, typename Output>
static __device__ __forceinline__ void
take_with_stages(const float (&c)[32][4], stage_ring<CLUSTER> &ring, const Output &output,
                 int first_row, int row, int column) {
#pragma unroll
    for (int i = 0; i <= Output::LOADS; i++) {
        const int before = ring.slot == 0 ? STAGES - 1 : ring.slot - 1;
        if (i < Output::LOADS) {
            barrier_wait(&ring.full[ring.slot], ring.parity);
            output.template take<T>(c, i, ring.stage() + first_row * PANEL_ROW_BYTES, row, column);
            ring.advance();
        }
        if (i > 0) {
            if (threadIdx.x % 32 == 0 && i < Output::LOADS)
                tma_wait_read<1>();
            else if (threadIdx.x % 32 == 0)
                tma_wait_read<0>();
            __syncwarp();
            ring.release(before);
        }
    }
}

#endif

/* ---- the kernel ----------------------------------------------------------------------------- */

/*
 * Output has
 *     static constexpr int PANELS, PIECES;
 *     template <typename T> __device__ void take(const float (&c)[32][4], panel_pairs *kept,
 *                                                writer &to, int row, int column) const;
 *     template <typename T> __device__ void write(int panel, int piece, const panel_pairs &kept,
 *                                                 writer &to, int row, int column) const;
 *     static constexpr int LOADS = 0;
 * which a warp calls with its 16 rows, from `row` on, of tile column `column`: when c is complete,
 * to keep what is to be written later (kept[PANELS]; it may write at once instead), and then for
 * each panel, to write it, in PIECES pieces. Or, with PANELS 0,
 *     static constexpr int LOADS, LOAD_BYTES;
 *     __device__ void load(unsigned char *stage, barrier *full, int i, int row, int column) const;
 *     template <typename T> __device__ void take(const float (&c)[32][4], int i,
 *                                                unsigned char *stage, int row, int column) const;
 * where the first brings LOAD_BYTES from memory into a stage, for a tile whose rows begin with
 * `row`, behind the operands' stages, and the second takes c with a warp's rows of such a stage, in
 * place of which it may store other panels of so many rows, as a group of its lane 0.
 */
template <typename T, int CLUSTER, bool B_MN, typename Output>
__global__ void TNL_CLUSTER(CLUSTER) __launch_bounds__(THREADS, 1)
    kernel(const __grid_constant__ arguments<Output> at) {
    static_assert(Output::PANELS <= TILE_PANELS, "no more than a tile has");
    static_assert(Output::PIECES > 0 && (Output::PANELS == 0 || Output::LOADS == 0), "see above");
#ifdef TNL_HOPPER_CODE
    extern __shared__ __align__(1024) unsigned char shared[];
    const int warpgroup = warp_number() / 4, warp = warp_number() % 4;
    const int cluster = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;
    stage_ring<CLUSTER> ring(shared);
    if (threadIdx.x == 0)
        ring.init();
    cluster_sync();
    wait_for_kernel_before();
    if (warpgroup == 0) {
        give_registers<FETCHER_REGISTERS>();
        if (warp == 0 && elect_one())
            fetch<CLUSTER, B_MN>(at, ring, cluster, clusters);
        __syncwarp();
        allow_next_kernel();
    } else {
        take_registers<MULTIPLIER_REGISTERS>();
        constexpr int PANELS = Output::PANELS, PIECES = Output::PIECES;
        const int multiplier = warpgroup - 1;
        writer to(shared + STAGES * STAGE_BYTES +
                  (multiplier * 4 + warp) * WRITER_PANELS * WRITER_PANEL_BYTES);
        panel_pairs kept[PANELS + !PANELS];
        int row = 0, column = -1; /* of this warp, of the tile before */
        const auto write_piece = [&](int panel, int piece) {
            if constexpr (PANELS > 0)
                if (column >= 0)
                    at.output.template write<T>(panel, piece, kept[panel], to, row, column);
        };
        for (int tile = at.begin + cluster; tile < at.end; tile += clusters) {
            float c[32][4];
            multiply<T, B_MN, PANELS, PIECES>(c, ring, multiplier, at.stages, write_piece);
            at.order.find(tile, &row, &column);
            const int first_row = multiplier * 64 + warp * WARP_ROWS;
            row = (row * CLUSTER + cluster_rank()) * ROWS + first_row;
            if constexpr (Output::LOADS > 0)
                take_with_stages<T>(c, ring, at.output, first_row, row, column);
            else
                at.output.template take<T>(c, kept, to, row, column);
        }
#pragma unroll
        for (int panel = 0; panel < PANELS; panel++)
#pragma unroll 1
            for (int piece = 0; piece < PIECES; piece++)
                write_piece(panel, piece);
        if (threadIdx.x % 32 == 0)
            tma_wait_read<0>();
    }
    cluster_sync(); /* what is on its way to this block's memory has come */
#endif
}

/* Of the call's first `count` tensors, those of its data type. */
static inline const char *rejects_tensors(const tnl_call *call, int count) {
    for (int i = 0; i < count; i++)
        if (call->tensor[i].data && call->tensor[i].type == call->type &&
            !tnl_allows_tensor_map(&call->tensor[i]))
            return "wants rows, strides and pointers of 16 bytes";
    return rejects_device(call);
}

/* The map of an operand, or of what a writer writes: boxes of so many rows of a panel. */
static inline tnl_status make_map(const tnl_call *call, const tnl_tensor *t, int rows,
                                  CUtensorMap *map) {
    return tnl_make_tensor_map(call, t, {{PANEL_COLUMNS, (uint32_t)rows}}, map);
}

/* A map to be made: by default of what a writer writes. */
struct wanted_map {
    const tnl_tensor *tensor;
    CUtensorMap *map;
    int rows = WARP_ROWS;
};

/* Those whose tensors are there. */
template <int COUNT>
static tnl_status make_maps(const tnl_call *call, const wanted_map (&maps)[COUNT]) {
    tnl_status status = TNL_OK;
    for (int i = 0; i < COUNT && status == TNL_OK; i++)
        if (maps[i].tensor->data)
            status = make_map(call, maps[i].tensor, maps[i].rows, maps[i].map);
    return status;
}

template <typename Output>
static void set_tiles(int64_t rows, int64_t columns, int step, int64_t stages,
                      arguments<Output> *at) {
    at->cluster = rows > ROWS ? 2 : 1;
    at->order.rows = (int)ceil_div(rows, at->cluster * ROWS);
    at->order.columns = (int)ceil_div(columns, step);
    at->step = step;
    at->stages = (int)stages;
}

/* All but the output: the product of a with b[0] and b[1], 128 columns a tile of each; or with b[0]
 * alone, 256 columns a tile, where b[1] is NULL. */
template <typename Output>
static tnl_status set_operands(const tnl_call *call, const tnl_tensor *a,
                               const tnl_tensor *const (&b)[2], arguments<Output> *at) {
    set_tiles(a->shape[0], b[0]->shape[0], b[1] ? HALF : 2 * HALF, ceil_div(a->shape[1], DEPTH),
              at);
    at->second = b[1] ? 0 : HALF;
    tnl_status status = make_map(call, a, ROWS, &at->a[0]);
    for (int i = 0; i < 2 && status == TNL_OK; i++)
        status = make_map(call, b[i] ? b[i] : b[0], HALF, &at->b[i]);
    return status;
}

/* The same with B_MN: the product of a[0] and b[0], to which that of a[1] and b[1], of the same
 * shapes, is added where they are not NULL. */
template <typename Output>
static tnl_status set_operands_mn(const tnl_call *call, const tnl_tensor *const (&a)[2],
                                  const tnl_tensor *const (&b)[2], arguments<Output> *at) {
    at->first_stages = (int)ceil_div(a[0]->shape[1], DEPTH);
    set_tiles(a[0]->shape[0], b[0]->shape[1], 2 * HALF, (a[1] ? 2 : 1) * at->first_stages, at);
    tnl_status status = TNL_OK;
    for (int i = 0; i < 2 && a[i] && status == TNL_OK; i++) {
        status = make_map(call, a[i], ROWS, &at->a[i]);
        if (status == TNL_OK)
            status = make_map(call, b[i], DEPTH, &at->b[i]);
    }
    return status;
}

/* Whether [rows,k] times [k,columns] is for a library that shares k among blocks: it has tiles for
 * less than half of the multiprocessors, and each takes long. */
static inline bool wants_k_shared(const tnl_call *call, int64_t rows, int64_t columns, int64_t k) {
    const int64_t tiles = ceil_div(rows, ROWS) * ceil_div(columns, 2 * HALF);
    return 2 * tiles < call->context->multiprocessors && k > 32 * DEPTH;
}

/* In as many launches as clusters would else lose step. */
template <bool B_MN, typename T, typename Output>
static tnl_status launch_type(const tnl_call *call, arguments<Output> at) {
    const int tiles = at.order.rows * at.order.columns;
    const int most = call->context->multiprocessors / at.cluster;
    const int clusters = tiles < most ? tiles : most;
    const int64_t waves = ceil_div(tiles, clusters);
    const int64_t launches = ceil_div(waves * at.stages, STAGES_IN_STEP);
    const int each = (int)ceil_div(waves, launches) * clusters;
    tnl_status status = TNL_OK;
    for (at.begin = 0; at.begin < tiles && status == TNL_OK; at.begin = at.end) {
        at.end = at.begin + each < tiles ? at.begin + each : tiles;
        status = tnl_launch_overlapping(
            call, at.cluster == 1 ? kernel<T, 1, B_MN, Output> : kernel<T, 2, B_MN, Output>,
            dim3((unsigned)(clusters * at.cluster)), THREADS, SHARED_BYTES, true, at);
    }
    return status;
}

template <bool B_MN = false, typename Output>
static tnl_status launch(const tnl_call *call, const arguments<Output> &at) {
    return call->type == TNL_FLOAT16 ? launch_type<B_MN, __half>(call, at)
                                     : launch_type<B_MN, __nv_bfloat16>(call, at);
}

} // namespace hopper_gemm

#endif
