/*
 * Causal softmax attention of many new tokens (transformer/attention_prefill.cu) by TMA and wgmma:
 * a block has 128 queries of a head, 64 for each of two groups of four warps, and goes through the
 * keys and values in tiles of 128, which a warp of its own brings into shared memory. While one
 * group turns scores into weights the other one's products run.
 *
 * Memory of a block, in panels of 64 columns (hopper.cuh):
 *     [ Q 2 x (2 x 64 rows) ]   [ K 2 x 128 rows | V 2 x 128 rows ] a stage   [ barriers ]
 */
#include "kernels/common/wgmma.cuh"
#include "transformer/softmax.cuh"

namespace {

constexpr int GROUP = 128, GROUPS = 2, THREADS = GROUP * (GROUPS + 1);
constexpr int GROUP_ROWS = 64, QUERIES = GROUPS * GROUP_ROWS, KEYS = 128, STAGES = 2;
constexpr int PANELS = D / PANEL_COLUMNS;

struct hopper_arguments {
    prefill_arguments of;
    CUtensorMap q, k, v;
};

struct block_memory {
    number q[GROUPS][PANELS][GROUP_ROWS * PANEL_COLUMNS];
    struct {
        number k[PANELS][KEYS * PANEL_COLUMNS], v[PANELS][KEYS * PANEL_COLUMNS];
    } stage[STAGES];
    barrier queries, full[STAGES], empty[STAGES];
};

#ifdef TNL_HOPPER_CODE

constexpr int CONSUMER_REGISTERS = 240, LOADER_REGISTERS = 24;

static __device__ __forceinline__ void make_barriers(block_memory &shared) {
    barrier_init(&shared.queries, 1);
    for (int i = 0; i < STAGES; i++) {
        barrier_init(&shared.full[i], 1);
        barrier_init(&shared.empty[i], 4 * GROUPS);
    }
    barrier_init_fence();
}

/* One thread asks for everything. */
static __device__ __forceinline__ void run_loader(block_memory &shared, const hopper_arguments &at,
                                                  int head, int row, int tiles) {
    wait_for_kernel_before();
    barrier_expect(&shared.queries, sizeof shared.q);
    for (int i = 0; i < GROUPS; i++)
        for (int j = 0; j < PANELS; j++)
            tma_load(shared.q[i][j], &at.q, &shared.queries, head * D + PANEL_COLUMNS * j,
                     row + GROUP_ROWS * i);
    for (int tile = 0; tile < tiles; tile++) {
        const int stage = tile % STAGES, turn = tile / STAGES;
        auto &to = shared.stage[stage];
        if (turn > 0)
            barrier_wait(&shared.empty[stage], (turn - 1) & 1);
        barrier_expect(&shared.full[stage], sizeof to);
        for (int j = 0; j < PANELS; j++)
            tma_load(to.k[j], &at.k, &shared.full[stage], PANEL_COLUMNS * j, KEYS * tile, head, 0);
        for (int j = 0; j < PANELS; j++)
            tma_load(to.v[j], &at.v, &shared.full[stage], PANEL_COLUMNS * j, KEYS * tile, head, 0);
    }
}

/* score = Q K^T of a group's rows. */
static __device__ __forceinline__ void score_tile(number (&q)[PANELS][GROUP_ROWS * PANEL_COLUMNS],
                                                  number (&k)[PANELS][KEYS * PANEL_COLUMNS],
                                                  float (&score)[KEYS / 8][4]) {
    constexpr int STEPS = PANEL_COLUMNS / 16;
    wgmma_begin();
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        wgmma<number, false>(score, further(k_major(q[i / STEPS]), 32 * (i % STEPS)),
                             further(k_major(k[i / STEPS]), 32 * (i % STEPS)), i > 0);
    wgmma_commit();
    wgmma_wait<0>();
    pin(score);
}

/* sum += weights V. */
static __device__ __forceinline__ void add_values(number (&v)[PANELS][KEYS * PANEL_COLUMNS],
                                                  const float (&score)[KEYS / 8][4],
                                                  float (&sum)[D / 8][4]) {
    const uint64_t b = mn_major(v, sizeof v[0]);
    uint32_t a[KEYS / 16][4];
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
        pack_weights(score, i, a[i]);
    wgmma_begin();
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
        wgmma<number, true>(sum, a[i], further(b, 16 * i * PANEL_ROW_BYTES), true);
    wgmma_commit();
    wgmma_wait<0>();
    pin(sum);
}

/* A group's queries, of which the first is at row `row` of the call. */
static __device__ __forceinline__ void run_queries(block_memory &shared,
                                                   const prefill_arguments &at, int head, int row,
                                                   int group, int tiles) {
    const int warp_row = (int)threadIdx.x % GROUP / 32 * 16;
    int apart = (int)at.first + row; /* of the group's first query from a tile's first key */
    float sum[D / 8][4];
    row_pair rows = {{-INFINITY, -INFINITY}, {0, 0}};
    memset(sum, 0, sizeof sum);
    barrier_wait(&shared.queries, 0);
    for (int tile = 0; tile < tiles; tile++, apart -= KEYS) {
        const int stage = tile % STAGES;
        barrier_wait(&shared.full[stage], tile / STAGES & 1);
        if (apart > -GROUP_ROWS) {
            float score[KEYS / 8][4];
            score_tile(shared.q[group], shared.stage[stage].k, score);
            if (apart < KEYS - 1)
                mask_scores(score, apart + warp_row);
            weigh(score, sum, rows);
            add_values(shared.stage[stage].v, score, sum);
        }
        __syncwarp();
        if (threadIdx.x % 32 == 0)
            barrier_arrive(&shared.empty[stage]);
    }
    divide_by_totals(sum, rows);
    store_output(at, row + warp_row, head, sum);
}

#endif

__global__ void __launch_bounds__(THREADS, 1)
    hopper_kernel(const __grid_constant__ hopper_arguments at) {
#ifdef TNL_HOPPER_CODE
    extern __shared__ __align__(1024) unsigned char raw[];
    block_memory &shared = *reinterpret_cast<block_memory *>(raw);
    const int head = blockIdx.x, row = (int)(gridDim.y - 1 - blockIdx.y) * QUERIES;
    const int keys = (int)at.of.first + min(row + QUERIES, (int)at.of.rows);
    const int tiles = (keys + KEYS - 1) / KEYS, warp = warp_number(), group = warp / 4;
    allow_next_kernel();
    if (threadIdx.x == 0)
        make_barriers(shared);
    __syncthreads();
    if (group == GROUPS) {
        give_registers<LOADER_REGISTERS>();
        if (warp == 4 * GROUPS && elect_one())
            run_loader(shared, at, head, row, tiles);
        return;
    }
    take_registers<CONSUMER_REGISTERS>();
    run_queries(shared, at.of, head, row + GROUP_ROWS * group, group, tiles);
#endif
}

/* A head's cached rows, up to the last token: those behind it are read as zero. */
tnl_status map_cache(const tnl_call *call, const prefill_arguments &at, void *cache,
                     CUtensorMap *map) {
    const tnl_tensor t = {cache,
                          TNL_BFLOAT16,
                          4,
                          {1, at.heads, at.first + at.rows, D},
                          {at.heads * at.capacity * D, at.capacity * D, D, 1}};
    return tnl_make_tensor_map(call, &t, {{PANEL_COLUMNS, KEYS, 1, 1}}, map);
}

} // namespace

bool attention_takes_hopper(const attention_call *call) {
    tnl_call on = {};
    on.context = call->context;
    return !rejects_device(&on);
}

tnl_status attention_hopper(const attention_call *call, const prefill_arguments &of) {
    tnl_call on = {};
    on.context = call->context;
    hopper_arguments at = {of, {}, {}, {}};
    const tnl_tensor q = {of.packed,
                          TNL_BFLOAT16,
                          2,
                          {of.rows, (int64_t)3 * of.heads * D},
                          {(int64_t)3 * of.heads * D, 1}};
    tnl_status status = tnl_make_tensor_map(&on, &q, {{PANEL_COLUMNS, GROUP_ROWS}}, &at.q);
    if (status == TNL_OK)
        status = map_cache(&on, of, of.k, &at.k);
    if (status == TNL_OK)
        status = map_cache(&on, of, of.v, &at.v);
    const dim3 grid((unsigned)of.heads, (unsigned)ceil_div(of.rows, QUERIES));
    return status == TNL_OK ? tnl_launch_overlapping(&on, hopper_kernel, grid, THREADS,
                                                     sizeof(block_memory), true, at)
                            : status;
}
