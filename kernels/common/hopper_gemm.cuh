/*
 * A matrix product on Hopper for 16-bit types, C = A B^T with A [m,k] and B [n,k], sums in float32,
 * and what becomes of a tile of C while it is in registers: the Output of the kernel.
 *
 * A block makes tiles of 128 rows and 256 columns, one after another. Warpgroup 0 fetches: one of
 * its threads keeps STAGES stages of the operands on their way by TMA. Warpgroups 1 and 2 multiply,
 * 64 rows each, and write their results out by TMA while the stages of the next tile come in; the
 * second of them runs a stage behind the first, so that one's output falls into the other's
 * products. The 256 rows of B come as two halves, which may be of two matrices: a product with
 * both shares A's tiles.
 *
 * Two blocks, a cluster, have tiles side by side in M: each fetches one half of B for both.
 *
 * Shared memory:
 *     stage 0 | stage 1 | stage 2 | stage 3 | a writer's panels, for each of 8 warps | barriers
 * a stage: A, 128 rows of 64 elements | B, 256 rows of 64 elements, the two halves after another.
 */
#ifndef TNL_KERNELS_COMMON_HOPPER_GEMM_CUH
#define TNL_KERNELS_COMMON_HOPPER_GEMM_CUH

#include "kernels/common/wgmma.cuh"

namespace hopper_gemm {

constexpr int ROWS = 128; /* of a block's tile */
constexpr int HALF = 128; /* columns of a half of it */
constexpr int DEPTH = 64; /* of a stage: a panel's columns */
constexpr int STAGES = 4;
constexpr int CLUSTER = 2;
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
    CUtensorMap a, b[2]; /* b: of the matrix that each half is of; boxes of ROWS and HALF rows */
    int step, second;    /* half i of tile column j begins at row step j + second i of B */
    int stages;          /* of a tile: k in panels */
    tile_order order;
    Output output;
};

#ifdef TNL_HOPPER_CODE

/* ---- stages --------------------------------------------------------------------------------- */

/* Where a thread is in the ring of stages. */
struct stage_ring {
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

/* One thread: fetch what the block's tiles need. */
template <typename Output>
static __device__ void fetch(const arguments<Output> &at, stage_ring &ring, int cluster,
                             int clusters) {
    const int rank = cluster_rank();
    for (int tile = cluster; tile < at.order.rows * at.order.columns; tile += clusters) {
        int row, column;
        at.order.find(tile, &row, &column);
        const int a_row = (row * CLUSTER + rank) * ROWS;
        for (int i = 0; i < at.stages; i++, ring.advance()) {
            barrier *const full = &ring.full[ring.slot];
            unsigned char *const a = ring.stage();
            barrier_wait(&ring.empty[ring.slot], ring.parity ^ 1);
            barrier_expect(full, STAGE_BYTES);
            for (int half = rank; half < 2; half += CLUSTER)
                tma_load_to((1 << CLUSTER) - 1, a + A_BYTES + half * HALF_BYTES, &at.b[half], full,
                            i * DEPTH, at.step * column + at.second * half);
            tma_load(a, &at.a, full, i * DEPTH, a_row);
        }
    }
}

/* A warpgroup: c = its 64 rows of the next tile. */
template <typename T>
static __device__ __forceinline__ void multiply(float (&c)[32][4], stage_ring &ring, int multiplier,
                                                int stages) {
    const int lane = threadIdx.x % 32;
    int before = 0;
    for (int i = 0; i < stages; i++) {
        const uint64_t a = k_major(ring.stage() + multiplier * 64 * PANEL_ROW_BYTES);
        const uint64_t b = k_major(ring.stage() + A_BYTES);
        barrier_wait(&ring.full[ring.slot], ring.parity);
        wgmma_begin();
#pragma unroll
        for (int step = 0; step < DEPTH / 16; step++)
            wgmma<T, false>(c, further(a, 32 * step), further(b, 32 * step), i > 0 || step > 0);
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
template <typename T, typename Output>
__global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
    kernel(const __grid_constant__ arguments<Output> at) {
#ifdef TNL_HOPPER_CODE
    extern __shared__ __align__(1024) unsigned char shared[];
    const int warpgroup = threadIdx.x / WARPGROUP, warp = threadIdx.x % WARPGROUP / 32;
    const int cluster = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;
    stage_ring ring(shared);
    if (threadIdx.x == 0)
        ring.init();
    cluster_sync();
    wait_for_kernel_before();
    if (warpgroup == 0) {
        give_registers<FETCHER_REGISTERS>();
        if (threadIdx.x == 0)
            fetch(at, ring, cluster, clusters);
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
            multiply<T>(c, ring, multiplier, at.stages);
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

/* All but the output: the product of a with b[0] and b[1], 128 columns a tile of each; or with b[0]
 * alone, 256 columns a tile, where b[1] is NULL. */
template <typename Output>
static tnl_status set_operands(const tnl_call *call, const tnl_tensor *a,
                               const tnl_tensor *const (&b)[2], arguments<Output> *at) {
    at->step = b[1] ? HALF : 2 * HALF;
    at->second = b[1] ? 0 : HALF;
    at->order.rows = (int)ceil_div(a->shape[0], CLUSTER * ROWS);
    at->order.columns = (int)ceil_div(b[0]->shape[0], at->step);
    at->stages = (int)ceil_div(a->shape[1], DEPTH);
    tnl_status status = make_map(call, a, ROWS, &at->a);
    for (int i = 0; i < 2 && status == TNL_OK; i++)
        status = make_map(call, b[i] ? b[i] : b[0], HALF, &at->b[i]);
    return status;
}

template <typename T, typename Output>
static tnl_status launch(const tnl_call *call, const arguments<Output> &at) {
    const int tiles = at.order.rows * at.order.columns;
    const int clusters = call->context->multiprocessors / CLUSTER;
    return tnl_launch_overlapping(call, kernel<T, Output>,
                                  dim3(CLUSTER * (unsigned)(tiles < clusters ? tiles : clusters)),
                                  THREADS, SHARED_BYTES, true, at);
}

} // namespace hopper_gemm

#endif
