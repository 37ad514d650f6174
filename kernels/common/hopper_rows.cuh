/*
 * The matrix product of a few rows on Hopper, C = X W^T with X [m,k], W [n,k] and m at most 64, in
 * 16-bit types with sums in float32: all its time goes into reading W once, and TMA keeps most of
 * the shared memory's size of it on its way.
 *
 * W is the left operand: the products are of 64 features (rows) by ROWS rows of X (columns). A
 * block has up to 128 features, 64 each of its two warpgroups, about as many as its share of the
 * device; one warp more fetches W, another X. With 64 features and fewer the warpgroups share k,
 * panel by panel, and the second's sums are added to the first's. With SPLIT 2 (and one matrix)
 * it's two blocks, a cluster, that share k, and have twice the features together, which halves what
 * is read of X.
 *
 * Weights are asked for while the kernels ahead still run, as many as shared memory holds, where
 * they are settled (core/dispatch.h).
 *
 * Shared memory:
 *     stages | the second half's sums, for the first | barriers
 * a stage: `panels` times (a panel of W's features of each matrix | a panel of ROWS rows of X).
 * Products read 64 rows from a panel of fewer features too; what lies behind it makes sums that
 * nobody looks at.
 *
 * On an H200, down for 16 rows, D = 4096 and g = 11264, cold, in microseconds: 26.2 to
 * 27.1, an empty kernel 2.9, and plain reads of W 23.5. In the run of 26.6 to 27.1 it took 27.9
 * with one thread that asks for W and X in a branch of its own, where each copy costs a loop over
 * the warp's threads, and with barriers of the cluster around the exchange, which wait for all
 * memory. Earlier, when that was 26.3: with L2 reading 256 bytes at least 27.7 to 28.7; with SPLIT
 * 1 27.0; with SPLIT 4 33.5, since the last cluster of four finds no place until another has ended;
 * with X multicast to two blocks instead 30.7. In a loop without rests: stages of half or of three
 * quarters the size 0.2 more, half as much again 0.2 more; W brought to L2 one to eight stages
 * ahead 0.3 to 6.0 more.
 *
 * Other designs, beside this one's 25.8 to 26.3, a floor of 23.4 to 23.7 and one row's 24.1 to
 * 24.5: mma.sync with X's half resident and W straight from memory into registers, whose pieces of
 * 64 bytes a row halve the memory's rate however many are on their way (46 to 49; 41 with L2
 * reading 256 bytes); rings of each warp's own, filled by cp.async in pieces of 256 and 512 bytes a
 * row, without barriers and maps: two blocks that share k 26.8 to 29.9, with X for 32 features a
 * block and no cluster 27.3, for 16 features 29.7 to 31.4.
 */
#ifndef TNL_KERNELS_COMMON_HOPPER_ROWS_CUH
#define TNL_KERNELS_COMMON_HOPPER_ROWS_CUH

#include "kernels/common/wgmma.cuh"

namespace hopper_rows {

constexpr int MOST_ROWS = 64;
constexpr int WARPGROUP = 128, MULTIPLIERS = 2, THREADS = MULTIPLIERS * WARPGROUP + 2 * 32;
constexpr int WEIGHTS_WARP = MULTIPLIERS * WARPGROUP / 32, ROWS_WARP = WEIGHTS_WARP + 1;
constexpr int MOST_FEATURES = 64 * MULTIPLIERS;
constexpr int STAGE_BYTES_LEAST = 32 << 10, STAGES_BYTES = 192 << 10, MOST_STAGES = 16;
constexpr int FEW_FEATURES = 48;                   /* of a block: with fewer k is split */
constexpr int SHARED_STAGE_BYTES_LEAST = 48 << 10; /* where warpgroups share k */
static_assert(2 * FEW_FEATURES < MOST_FEATURES, "a cluster's tile has all of its features");

template <int MATRICES, typename Output> struct arguments {
    CUtensorMap x, w[MATRICES];
    int rows, features;    /* m, n */
    int features_of_block; /* a multiple of 8 */
    int panels, stages;    /* of a stage; in shared memory */
    int steps;             /* stages that all of k has */
    bool settled;          /* the weights are, as in core/dispatch.h */
    Output output;
};

/* The sums of a thread: of each matrix 64 features by ROWS rows of X, as C in mma.cuh. */
template <int MATRICES, int ROWS> using sums = float[MATRICES][ROWS / 8][4];

/* The second half's sums, for each row of X; products also read what lies there: see above. */
constexpr int EXCHANGE_ROW_BYTES = MOST_FEATURES * (int)sizeof(float);
static_assert(16 * EXCHANGE_ROW_BYTES >= 63 * PANEL_ROW_BYTES, "as far as products read");

template <int MATRICES, int ROWS> static __host__ __device__ int panel_bytes(int features) {
    return (MATRICES * features + ROWS) * PANEL_ROW_BYTES;
}

/* Whether a block's warpgroups share k. All the features are then one tile to each block. */
template <int SPLIT, int MATRICES, typename Output>
static __host__ __device__ bool shared_by_warpgroups(const arguments<MATRICES, Output> &at) {
    return SPLIT == 1 && at.features_of_block <= 64;
}

#ifdef TNL_HOPPER_CODE

struct stage_ring {
    unsigned char *stages;
    barrier *full, *empty;
    int count, bytes, slot = 0, parity = 0;

    __device__ unsigned char *stage() const {
        return stages + slot * bytes;
    }
    __device__ void advance() {
        slot = slot + 1 == count ? 0 : slot + 1;
        parity ^= slot == 0;
    }
};

/* A block's tile of features and its share of k. */
struct share {
    int feature, begin, end;
};

template <int SPLIT, int MATRICES, typename Output>
static __device__ share share_of(const arguments<MATRICES, Output> &at, int tile, int rank) {
    return {tile * at.features_of_block, at.steps * rank / SPLIT, at.steps * (rank + 1) / SPLIT};
}

/* W's part of a tile's stages, by one warp, which announces all bytes of a stage. */
template <int MATRICES, int ROWS, typename Output>
static __device__ void fetch_weights(const arguments<MATRICES, Output> &at, stage_ring &ring,
                                     const share &of) {
    const int w_bytes = at.features_of_block * PANEL_ROW_BYTES;
    for (int i = of.begin; i < of.end; i++, ring.advance()) {
        barrier_wait(&ring.empty[ring.slot], ring.parity ^ 1);
        if (!elect_one())
            continue;
        barrier *const full = &ring.full[ring.slot];
        unsigned char *to = ring.stage();
        barrier_expect(full, (uint32_t)ring.bytes);
        for (int panel = 0; panel < at.panels; panel++, to += ROWS * PANEL_ROW_BYTES)
            for (int j = 0; j < MATRICES; j++, to += w_bytes)
                tma_load(to, &at.w[j], full, (i * at.panels + panel) * PANEL_COLUMNS, of.feature);
    }
}

/* X's part, by another. */
template <int MATRICES, int ROWS, typename Output>
static __device__ void fetch_rows(const arguments<MATRICES, Output> &at, stage_ring &ring,
                                  const share &of) {
    const int w_bytes = MATRICES * at.features_of_block * PANEL_ROW_BYTES;
    for (int i = of.begin; i < of.end; i++, ring.advance()) {
        barrier_wait(&ring.empty[ring.slot], ring.parity ^ 1);
        if (!elect_one())
            continue;
        unsigned char *to = ring.stage();
        for (int panel = 0; panel < at.panels; panel++, to += ROWS * PANEL_ROW_BYTES)
            tma_load(to += w_bytes, &at.x, &ring.full[ring.slot],
                     (i * at.panels + panel) * PANEL_COLUMNS, 0);
    }
}

/* What a warpgroup multiplies: so many panels of a stage, from the first on, which lies so many
 * bytes into it, `step` bytes apart, and of them W from this feature of the block on. */
struct part {
    int panels, first, step, feature;
};

template <typename T, int MATRICES, int ROWS, typename Output>
static __device__ __forceinline__ void
multiply(sums<MATRICES, ROWS> &c, const arguments<MATRICES, Output> &at, stage_ring &ring,
         const share &of, const part &mine) {
    const int w_bytes = at.features_of_block * PANEL_ROW_BYTES;
    for (int i = of.begin; i < of.end; i++, ring.advance()) {
        const unsigned char *from = ring.stage() + mine.first;
        barrier_wait(&ring.full[ring.slot], ring.parity);
        wgmma_begin();
#pragma unroll 1 /* or the compiler fences each copy */
        for (int panel = 0; panel < mine.panels; panel++) {
            const uint64_t x = k_major(from + MATRICES * w_bytes);
#pragma unroll
            for (int j = 0; j < MATRICES; j++) {
                const uint64_t w = k_major(from + j * w_bytes + mine.feature * PANEL_ROW_BYTES);
#pragma unroll
                for (int step = 0; step < PANEL_COLUMNS / 16; step++)
                    wgmma<T, false>(c[j], further(w, 32 * step), further(x, 32 * step), true);
            }
            from += mine.step;
        }
        wgmma_commit();
        wgmma_wait<0>();
        if (threadIdx.x % 32 == 0)
            barrier_arrive(&ring.empty[ring.slot]);
    }
#pragma unroll
    for (int j = 0; j < MATRICES; j++)
        pin(c[j]);
}

/* The first half's threads, the first warpgroup's or (SPLIT 2) the first block's, add the sums of
 * the second's of the same number. Between blocks the barrier `came` counts them, once: a cluster
 * has one tile. */
template <int SPLIT, int MATRICES, int ROWS>
static __device__ __forceinline__ void exchange(sums<MATRICES, ROWS> &c, float4 *shared,
                                                barrier *came, int threads, int half) {
    constexpr int COUNT = sizeof c / sizeof(float4), THREADS_OF_HALF = SPLIT * WARPGROUP;
    static_assert(COUNT * THREADS_OF_HALF * sizeof(float4) <= ROWS * EXCHANGE_ROW_BYTES, "fits");
    float(*const sum)[4] = c[0];
    float4 *const mine = shared + threadIdx.x % THREADS_OF_HALF;
    const bool multiplies = (int)threadIdx.x < threads;
    if (multiplies && half == 1)
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            if (SPLIT == 1)
                mine[i * THREADS_OF_HALF] = {sum[i][0], sum[i][1], sum[i][2], sum[i][3]};
            else
                store_async_at(&mine[i * THREADS_OF_HALF], 0, came, sum[i]);
    if (SPLIT == 1)
        __syncthreads();
    if (!multiplies || half == 1)
        return;
    if (SPLIT == 2)
        barrier_wait(came, 0);
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        const float4 other = mine[i * THREADS_OF_HALF];
        sum[i][0] += other.x, sum[i][1] += other.y, sum[i][2] += other.z, sum[i][3] += other.w;
    }
}

template <int MATRICES, int ROWS, typename Output>
static __device__ __forceinline__ void write(const sums<MATRICES, ROWS> &c,
                                             const arguments<MATRICES, Output> &at, int feature) {
    const int lane = threadIdx.x % 32;
    const int end = min(feature + at.features_of_block, at.features);
    const int mine = feature + threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
    for (int tile = 0; tile < ROWS / 8; tile++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int row = 8 * tile + lane % 4 * 2 + e % 2, of = mine + 8 * (e / 2);
            if (row >= at.rows || of >= end)
                continue;
            float value[MATRICES];
#pragma unroll
            for (int j = 0; j < MATRICES; j++)
                value[j] = c[j][tile][e];
            at.output.write(row, of, value);
        }
}

#endif

/* Output as in cuda_streaming.cuh. */
template <typename T, int MATRICES, int ROWS, int SPLIT, typename Output>
__global__ void TNL_CLUSTER(SPLIT) __launch_bounds__(THREADS, 1)
    kernel(const __grid_constant__ arguments<MATRICES, Output> at) {
#ifdef TNL_HOPPER_CODE
    extern __shared__ __align__(1024) unsigned char shared[];
    const int warp = warp_number(), group = warp / 4, rank = SPLIT == 1 ? 0 : cluster_rank();
    float4 *const others = (float4 *)(shared + STAGES_BYTES);
    barrier *const barriers = (barrier *)(shared + STAGES_BYTES + ROWS * EXCHANGE_ROW_BYTES);
    const int bytes = panel_bytes<MATRICES, ROWS>(at.features_of_block);
    stage_ring ring = {shared, barriers, barriers + MOST_STAGES, at.stages, at.panels * bytes};
    const bool many = at.features_of_block > 64, shares_k = shared_by_warpgroups<SPLIT>(at);
    const int multipliers = many || shares_k ? 2 : 1;
    barrier *const came = barriers + 2 * MOST_STAGES;
    const part mine = shares_k ? part{at.panels / 2, group * bytes, 2 * bytes, 0}
                               : part{at.panels, 0, bytes, 64 * group};
    if (threadIdx.x == WEIGHTS_WARP * 32) {
        prefetch_map(&at.x);
        for (int i = 0; i < MATRICES; i++)
            prefetch_map(&at.w[i]);
    }
    if (threadIdx.x == 0) {
        for (int i = 0; i < at.stages; i++) {
            barrier_init(&ring.full[i], 1);
            barrier_init(&ring.empty[i], multipliers * WARPGROUP / 32);
        }
        barrier_init(came, 1);
        barrier_init_fence();
        if (SPLIT == 2 && rank == 0)
            barrier_expect(came, multipliers * WARPGROUP * (uint32_t)sizeof(sums<MATRICES, ROWS>));
    }
    __syncthreads();
    if (SPLIT == 2)
        cluster_announce();
    allow_next_kernel();
    if (SPLIT == 2) /* exchange() writes to the other block */
        cluster_await_all();
    if (warp != WEIGHTS_WARP || !at.settled)
        wait_for_kernel_before();
    for (int tile = blockIdx.x / SPLIT; tile * at.features_of_block < at.features;
         tile += gridDim.x / SPLIT) {
        const share of = share_of<SPLIT>(at, tile, rank);
        sums<MATRICES, ROWS> c = {};
        if (warp == WEIGHTS_WARP) {
            fetch_weights<MATRICES, ROWS>(at, ring, of);
        } else if (warp == ROWS_WARP) {
            fetch_rows<MATRICES, ROWS>(at, ring, of);
        } else if (group < multipliers) {
            multiply<T, MATRICES, ROWS>(c, at, ring, of, mine);
        }
        if (SPLIT == 2 || shares_k)
            exchange<SPLIT, MATRICES, ROWS>(c, others, came, multipliers * WARPGROUP,
                                            SPLIT == 2 ? rank : group);
        if (rank == 0 && group < (many ? 2 : 1))
            write<MATRICES, ROWS>(c, at, of.feature);
    }
#endif
}

template <typename T, int MATRICES, int ROWS, int SPLIT, typename Output>
static tnl_status launch_kernel(const tnl_call *call, const tnl_tensor *x,
                                const tnl_tensor *const (&w)[MATRICES],
                                arguments<MATRICES, Output> *at) {
    const int clusters = call->context->multiprocessors / SPLIT;
    const int64_t share = ceil_div(ceil_div(at->features, clusters), 8) * 8;
    at->features_of_block = (int)(share < MOST_FEATURES ? share : MOST_FEATURES);
    const int bytes = panel_bytes<MATRICES, ROWS>(at->features_of_block);
    if (shared_by_warpgroups<SPLIT>(*at))
        at->panels = (int)ceil_div(SHARED_STAGE_BYTES_LEAST, 2 * bytes) * 2;
    else
        at->panels = (int)ceil_div(STAGE_BYTES_LEAST, bytes);
    at->stages = STAGES_BYTES / (at->panels * bytes);
    at->stages = at->stages < MOST_STAGES ? at->stages : MOST_STAGES;
    at->steps = (int)ceil_div(x->shape[1], at->panels * PANEL_COLUMNS);
    at->settled = call->settled;
    constexpr CUtensorMapL2promotion PROMOTION = CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
    tnl_status status =
        tnl_make_tensor_map(call, x, {{PANEL_COLUMNS, (uint32_t)ROWS}}, &at->x, PROMOTION);
    for (int i = 0; i < MATRICES && status == TNL_OK; i++)
        status = tnl_make_tensor_map(call, w[i], {{PANEL_COLUMNS, (uint32_t)at->features_of_block}},
                                     &at->w[i], PROMOTION);
    if (status != TNL_OK)
        return status;
    const int64_t tiles = ceil_div(at->features, at->features_of_block);
    constexpr int SHARED =
        STAGES_BYTES + ROWS * EXCHANGE_ROW_BYTES + (2 * MOST_STAGES + 1) * (int)sizeof(uint64_t);
    return tnl_launch_overlapping(call, kernel<T, MATRICES, ROWS, SPLIT, Output>,
                                  dim3((unsigned)(SPLIT * (tiles < clusters ? tiles : clusters))),
                                  THREADS, SHARED, true, *at);
}

template <typename T, int MATRICES, int ROWS, typename Output>
static tnl_status launch_rows(const tnl_call *call, const tnl_tensor *x,
                              const tnl_tensor *const (&w)[MATRICES],
                              arguments<MATRICES, Output> *at) {
    constexpr int SPLIT = MATRICES == 1 ? 2 : 1;
    return at->features < FEW_FEATURES * call->context->multiprocessors
               ? launch_kernel<T, MATRICES, ROWS, SPLIT>(call, x, w, at)
               : launch_kernel<T, MATRICES, ROWS, 1>(call, x, w, at);
}

template <typename T, int MATRICES, typename Output>
static tnl_status launch(const tnl_call *call, const tnl_tensor *x,
                         const tnl_tensor *const (&w)[MATRICES], const Output &output) {
    arguments<MATRICES, Output> at;
    at.rows = (int)x->shape[0];
    at.features = (int)w[0]->shape[0];
    at.output = output;
    return at.rows <= 16 ? launch_rows<T, MATRICES, 16>(call, x, w, &at)
                         : launch_rows<T, MATRICES, 64>(call, x, w, &at);
}

/* Whether these kernels take a product of x with matrices w. */
template <int MATRICES>
static bool takes(const tnl_call *call, const tnl_tensor *x,
                  const tnl_tensor *const (&w)[MATRICES]) {
    bool maps = tnl_allows_tensor_map(x);
    for (int i = 0; i < MATRICES; i++)
        maps = maps && tnl_allows_tensor_map(w[i]);
    return maps && !rejects_device(call) && x->shape[0] <= MOST_ROWS;
}

} // namespace hopper_rows

#endif
