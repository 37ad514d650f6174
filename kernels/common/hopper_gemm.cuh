/*
 * A matrix product on Hopper for 16-bit types, A [m,k] with B [n,k] or, with B_MN, [k,n]; sums in
 * float32; and what becomes of a tile of it while it is in registers: the Output of the kernel.
 *
 * A block makes tiles of 128 rows and 256 columns, one after another. Warpgroup 0 fetches: one of
 * its threads keeps STAGES stages of the operands on their way by TMA. Warpgroups 1 and 2 multiply,
 * 64 rows each, and write their results out by TMA while the stages of the next tile come in; the
 * second of them runs a stage behind the first, so that one's output falls into the other's
 * products. The 256 columns come as two halves; of two matrices B [n,k], a product with both
 * shares A's tiles. With B_MN the products of two pairs of matrices may be added.
 *
 * Two blocks, a cluster, have tiles side by side in M: each fetches one half of B for both. Where
 * there are rows for one tile alone, blocks work alone.
 *
 * Shared memory:
 *     stage 0 | stage 1 | stage 2 | stage 3 | a writer's panels, for each of 8 warps | barriers
 * a stage: A, 128 rows of 64 elements | B, 256 rows of 64 elements, the two halves after another;
 * with B_MN its four panels of 64 columns, 64 steps of k each.
 */
#ifndef TNL_KERNELS_COMMON_HOPPER_GEMM_CUH
#define TNL_KERNELS_COMMON_HOPPER_GEMM_CUH

#include "kernels/common/wgmma.cuh"

namespace hopper_gemm {

constexpr int ROWS = 128; /* of a block's tile */
constexpr int HALF = 128; /* columns of a half of it */
constexpr int DEPTH = 64; /* of a stage: a panel's columns */
constexpr int STAGES = 4;
constexpr int MULTIPLIERS = 2; /* warpgroups */
constexpr int WARPGROUP = 128; /* threads */
constexpr int THREADS = (1 + MULTIPLIERS) * WARPGROUP;
constexpr int WARPS = MULTIPLIERS * WARPGROUP / 32; /* that multiply */
constexpr int WARP_ROWS = 16;
constexpr int GROUP_ROWS = 8; /* cluster tiles: see tile_order */

/* Together the 168 a thread that the block begins with. */
constexpr int FETCHER_REGISTERS = 40, MULTIPLIER_REGISTERS = 232;

constexpr int A_BYTES = ROWS * PANEL_ROW_BYTES;
constexpr int HALF_BYTES = HALF * PANEL_ROW_BYTES;
constexpr int MN_PANEL_BYTES = DEPTH * PANEL_ROW_BYTES;
constexpr int STAGE_BYTES = A_BYTES + 2 * HALF_BYTES;
constexpr int WRITER_PANELS = 2, WRITER_PANEL_BYTES = WARP_ROWS * PANEL_ROW_BYTES;
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
    __device__ void release(int which, int lane) const {
        if (lane < CLUSTER)
            barrier_arrive_at(&empty[which], lane);
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
    for (int tile = cluster; tile < at.order.rows * at.order.columns; tile += clusters) {
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
    }
}

/* A warpgroup: c = its 64 rows of the next tile. */
template <typename T, bool B_MN, int CLUSTER>
static __device__ __forceinline__ void multiply(float (&c)[32][4], stage_ring<CLUSTER> &ring,
                                                int multiplier, int stages) {
    constexpr int A_STEP = 16 * 2, B_STEP = B_MN ? 16 * PANEL_ROW_BYTES : A_STEP; /* bytes */
    const int lane = threadIdx.x % 32;
    int before = 0;
    for (int i = 0; i < stages; i++) {
        const uint64_t a = k_major(ring.stage() + multiplier * 64 * PANEL_ROW_BYTES);
        const uint64_t b = B_MN ? mn_major(ring.stage() + A_BYTES, MN_PANEL_BYTES)
                                : k_major(ring.stage() + A_BYTES);
        barrier_wait(&ring.full[ring.slot], ring.parity);
        wgmma_begin();
#pragma unroll
        for (int step = 0; step < DEPTH / 16; step++)
            wgmma<T, B_MN>(c, further(a, A_STEP * step), further(b, B_STEP * step),
                           i > 0 || step > 0);
        wgmma_commit();
        if (i > 0) {
            wgmma_wait<1>();
            ring.release(before, lane);
        }
        before = ring.slot;
        ring.advance();
    }
    wgmma_wait<0>();
    pin(c);
    ring.release(before, lane);
}

/* ---- output --------------------------------------------------------------------------------- */

/* Writes panels of a warp's 16 rows: through shared memory, two of them by turns. */
template <typename T> struct writer {
    unsigned char *panels;
    int turn = 0;

    __device__ explicit writer(unsigned char *of_the_warp) : panels(of_the_warp) {}
    /* 64 columns: value(j, v) gives fragment j of 8 columns as v[4], like C in mma.cuh. The map's
     * boxes have 16 rows. */
    template <typename F>
    __device__ __forceinline__ void write(const CUtensorMap *map, int row, int column, F value) {
        const int lane = threadIdx.x % 32, panel_row = lane % 16;
        unsigned char *const panel = panels + turn * WRITER_PANEL_BYTES;
        if (lane == 0)
            tma_wait_read<WRITER_PANELS - 1>();
        __syncwarp();
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            float left[4], right[4];
            value(j, left);
            value(j + 1, right);
            const uint32_t m[4] = {pack_pair<T>(left[0], left[1]), pack_pair<T>(left[2], left[3]),
                                   pack_pair<T>(right[0], right[1]),
                                   pack_pair<T>(right[2], right[3])};
            const int chunk = (j + lane / 16) ^ panel_row % 8;
            store_matrices(panel + panel_row * PANEL_ROW_BYTES + chunk * 16, m);
        }
        fence_async_proxy();
        __syncwarp();
        if (lane == 0) {
            tma_store(map, panel, column, row);
            tma_commit();
        }
        turn ^= 1;
    }
    /* The same of a tile's 64 columns from fragment `first` on, as they are. */
    __device__ __forceinline__ void write(const CUtensorMap *map, int row, int column,
                                          const float (&c)[32][4], int first) {
        write(map, row, column, [&](int j, float(&value)[4]) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                value[i] = c[first + j][i];
        });
    }
};

#endif

/* ---- the kernel ----------------------------------------------------------------------------- */

/*
 * Output has
 *     template <typename T> __device__ void write(const float (&c)[32][4], writer<T> &to, int row,
 *                                                 int column) const;
 * which a warp calls: c holds its 16 rows, from `row` on, of tile column `column`.
 */
template <typename T, int CLUSTER, bool B_MN, typename Output>
__global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
    kernel(const __grid_constant__ arguments<Output> at) {
#ifdef TNL_HOPPER_CODE
    extern __shared__ __align__(1024) unsigned char shared[];
    const int warpgroup = threadIdx.x / WARPGROUP, warp = threadIdx.x % WARPGROUP / 32;
    const int cluster = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;
    stage_ring<CLUSTER> ring(shared);
    if (threadIdx.x == 0)
        ring.init();
    cluster_sync();
    wait_for_kernel_before();
    if (warpgroup == 0) {
        give_registers<FETCHER_REGISTERS>();
        if (threadIdx.x == 0)
            fetch<CLUSTER, B_MN>(at, ring, cluster, clusters);
        __syncwarp();
        allow_next_kernel();
    } else {
        take_registers<MULTIPLIER_REGISTERS>();
        const int multiplier = warpgroup - 1, tiles = at.order.rows * at.order.columns;
        writer<T> to(shared + STAGES * STAGE_BYTES +
                     (multiplier * 4 + warp) * WRITER_PANELS * WRITER_PANEL_BYTES);
        if (multiplier == 1 && cluster < tiles && at.stages > 1)
            barrier_wait(&ring.full[1], 0); /* a stage behind */
        for (int tile = cluster; tile < tiles; tile += clusters) {
            int row, column;
            at.order.find(tile, &row, &column);
            float c[32][4];
            multiply<T, B_MN>(c, ring, multiplier, at.stages);
            at.output.template write<T>(
                c, to, (row * CLUSTER + cluster_rank()) * ROWS + multiplier * 64 + warp * WARP_ROWS,
                column);
        }
        if (threadIdx.x % 32 == 0)
            tma_wait_read<0>();
    }
    cluster_sync(); /* what is on its way to this block's memory has come */
#endif
}

/* The map of an operand, or of what a writer writes: boxes of so many rows of a panel. */
static inline tnl_status make_map(const tnl_call *call, const tnl_tensor *t, int rows,
                                  CUtensorMap *map) {
    return tnl_make_tensor_map(call, t, {{PANEL_COLUMNS, (uint32_t)rows}}, map);
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

template <bool B_MN, typename T, typename Output>
static tnl_status launch_type(const tnl_call *call, const arguments<Output> &at) {
    const int tiles = at.order.rows * at.order.columns;
    const int clusters = call->context->multiprocessors / at.cluster;
    const unsigned blocks = (unsigned)((tiles < clusters ? tiles : clusters) * at.cluster);
    return tnl_launch_overlapping(
        call, at.cluster == 1 ? kernel<T, 1, B_MN, Output> : kernel<T, 2, B_MN, Output>,
        dim3(blocks), THREADS, SHARED_BYTES, true, at);
}

template <bool B_MN = false, typename Output>
static tnl_status launch(const tnl_call *call, const arguments<Output> &at) {
    return call->type == TNL_FLOAT16 ? launch_type<B_MN, __half>(call, at)
                                     : launch_type<B_MN, __nv_bfloat16>(call, at);
}

} // namespace hopper_gemm

#endif
