/*
 * The matrix product of up to 16 rows on Hopper, C = X W^T with X [m,k], W [n,k], in 16-bit types
 * with sums in float32: all its time goes into reading W once, whole rows after whole rows, as the
 * memory likes it.
 *
 * A block, one a multiprocessor, has its even share of the n features, and takes them by 8 at a
 * time. Its reading warps share k. Each has a ring of its own in shared memory, which it fills by
 * bulk copies, a row's piece each, and waits for no other warp: what it has summed of 8 features it
 * leaves in the exchange, where one more warp adds the parts up in their order, so that two runs
 * agree, and writes them out. X stays in shared memory. Where it is too large, SPLIT blocks, a
 * cluster, share k first; they have SPLIT times the features together, and the sums of a tile are
 * added up in one of them, by turns.
 *
 * W is the right operand of mma.cuh's product, X the left one: sums do not depend on the order of
 * k, so lane (g, t) takes elements 8t to 8t+7 of 32 for columns 2t, 2t+1, 2t+8 and 2t+9 of two
 * products, of W and of X alike. Shared memory, rows being PAD bytes longer than what they hold,
 * which sets them apart in the banks:
 *
 *     ring[WARPS][stages][8 features][PIECE] | x[rows][the block's share of k]
 *     | exchange[SLOTS][SPLIT WARPS][MATRICES][features and rows] | barriers
 */
#ifndef TNL_KERNELS_COMMON_HOPPER_STREAMING_CUH
#define TNL_KERNELS_COMMON_HOPPER_STREAMING_CUH

#include "kernels/common/hopper.cuh"

namespace hopper_streaming {

#ifndef FEW_WARPS
#define FEW_WARPS 8
#endif
#ifndef FEW_PIECE
#define FEW_PIECE 1024
#endif
#ifndef FEW_EVICT
#define FEW_EVICT 1
#endif
#ifndef FEW_PREFETCH
#define FEW_PREFETCH 1
#endif

constexpr int MOST_ROWS = 16;
constexpr int WARPS = FEW_WARPS, THREADS = 32 * (WARPS + 1);
constexpr int FEATURES = 8;           /* of a tile */
constexpr int UNIT = 32;              /* elements of k that two products take */
constexpr int UNIT_BYTES = 2 * UNIT;
constexpr int PIECE = FEW_PIECE; /* bytes of a row */
constexpr int PAD = 64;
constexpr int STAGE = FEATURES * (PIECE + PAD);
constexpr int MOST_STAGES = 8, LEAST_STAGES = 2, SLOTS = 2;
constexpr int SHARED_MOST = 227 << 10;

template <typename T, int MATRICES, typename Output> struct arguments {
    matrix<const T> x, w[MATRICES];
    int rows, features, depth; /* m, n, k */
    int share, more;           /* features of a cluster; clusters that have one more */
    int units, stages;         /* of k: in UNITs */
    int x_row_bytes;           /* in shared memory */
    Output output;
};

template <int MATRICES, int SPLIT, int ROW_TILES> struct exchange {
    float part[SLOTS][SPLIT * WARPS][MATRICES][8 * ROW_TILES][FEATURES];
};

template <int SPLIT> struct barriers {
    barrier full[WARPS][MOST_STAGES], x, summed[SLOTS];
    barrier free[SPLIT][SLOTS]; /* in the block of that rank */
};

#ifdef TNL_HOPPER_CODE

static __device__ __forceinline__ uint64_t once_policy() {
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

static __device__ __forceinline__ void bulk_load_once(void *to, const void *from, uint32_t bytes,
                                                      barrier *b, uint64_t policy) {
#if FEW_EVICT
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(b)),
                 "l"(policy)
                 : "memory");
#else
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(b))
                 : "memory");
#endif
}

static __device__ __forceinline__ void bulk_load(void *to, const void *from, uint32_t bytes,
                                                 barrier *b) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(b))
                 : "memory");
}

static __device__ __forceinline__ void bulk_prefetch(const void *from, uint32_t bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(
                     __cvta_generic_to_global(from)),
                 "r"(bytes)
                 : "memory");
}

/* Arrive at the counterpart in the block of that rank; it sees what this thread knows of. */
template <int SPLIT> static __device__ __forceinline__ void signal(barrier *b, int rank) {
    if constexpr (SPLIT == 1)
        barrier_arrive(b);
    else
        asm volatile("{\n"
                     ".reg .b32 there;\n"
                     "mapa.shared::cluster.u32 there, %0, %1;\n"
                     "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [there];\n"
                     "}" ::"r"(shared_address(b)),
                     "r"(rank)
                     : "memory");
}

template <int SPLIT> static __device__ __forceinline__ void await_signal(barrier *b, int parity) {
    uint32_t ended = SPLIT == 1;
    if constexpr (SPLIT == 1)
        barrier_wait(b, parity);
    while (!ended) {
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}"
                     : "=r"(ended)
                     : "r"(shared_address(b)), "r"(parity)
                     : "memory");
    }
}

/* What a block has of the work. */
struct share {
    int begin, end;   /* features */
    int first, units; /* of k */
};

/* A warp's pieces, one after another: of each tile, of each matrix, its units of k. */
template <typename T, int MATRICES, typename Output> struct pieces {
    const arguments<T, MATRICES, Output> &at;
    const share &of;
    int first, end;            /* units of the warp */
    int tile, i = 0, unit;     /* the next piece; tile: its first feature */

    __device__ pieces(const arguments<T, MATRICES, Output> &at_, const share &of_, int warp)
        : at(at_), of(of_), first(of_.first + of_.units * warp / WARPS),
          end(of_.first + of_.units * (warp + 1) / WARPS), tile(of_.begin), unit(first) {
        if (first == end)
            tile = of.end;
    }
    __device__ bool left() const {
        return tile < of.end;
    }
    __device__ int units() const {
        return min(end - unit, PIECE / UNIT_BYTES);
    }
    __device__ void advance() {
        unit += PIECE / UNIT_BYTES;
        if (unit < end)
            return;
        unit = first;
        if (++i < MATRICES)
            return;
        i = 0;
        tile += FEATURES;
    }
    __device__ uint32_t bytes() const {
        return (uint32_t)min(units() * UNIT, at.depth - unit * UNIT) * 2;
    }
    /* This lane's row of the piece; NULL: none. */
    __device__ const T *row() const {
        const int feature = tile + threadIdx.x % 32;
        if (threadIdx.x % 32 >= FEATURES || feature >= of.end)
            return NULL;
        return (i == 0 ? at.w[0].row(feature) : at.w[MATRICES - 1].row(feature)) + unit * UNIT;
    }
    __device__ void fetch(unsigned char *stage, barrier *full, uint64_t policy) {
        const int lane = threadIdx.x % 32;
        if (lane == 0)
            barrier_expect(full, bytes() * min(FEATURES, of.end - tile));
        __syncwarp();
        const T *from = row();
        if (from)
            bulk_load_once(stage + lane * (PIECE + PAD), from, bytes(), full, policy);
        advance();
    }
};

/* The products of a piece. x: of this lane, at the piece's first unit. */
template <typename T, int ROW_TILES>
static __device__ __forceinline__ void multiply(float (&c)[2][4], const unsigned char *w,
                                                const unsigned char *x, int high, int units,
                                                int depth) {
#pragma unroll 4
    for (int s = 0; s < units; s++) {
        uint4 b = *(const uint4 *)(w + s * UNIT_BYTES);
        uint4 low = *(const uint4 *)(x + s * UNIT_BYTES), up = {0, 0, 0, 0};
        if (ROW_TILES == 2)
            up = *(const uint4 *)(x + high + s * UNIT_BYTES);
        if (s * UNIT >= depth) /* what lies there is no number */
            b = low = up = {0, 0, 0, 0};
        multiply_add<T>(c[0], {low.x, up.x, low.y, up.y}, b.x, b.y);
        multiply_add<T>(c[1], {low.z, up.z, low.w, up.w}, b.z, b.w);
    }
}

/* A reading warp. */
template <typename T, int MATRICES, int SPLIT, int ROW_TILES, typename Output>
static __device__ __forceinline__ void
read_and_multiply(const arguments<T, MATRICES, Output> &at, const share &of, unsigned char *ring,
                  const unsigned char *x, exchange<MATRICES, SPLIT, ROW_TILES> *sums,
                  barriers<SPLIT> *b, int rank) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const uint64_t policy = once_policy();
    pieces<T, MATRICES, Output> next(at, of, warp), now(at, of, warp);
#pragma unroll 1
    for (int stage = 0; stage < at.stages && next.left(); stage++)
        next.fetch(ring + stage * STAGE, &b->full[warp][stage], policy);
    const int low = min(g, at.rows - 1) * at.x_row_bytes;
    const int high = min(g + 8, at.rows - 1) * at.x_row_bytes - low;
    const unsigned char *x_lane = x + low + t * 16;
    barrier_wait(&b->x, 0);
    int stage = 0, parity = 0, count = 0;
#pragma unroll 1
    for (int tile = of.begin; tile < of.end; tile += FEATURES, count++) {
        const int target = count % SPLIT, slot = count / SPLIT % SLOTS;
        const int round = count / SPLIT / SLOTS;
        float c[MATRICES][2][4] = {};
#pragma unroll
        for (int i = 0; i < MATRICES; i++)
#pragma unroll 1
            for (int unit = now.first; unit < now.end; unit += PIECE / UNIT_BYTES) {
                barrier_wait(&b->full[warp][stage], parity);
                const int units = min(now.end - unit, PIECE / UNIT_BYTES);
                multiply<T, ROW_TILES>(c[i], ring + stage * STAGE + g * (PIECE + PAD) + t * 16,
                                       x_lane + (unit - of.first) * UNIT_BYTES, high, units,
                                       at.depth - unit * UNIT - t * 8);
                __syncwarp();
                if (next.left())
                    next.fetch(ring + stage * STAGE, &b->full[warp][stage], policy);
                stage = stage + 1 == at.stages ? 0 : stage + 1;
                parity ^= stage == 0;
            }
        await_signal<SPLIT>(&b->free[target][slot], (round & 1) ^ 1);
#pragma unroll
        for (int i = 0; i < MATRICES; i++)
#pragma unroll
            for (int e = 0; e < 2 * ROW_TILES; e++) {
                const int row = g + e / 2 * 8;
                float *to = &sums->part[slot][rank * WARPS + warp][i][row][2 * t + e % 2];
                if (row >= at.rows)
                    continue;
                if constexpr (SPLIT == 1)
                    *to = c[i][0][e] + c[i][1][e];
                else
                    store_at(to, target, c[i][0][e] + c[i][1][e]);
            }
        __syncwarp();
        if (lane == 0)
            signal<SPLIT>(&b->summed[slot], target);
    }
}

/* The warp that adds up and writes. */
template <typename T, int MATRICES, int SPLIT, int ROW_TILES, typename Output>
static __device__ __forceinline__ void
add_and_write(const arguments<T, MATRICES, Output> &at, const share &of,
              const exchange<MATRICES, SPLIT, ROW_TILES> *sums, barriers<SPLIT> *b, int rank) {
    const int lane = threadIdx.x % 32;
    int slot = 0, parity = 0;
#pragma unroll 1
    for (int tile = of.begin + rank * FEATURES; tile < of.end; tile += SPLIT * FEATURES) {
        await_signal<SPLIT>(&b->summed[slot], parity);
#pragma unroll 1
        for (int j = lane; j < at.rows * FEATURES; j += 32) {
            const int row = j / FEATURES, mine = j % FEATURES;
            float value[MATRICES] = {};
#pragma unroll
            for (int i = 0; i < MATRICES; i++)
#pragma unroll 8
                for (int part = 0; part < SPLIT * WARPS; part++)
                    value[i] += sums->part[slot][part][i][row][mine];
            if (tile + mine < of.end)
                at.output.write(row, tile + mine, value);
        }
        __syncwarp();
        if (lane < SPLIT)
            signal<SPLIT>(&b->free[rank][slot], lane);
        slot = slot + 1 == SLOTS ? 0 : slot + 1;
        parity ^= slot == 0;
    }
}

/* By a thread of its own for each. */
template <int SPLIT> static __device__ __forceinline__ void init_barriers(barriers<SPLIT> *b) {
    constexpr int COUNT = sizeof *b / sizeof(barrier);
    static_assert(COUNT <= THREADS, "a thread each");
    barrier *const mine = (barrier *)b + threadIdx.x;
    const int slot = mine - b->summed;
    if (threadIdx.x < COUNT)
        barrier_init(mine, slot >= 0 && slot < SLOTS ? SPLIT * WARPS : 1);
    barrier_init_fence();
}

#endif

/* Output as in cuda_streaming.cuh. */
template <typename T, int MATRICES, int SPLIT, int ROW_TILES, typename Output>
__global__ void TNL_CLUSTER(SPLIT) __launch_bounds__(THREADS, 1)
    kernel(const arguments<T, MATRICES, Output> at) {
#ifdef TNL_HOPPER_CODE
    extern __shared__ __align__(128) unsigned char shared[];
    using sums_of = exchange<MATRICES, SPLIT, ROW_TILES>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int rank = SPLIT == 1 ? 0 : cluster_rank(), cluster = blockIdx.x / SPLIT;
    unsigned char *const x = shared + WARPS * at.stages * STAGE;
    sums_of *const sums = (sums_of *)(x + at.rows * at.x_row_bytes);
    barriers<SPLIT> *const b = (barriers<SPLIT> *)(sums + 1);
    const int first = at.units * rank / SPLIT;
    const int begin = cluster * at.share + min(cluster, at.more);
    const share of = {begin, begin + at.share + (cluster < at.more), first,
                      at.units * (rank + 1) / SPLIT - first};
    init_barriers(b);
    allow_next_kernel();
#if FEW_PREFETCH
    /* What comes first into the cache, where it stays as the kernel before leaves it. */
    if (warp < WARPS) {
        pieces<T, MATRICES, Output> next(at, of, warp);
#pragma unroll 1
        for (int stage = 0; stage < at.stages && next.left(); stage++, next.advance())
            if (next.row())
                bulk_prefetch(next.row(), next.bytes());
    }
#endif
    if (SPLIT == 1)
        __syncthreads();
    else
        cluster_sync();
    wait_for_kernel_before();
    if (warp < WARPS) {
        read_and_multiply<T, MATRICES, SPLIT, ROW_TILES>(
            at, of, shared + warp * at.stages * STAGE, x, sums, b, rank);
    } else {
        const uint32_t bytes = (uint32_t)min(of.units * UNIT, at.depth - of.first * UNIT) * 2;
        if (lane == 0)
            barrier_expect(&b->x, at.rows * bytes);
        __syncwarp();
        if (lane < at.rows && of.units > 0)
            bulk_load(x + lane * at.x_row_bytes, at.x.row(lane) + of.first * UNIT, bytes, &b->x);
        add_and_write<T, MATRICES, SPLIT, ROW_TILES>(at, of, sums, b, rank);
    }
    if (SPLIT > 1)
        cluster_sync();
#endif
}

/* ---- launching ------------------------------------------------------------------------------ */

/* What a block needs besides its ring, and the stages of the ring that fit. */
struct layout {
    int x_row_bytes, fixed, stages;
};

template <int MATRICES, int SPLIT, int ROW_TILES> static layout layout_of(int rows, int units) {
    const int share = (units + SPLIT - 1) / SPLIT;
    layout of;
    of.x_row_bytes = share * UNIT_BYTES + (share % 2 ? 0 : PAD);
    of.fixed = rows * of.x_row_bytes + (int)sizeof(exchange<MATRICES, SPLIT, ROW_TILES>) +
               (int)sizeof(barriers<SPLIT>);
    of.stages = of.fixed < SHARED_MOST ? (SHARED_MOST - of.fixed) / (WARPS * STAGE) : 0;
    of.stages = of.stages < MOST_STAGES ? of.stages : MOST_STAGES;
    return of;
}

/* The blocks that share k: 1 or 2; 0: X is too large. */
template <int MATRICES> static int split_of(int64_t rows, int64_t depth) {
    if (rows > MOST_ROWS || depth > 1 << 20)
        return 0;
    const int units = (int)ceil_div(depth, UNIT);
    return layout_of<MATRICES, 1, 2>((int)rows, units).stages >= LEAST_STAGES   ? 1
           : layout_of<MATRICES, 2, 2>((int)rows, units).stages >= LEAST_STAGES ? 2
                                                                                : 0;
}

template <typename T, int MATRICES, int SPLIT, int ROW_TILES, typename Output>
static tnl_status launch_kernel(const tnl_call *call, arguments<T, MATRICES, Output> *at) {
    const layout of = layout_of<MATRICES, SPLIT, ROW_TILES>(at->rows, at->units);
    const int most = call->context->multiprocessors / SPLIT;
    const int clusters = at->features < most ? at->features : most;
    at->share = at->features / clusters;
    at->more = at->features % clusters;
    at->x_row_bytes = of.x_row_bytes;
    at->stages = of.stages;
    return tnl_launch_overlapping(call, kernel<T, MATRICES, SPLIT, ROW_TILES, Output>,
                                  dim3((unsigned)(clusters * SPLIT)), THREADS,
                                  (size_t)(of.fixed + of.stages * WARPS * STAGE), true, *at);
}

template <typename T, int MATRICES, typename Output>
static tnl_status launch(const tnl_call *call, const tnl_tensor *x,
                         const tnl_tensor *const (&w)[MATRICES], const Output &output) {
    arguments<T, MATRICES, Output> at = {.x = tnl_matrix_of<const T>(x),
                                         .rows = (int)x->shape[0],
                                         .features = (int)w[0]->shape[0],
                                         .depth = (int)x->shape[1],
                                         .units = (int)ceil_div(x->shape[1], UNIT),
                                         .output = output};
    for (int i = 0; i < MATRICES; i++)
        at.w[i] = tnl_matrix_of<const T>(w[i]);
    if (split_of<MATRICES>(at.rows, at.depth) == 1)
        return at.rows <= 8 ? launch_kernel<T, MATRICES, 1, 1>(call, &at)
                            : launch_kernel<T, MATRICES, 1, 2>(call, &at);
    return at.rows <= 8 ? launch_kernel<T, MATRICES, 2, 1>(call, &at)
                        : launch_kernel<T, MATRICES, 2, 2>(call, &at);
}

/* Whether these kernels take a product of x with matrices w. */
template <int MATRICES>
static bool takes(const tnl_call *call, const tnl_tensor *x,
                  const tnl_tensor *const (&w)[MATRICES]) {
    bool allows = tnl_allows_16_bytes(x);
    for (int i = 0; i < MATRICES; i++)
        allows = allows && tnl_allows_16_bytes(w[i]);
    return allows && !rejects_device(call) && split_of<MATRICES>(x->shape[0], x->shape[1]) > 0;
}

} // namespace hopper_streaming

#endif
