/*
 * Causal softmax attention of many new tokens of one sequence, whose keys and values go to the
 * cache first: queries in tiles of 128 against keys and values in tiles of 64, with the running
 * maximum and sum of each row, so that no scores go to memory (FlashAttention-2's loops).
 * Compute capability 9.0 has attention_hopper.cu in the place of the second kernel.
 *
 * A block has four warps; a warp owns 32 rows of queries, so that what it loads of a key serves two
 * products. A tile of keys and values is on its way while the one before is worked on; tiles above
 * the diagonal are skipped, and the longest rows of tiles, of all heads, begin first.
 *
 * Memory of a block, in tiles of 64 rows of d:  [ Q | Q ]   [ K | V ] a stage
 */
#include "kernels/attention/cuda_tile.cuh"
#include "transformer/softmax.cuh"

namespace {

constexpr int QUERY_TILES = 2, QUERIES = QUERY_TILES * TILE, WARP_TILES = 2, STAGES = 2;
constexpr int APPEND_THREADS = 256, PAIR_CHUNKS = PAIRS / CHUNK;

struct block_memory {
    number q[QUERY_TILES][TILE * D];
    struct {
        number k[TILE * D], v[TILE * D];
    } stage[STAGES];
};

/* ---- the cache ---------------------------------------------------------------------------- */

/* A block has a token: Q is turned where it lies, K on its way to the cache. */
__global__ void __launch_bounds__(APPEND_THREADS)
    append_kernel(const __grid_constant__ prefill_arguments at) {
    __shared__ float2 rope[PAIRS];
    const int64_t row = blockIdx.x, position = at.first + row;
    await_previous();
    if (threadIdx.x < PAIRS)
        rope[threadIdx.x] = rope_at(at.turns.at[threadIdx.x], position);
    __syncthreads();
    for (int i = threadIdx.x; i < at.heads * PAIR_CHUNKS; i += APPEND_THREADS) {
        const int head = i / PAIR_CHUNKS, c = i % PAIR_CHUNKS;
        number *q = at.packed + (row * 3 * at.heads + head) * D + c * CHUNK;
        const number *k = q + at.heads * D, *v = k + at.heads * D;
        const int64_t cached = (head * at.capacity + position) * D + c * CHUNK;
        float low[CHUNK], high[CHUNK];
        load(q, low);
        load(q + PAIRS, high);
        rope_turn(rope, c, low, high);
        store(q, low);
        store(q + PAIRS, high);
        load(k, low);
        load(k + PAIRS, high);
        rope_turn(rope, c, low, high);
        store(at.k + cached, low);
        store(at.k + cached + PAIRS, high);
        *reinterpret_cast<uint4 *>(at.v + cached) = *reinterpret_cast<const uint4 *>(v);
        *reinterpret_cast<uint4 *>(at.v + cached + PAIRS) =
            *reinterpret_cast<const uint4 *>(v + PAIRS);
    }
}

/* score = Q K^T of a warp's rows. */
static __device__ __forceinline__ void score_tile(block_memory &shared, number *k,
                                                  float (&score)[WARP_TILES][TILE / 8][4]) {
    number *q = shared.q[warp_index() / 2];
    const int row = warp_index() % 2 * 32;
#pragma unroll
    for (int w = 0; w < WARP_TILES; w++)
        set_zero(score[w]);
#pragma unroll 4
    for (int column = 0; column < D; column += 16) {
        uint32_t a[WARP_TILES][4], b[4];
#pragma unroll
        for (int w = 0; w < WARP_TILES; w++)
            load_a<D>(a[w], q, row + 16 * w, column);
#pragma unroll
        for (int j = 0; j < TILE / 16; j++) {
            load_b_transposed<D>(b, k, 16 * j, column);
#pragma unroll
            for (int w = 0; w < WARP_TILES; w++) {
                multiply_add<number>(score[w][2 * j], a[w], b[0], b[1]);
                multiply_add<number>(score[w][2 * j + 1], a[w], b[2], b[3]);
            }
        }
    }
}

/* sum += weights V. */
static __device__ __forceinline__ void add_values(number *v,
                                                  const float (&score)[WARP_TILES][TILE / 8][4],
                                                  float (&sum)[WARP_TILES][D / 8][4]) {
#pragma unroll
    for (int step = 0; step < TILE / 16; step++) {
        uint32_t a[WARP_TILES][4], b[4];
#pragma unroll
        for (int w = 0; w < WARP_TILES; w++)
            pack_weights(score[w], step, a[w]);
#pragma unroll
        for (int j = 0; j < D / 16; j++) {
            load_b<D>(b, v, 16 * step, 16 * j);
#pragma unroll
            for (int w = 0; w < WARP_TILES; w++) {
                multiply_add<number>(sum[w][2 * j], a[w], b[0], b[1]);
                multiply_add<number>(sum[w][2 * j + 1], a[w], b[2], b[3]);
            }
        }
    }
}

__global__ void __launch_bounds__(THREADS, 2)
    prefill_kernel(const __grid_constant__ prefill_arguments at) {
    extern __shared__ __align__(128) unsigned char raw[];
    block_memory &shared = *reinterpret_cast<block_memory *>(raw);
    const int head = blockIdx.x;
    const int row = (int)(gridDim.y - 1 - blockIdx.y) * QUERIES;
    const int end = min(row + QUERIES, (int)at.rows), keys = (int)at.first + end;
    const head_rows<number> q = {at.packed + head * D, (int64_t)3 * at.heads * D},
                            k = {at.k + head * at.capacity * D, D},
                            v = {at.v + head * at.capacity * D, D};
    await_previous();
    const auto rows_from = [](int first, int last) {
        return tile_part{first, min(TILE, max(last - first, 0)), 0, D, true};
    };
    const auto fetch = [&](int tile) {
        load_tile<D>(shared.stage[tile % STAGES].k, k, rows_from(tile * TILE, keys));
        load_tile<D>(shared.stage[tile % STAGES].v, v, rows_from(tile * TILE, keys));
    };
    for (int i = 0; i < QUERY_TILES; i++)
        load_tile<D>(shared.q[i], q, rows_from(row + i * TILE, end));
    fetch(0);

    float sum[WARP_TILES][D / 8][4];
    row_pair rows[WARP_TILES];
    int apart = (int)at.first + row + 32 * warp_index(); /* of this warp's first query */
    for (int w = 0; w < WARP_TILES; w++) {
        set_zero(sum[w]);
        rows[w] = {{-INFINITY, -INFINITY}, {0, 0}};
    }
    for (int tile = 0; tile * TILE < keys; tile++, apart -= TILE) {
        auto &stage = shared.stage[tile % STAGES];
        copy_async_wait();
        __syncthreads();
        if ((tile + 1) * TILE < keys)
            fetch(tile + 1);
        if (apart < -31)
            continue;
        float score[WARP_TILES][TILE / 8][4];
        score_tile(shared, stage.k, score);
#pragma unroll
        for (int w = 0; w < WARP_TILES; w++) {
            mask_scores(score[w], apart + 16 * w);
            weigh(score[w], sum[w], rows[w]);
        }
        add_values(stage.v, score, sum);
    }
#pragma unroll
    for (int w = 0; w < WARP_TILES; w++) {
        divide_by_totals(sum[w], rows[w]);
        store_output(at, row + 32 * warp_index() + 16 * w, head, sum[w]);
    }
}

} // namespace

tnl_status attention_cuda_prefill(const attention_call *call) {
    const prefill_arguments at = {.packed = (number *)call->packed,
                                  .k = (number *)call->k,
                                  .v = (number *)call->v,
                                  .o = (number *)call->o,
                                  .rows = call->rows,
                                  .first = call->first,
                                  .capacity = call->capacity,
                                  .heads = call->heads,
                                  .turns = turns_of(call)};
    const tnl_status status =
        launch_attention(call, append_kernel, dim3((unsigned)call->rows), APPEND_THREADS, 0, at);
    if (status != TNL_OK)
        return status;
    if (attention_takes_hopper(call))
        return attention_hopper(call, at);
    const dim3 grid((unsigned)call->heads, (unsigned)ceil_div(call->rows, QUERIES));
    if (cudaFuncSetAttribute(prefill_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             sizeof(block_memory)) != cudaSuccess)
        return tnl_fail(call->context, TNL_DEVICE_ERROR,
                        "softmax attention: a block can't have %zu bytes of shared memory",
                        sizeof(block_memory));
    return launch_attention(call, prefill_kernel, grid, THREADS, sizeof(block_memory), at);
}
