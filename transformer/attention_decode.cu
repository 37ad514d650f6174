/*
 * Softmax attention of one new token for each sequence: all time goes into reading the cache once.
 *
 * The tokens of a head are split over as many blocks as the device holds at once (flash decoding).
 * In a block, 16 lanes have a token's row of keys or values, 16 bytes a lane; each such group has a
 * running maximum, a sum of weights and a sum of values of its own, takes STEPS of the block's
 * tokens at a time, and has the next ones on their way meanwhile. The groups' sums are brought
 * together in shared memory. Where there are several blocks, each leaves its sums in the workspace,
 * and the one that comes last brings them together: in the order of the splits, so that two runs
 * agree.
 *
 * Positions and what the cache held before the call are settled (core/dispatch.h), so that a
 * block's first tokens are asked for while the kernels ahead still run.
 *
 * The first block of a head also has the new token: it turns its key, attends to it and puts it
 * into the cache.
 *
 * Workspace: [ blocks that have come, a counter a head ][ parts: sums of values, highest, total ]
 */
#include "transformer/rope.cuh"

namespace {

constexpr int LANES = D / CHUNK;
constexpr int THREADS = 128, GROUPS = THREADS / LANES, BLOCKS_PER_MULTIPROCESSOR = 4;
constexpr int STEPS = 4, TOKENS = STEPS * GROUPS; /* a block's at a time */
constexpr int LEAST_TOKENS = 2 * TOKENS;          /* of a split */
constexpr int PART = D + 2;
static_assert(THREADS == D, "at the end a thread has an element");

struct arguments {
    const number *packed;
    number *k, *v, *o;
    const int64_t *positions;
    int64_t capacity;
    unsigned *arrived;
    float *parts;
    rope_turns turns;
};

struct block_memory {
    float2 rope[PAIRS];
    float sum[GROUPS][D], highest[THREADS], total[THREADS]; /* of groups, and then of splits */
    bool last;
};

static __device__ __forceinline__ void unpack(const uint4 &words, float (&x)[CHUNK]) {
    const unsigned word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = __uint_as_float(word[i] << 16);
        x[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
    }
}

/* 16 bytes that nobody will want again. */
static __device__ __forceinline__ uint4 load_once(const number *from) {
    return __ldcs(reinterpret_cast<const uint4 *>(from));
}

/* Sums over a group's tokens, each lane with its CHUNK elements. */
struct running {
    float highest, total, sum[CHUNK];

    /* Tokens with these scores (-INFINITY: none) and values. */
    template <int N>
    __device__ __forceinline__ void add(const float (&score)[N], const uint4 (&value)[N]) {
        float best = highest;
#pragma unroll
        for (int i = 0; i < N; i++)
            best = fmaxf(best, score[i]);
        const float base = best == -INFINITY ? 0 : best, scale = power_of_2(highest - base);
        highest = best;
        total *= scale;
#pragma unroll
        for (int i = 0; i < CHUNK; i++)
            sum[i] *= scale;
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float weight = power_of_2(score[i] - base);
            float v[CHUNK];
            unpack(value[i], v);
            total += weight;
#pragma unroll
            for (int j = 0; j < CHUNK; j++)
                sum[j] = fmaf(weight, v[j], sum[j]);
        }
    }
};

/* The score of a token, in all lanes of its group. */
static __device__ __forceinline__ float score_of(const float (&q)[CHUNK], const float (&k)[CHUNK]) {
    float score = 0;
#pragma unroll
    for (int i = 0; i < CHUNK; i++)
        score = fmaf(q[i], k[i], score);
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        score += __shfl_xor_sync(0xffffffffu, score, distance);
    return score;
}

/* A lane's chunk of a row of Q or K, turned. */
static __device__ __forceinline__ void load_turned(const float2 *rope, const number *row, int lane,
                                                   float (&x)[CHUNK]) {
    const int c = lane % (LANES / 2);
    float low[CHUNK], high[CHUNK];
    load(row + c * CHUNK, low);
    load(row + PAIRS + c * CHUNK, high);
    rope_turn(rope, c, low, high);
#pragma unroll
    for (int i = 0; i < CHUNK; i++)
        x[i] = lane < LANES / 2 ? low[i] : high[i];
}

/* Cached tokens on their way, STEPS of a group. */
struct fetched {
    uint4 key[STEPS], value[STEPS];

    /* The block's tokens from `first` on, below `end`; k and v are this lane's chunk of the head's
     * first row. */
    __device__ __forceinline__ void load(const number *k, const number *v, int64_t first,
                                         int64_t end) {
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
            const int64_t token = first + i * GROUPS + threadIdx.x / LANES;
            key[i] = value[i] = make_uint4(0, 0, 0, 0);
            if (token < end) {
                key[i] = load_once(k + token * D);
                value[i] = load_once(v + token * D);
            }
        }
    }
};

/* The cached tokens [begin, end), of which the first are on their way. */
static __device__ __forceinline__ void attend(const number *k, const number *v, int64_t begin,
                                              int64_t end, fetched &next, const float (&q)[CHUNK],
                                              running &of) {
    for (int64_t first = begin; first < end; first += TOKENS) {
        const fetched now = next;
        next.load(k, v, first + TOKENS, end);
        float score[STEPS];
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
            float x[CHUNK];
            unpack(now.key[i], x);
            score[i] = score_of(q, x);
            if (first + i * GROUPS + threadIdx.x / LANES >= end)
                score[i] = -INFINITY;
        }
        of.add(score, now.value);
    }
}

/* The new token, by the first group of a warp; its row of K and V goes to the cache. */
static __device__ __forceinline__ void attend_new(const float2 *rope, const number *packed_k,
                                                  const number *packed_v, number *k, number *v,
                                                  const float (&q)[CHUNK], running &of) {
    const int lane = threadIdx.x % LANES;
    float x[CHUNK];
    load_turned(rope, packed_k, lane, x);
    const uint4 value[1] = {*reinterpret_cast<const uint4 *>(packed_v + lane * CHUNK)};
    float score[1] = {score_of(q, x)};
    if (threadIdx.x >= LANES)
        score[0] = -INFINITY;
    of.add(score, value);
    if (threadIdx.x < LANES) {
        store(k, x);
        *reinterpret_cast<uint4 *>(v) = value[0];
    }
}

/* This thread's element of what the groups have summed, the largest maximum and the total. */
static __device__ __forceinline__ float merge_groups(block_memory &shared, const running &of,
                                                     float &highest, float &total) {
    const int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
    store(&shared.sum[group][lane * CHUNK], of.sum);
    if (lane == 0) {
        shared.highest[group] = of.highest;
        shared.total[group] = of.total;
    }
    __syncthreads();
    highest = -INFINITY;
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
        highest = fmaxf(highest, shared.highest[i]);
    const float base = highest == -INFINITY ? 0 : highest;
    float sum = 0;
    total = 0;
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        const float scale = power_of_2(shared.highest[i] - base);
        sum = fmaf(scale, shared.sum[i][threadIdx.x], sum);
        total = fmaf(scale, shared.total[i], total);
    }
    return sum;
}

/* Leave this block's sums; true in the block that comes last, which then has them all. */
static __device__ __forceinline__ bool leave_part(block_memory &shared, float *part,
                                                  unsigned *arrived, float sum, float highest,
                                                  float total) {
    part[threadIdx.x] = sum;
    if (threadIdx.x == 0) {
        part[D] = highest;
        part[D + 1] = total;
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        shared.last = atomicAdd(arrived, 1) == gridDim.x - 1;
        if (shared.last)
            *arrived = 0;
    }
    __syncthreads();
    __threadfence();
    return shared.last;
}

/* This thread's element of the output, of all splits' parts. */
static __device__ __forceinline__ float merge_parts(block_memory &shared, const float *parts) {
    const int splits = (int)gridDim.x;
    if ((int)threadIdx.x < splits) {
        shared.highest[threadIdx.x] = __ldcg(parts + threadIdx.x * PART + D);
        shared.total[threadIdx.x] = __ldcg(parts + threadIdx.x * PART + D + 1);
    }
    __syncthreads();
    float highest = -INFINITY, sum = 0, total = 0;
    for (int i = 0; i < splits; i++)
        highest = fmaxf(highest, shared.highest[i]);
#pragma unroll 8
    for (int i = 0; i < splits; i++) {
        const float scale = power_of_2(shared.highest[i] - highest);
        sum = fmaf(scale, __ldcg(parts + i * PART + threadIdx.x), sum);
        total = fmaf(scale, shared.total[i], total);
    }
    return sum / total;
}

__global__ void __launch_bounds__(THREADS, BLOCKS_PER_MULTIPROCESSOR)
    decode_kernel(const __grid_constant__ arguments at) {
    __shared__ block_memory shared;
    const int heads = (int)gridDim.y, head = blockIdx.y, lane = threadIdx.x % LANES;
    const int64_t row = blockIdx.z, sequence_head = row * heads + head;
    const number *packed = at.packed + (row * 3 * heads + head) * D;
    number *k = at.k + sequence_head * at.capacity * D + lane * CHUNK;
    number *v = at.v + sequence_head * at.capacity * D + lane * CHUNK;
    const int64_t position = at.positions[row];
    const int64_t begin = position * blockIdx.x / gridDim.x;
    const int64_t end = position * (blockIdx.x + 1) / gridDim.x;
    fetched first;
    first.load(k, v, begin, end);
    if (threadIdx.x < PAIRS)
        shared.rope[threadIdx.x] = rope_at(at.turns.at[threadIdx.x], position);
    await_previous();
    __syncthreads();

    float q[CHUNK];
    load_turned(shared.rope, packed, lane, q);
#pragma unroll
    for (int i = 0; i < CHUNK; i++)
        q[i] *= SCORE_UNIT;
    running of = {-INFINITY, 0, {}};
    attend(k, v, begin, end, first, q, of);
    if (blockIdx.x == 0 && threadIdx.x < 32)
        attend_new(shared.rope, packed + heads * D, packed + 2 * heads * D, k + position * D,
                   v + position * D, q, of);

    float highest, total;
    const float sum = merge_groups(shared, of, highest, total);
    number *o = at.o + sequence_head * D + threadIdx.x;
    if (gridDim.x == 1) {
        *o = from_float<number>(sum / total);
        return;
    }
    float *parts = at.parts + sequence_head * gridDim.x * PART;
    if (leave_part(shared, parts + blockIdx.x * PART, at.arrived + sequence_head, sum, highest,
                   total))
        *o = from_float<number>(merge_parts(shared, parts));
}

int64_t most_blocks(const tnl_context *context) {
    return (int64_t)context->multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
}

/* What lies in the workspace. */
void carve(tnl_carver *carver, const tnl_context *context, int heads, int64_t rows, arguments *at) {
    at->arrived = carver->take<unsigned>(rows * heads);
    at->parts = carver->take<float>(most_blocks(context) * PART);
}

} // namespace

size_t attention_cuda_workspace(const tnl_context *context, int heads, int64_t rows) {
    tnl_carver carver = {};
    arguments at;
    carve(&carver, context, heads, rows, &at);
    return carver.used;
}

/* As many splits as fit on the device together, none too short for what a split costs. */
int attention_cuda_splits(const attention_call *call) {
    const int64_t fit = most_blocks(call->context) / (call->rows * call->heads);
    const int64_t worth = call->longest / LEAST_TOKENS, most = THREADS;
    const int64_t splits = min(min(fit, worth), most);
    return (int)(splits > 1 ? splits : 1);
}

tnl_status attention_cuda_decode(const attention_call *call) {
    tnl_carver carver = {(char *)call->workspace, 0};
    arguments at = {.packed = (const number *)call->packed,
                    .k = (number *)call->k,
                    .v = (number *)call->v,
                    .o = (number *)call->o,
                    .positions = call->positions,
                    .capacity = call->capacity,
                    .turns = turns_of(call)};
    carve(&carver, call->context, call->heads, call->rows, &at);
    const dim3 grid((unsigned)attention_cuda_splits(call), (unsigned)call->heads,
                    (unsigned)call->rows);
    return launch_attention(call, decode_kernel, grid, THREADS, 0, at);
}
