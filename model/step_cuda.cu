/*
 * A decode step of the whole model in one kernel, for a few sequences: what pass.c's walk computes
 * in the recurrent form (Algorithm 2), in bfloat16, at the rate at which memory gives the weights.
 *
 * A block on every multiprocessor, all of them at once; a warp has rows of every weight matrix. Of
 * a layer there are five rounds, each of which needs all values of the one before it:
 *
 *     QKVU    q | k | v | u = r W s            s: the residual stream, r: its norm's factor
 *     mixing  o = Algorithm 2 of q, k, v       a warp has 8 columns of a head's state
 *     OUT     s += r' W (o u)                  r': of the norm of o
 *     GATE    p = (r W1 s) (r W2 s)
 *     DOWN    s += W3 p
 *
 * and behind the last layer the logits. Values go from block to block through step_exchange.cuh,
 * while the weights run ahead through step_weights.cuh. Every block makes the norm's factor for
 * itself. The stream, sums and what is exchanged are float32; x, what a matrix is multiplied with,
 * is rounded to bfloat16, before its norm's factor. All sums have a fixed order.
 *
 * A word of the exchange is written again a layer later, by a warp that has waited for all values
 * of a round between; those were computed by blocks that had read it. A block without rows in a
 * round doesn't read what the round needs.
 *
 * Shared memory; x has two places by turns, so that a round's needs one barrier of the block:
 *
 *     x[2][rows][columns] | squares[2][rows][WARPS] | arrived[WARPS][slots] | ring[WARPS][slots]
 */
#include "kernels/common/cuda_activation.cuh"
#include "model/step_exchange.cuh"
#include "model/step_weights.cuh"

namespace step {

using exchange::word;
using bf16 = __nv_bfloat16;

constexpr int BATCH = 4;         /* pairs of words that a thread waits for at a time */
constexpr int STATE_COLUMNS = 8; /* of a warp: 32 bytes */
constexpr int STATE_ROWS = 16;   /* of a warp at a time, two lanes each */
constexpr int LEAST_SLOTS = 2;   /* of a warp's ring */
constexpr int STATE_HELD = 8;    /* times as many are asked for before q, k and v have come */

struct arguments {
    struct shape shape;
    const tnl_step_layer *layers;
    const bf16 *embedding, *head;
    bf16 *logits;
    float scale; /* of the embedding */
    const int64_t *positions;
    const int32_t *slots, *tokens;
    word *stream, *qkvu, *o, *p;
    unsigned *counter; /* steps so far, blocks that have ended */
    int ring_slots;
};

constexpr size_t STATIC_BYTES = (sizeof(shares) * WARPS + 127) / 128 * 128;

/* ---- shared memory ------------------------------------------------------------------------- */

__host__ __device__ static inline int columns_of(const struct shape &shape, int place) {
    const int most = shape.hidden > shape.gated ? shape.hidden : shape.gated;
    return place ? most : shape.width;
}

__host__ __device__ static inline size_t ring_offset(const struct shape &shape, int rows,
                                                     int slots) {
    const size_t x =
        sizeof(bf16) * (size_t)rows * (size_t)(columns_of(shape, 0) + columns_of(shape, 1));
    const size_t all =
        x + sizeof(float) * 2 * (size_t)(rows * WARPS) + sizeof(uint64_t) * (size_t)(WARPS * slots);
    return (all + 127) / 128 * 128;
}

/* ---- a block's x --------------------------------------------------------------------------- */

/* The rows of x of a round, where they are, and the squares of what the norm is of. */
template <int ROWS> struct operand {
    bf16 *x;
    float (*squares)[WARPS];
    int stride;

    __device__ __forceinline__ void store(int b, int column, float first, float second) const {
        *(__nv_bfloat162 *)(x + b * stride + column) = __floats2bfloat162_rn(first, second);
    }
    __device__ __forceinline__ void keep(int b, float square) const {
        square = warp_sum(square);
        if (threadIdx.x % 32 == 0)
            squares[b][threadIdx.x / 32] = square;
    }
    /* The norm's factor, after a barrier. */
    __device__ __forceinline__ void factors(int width, float (&r)[ROWS]) const {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int b = 0; b < ROWS; b++)
            r[b] = rsqrtf(warp_sum(lane < WARPS ? squares[b][lane] : 0) / (float)width +
                          (float)TNL_DEFAULT_EPS);
    }
};

static __device__ __forceinline__ const bf16 *embedding_of(const arguments &at, int b) {
    return at.embedding + (int64_t)max(at.tokens[b], 0) * at.shape.width;
}

template <int ROWS>
static __device__ __forceinline__ void fill_from_embedding(const arguments &at,
                                                           const operand<ROWS> &to) {
    for (int b = 0; b < ROWS; b++) {
        const bf16 *from = embedding_of(at, b);
        float square = 0;
        for (int i = 2 * threadIdx.x; i < at.shape.width; i += 2 * THREADS) {
            const float2 two = __bfloat1622float2(*(const __nv_bfloat162 *)(from + i));
            const float first = at.scale * two.x, second = at.scale * two.y;
            to.store(b, i, first, second);
            square = fmaf(first, first, fmaf(second, second, square));
        }
        to.keep(b, square);
    }
}

/* x = the words, whose squares are kept where NORM. */
template <bool NORM, int ROWS>
static __device__ __forceinline__ void fill_from(const word *words, int columns, unsigned flag,
                                                 const operand<ROWS> &to) {
    for (int b = 0; b < ROWS; b++) {
        float square = 0;
        for (int first = 2 * threadIdx.x; first < columns; first += 2 * THREADS * BATCH) {
            float value[2 * BATCH];
            exchange::wait<BATCH>(words + b * columns, first, 2 * THREADS, columns, flag, value);
#pragma unroll
            for (int i = 0; i < BATCH; i++) {
                const float x = value[2 * i], y = value[2 * i + 1];
                if (first + i * 2 * THREADS < columns)
                    to.store(b, first + i * 2 * THREADS, x, y);
                square = fmaf(x, x, fmaf(y, y, square));
            }
        }
        if (NORM)
            to.keep(b, square);
    }
}

/* x = o u, the norm being o's. */
template <int ROWS>
static __device__ __forceinline__ void fill_gated(const arguments &at, unsigned flag,
                                                  const operand<ROWS> &to) {
    const int columns = at.shape.hidden;
    for (int b = 0; b < ROWS; b++) {
        const word *us = at.qkvu + (b * 4 + 3) * columns, *os = at.o + b * columns;
        float square = 0;
        for (int first = 2 * threadIdx.x; first < columns; first += 2 * THREADS * BATCH) {
            float o[2 * BATCH], u[2 * BATCH];
            exchange::wait<BATCH>(us, first, 2 * THREADS, columns, flag, u);
            exchange::wait<BATCH>(os, first, 2 * THREADS, columns, flag, o);
#pragma unroll
            for (int i = 0; i < BATCH; i++) {
                const float x = o[2 * i], y = o[2 * i + 1];
                if (first + i * 2 * THREADS < columns)
                    to.store(b, first + i * 2 * THREADS, x * u[2 * i], y * u[2 * i + 1]);
                square = fmaf(x, x, fmaf(y, y, square));
            }
        }
        to.keep(b, square);
    }
}

/* ---- mixing -------------------------------------------------------------------------------- */

/* One row of the state: S <- decay S + k v, o += q S. */
static __device__ __forceinline__ void step_row(float4 &s, float decay, float q, float k,
                                                const float (&v)[4], float (&o)[4]) {
    s.x = fmaf(decay, s.x, k * v[0]);
    s.y = fmaf(decay, s.y, k * v[1]);
    s.z = fmaf(decay, s.z, k * v[2]);
    s.w = fmaf(decay, s.w, k * v[3]);
    o[0] = fmaf(q, s.x, o[0]);
    o[1] = fmaf(q, s.y, o[1]);
    o[2] = fmaf(q, s.z, o[2]);
    o[3] = fmaf(q, s.w, o[3]);
}

/* A lane's channels of q or k, 2 lane + 64 i and the one behind it, after swish. */
struct channels {
    float at[2][2];

    __device__ __forceinline__ void wait(const word *words, int d, unsigned flag) {
        float value[4];
        exchange::wait<2>(words, 2 * (int)(threadIdx.x % 32), 64, d, flag, value);
#pragma unroll
        for (int i = 0; i < 4; i++)
            at[i / 2][i % 2] = swish<bf16>(value[i]);
    }
    /* That of the lane's row in step j of the state, lane / 2 + STATE_ROWS j. */
    __device__ __forceinline__ float of_row(int j) const {
        const int lane = threadIdx.x % 32, from = lane / 4 + 8 * (j % 4);
        const float even = __shfl_sync(0xffffffffu, at[j / 4][0], from);
        const float odd = __shfl_sync(0xffffffffu, at[j / 4][1], from);
        return lane / 2 % 2 ? odd : even;
    }
};

/* LRPE's factors of the lane's channels, cosines or sines. */
static __device__ __forceinline__ void turn(channels &q, channels &k, const channels &q_in,
                                            const channels &k_in, const float *theta, int d,
                                            double t, bool sines) {
#pragma unroll 1
    for (int i = 0; i < 4; i++) {
        const int channel = 2 * (int)(threadIdx.x % 32) + i / 2 * 64 + i % 2;
        const rotation by = rotate(channel < d ? theta[channel] : 0, t);
        const float factor = sines ? by.sine : by.cosine;
#pragma unroll
        for (int j = 0; j < 4; j++) /* registers have no index */
            if (i == j) {
                q.at[j / 2][j % 2] = q_in.at[j / 2][j % 2] * factor;
                k.at[j / 2][j % 2] = k_in.at[j / 2][j % 2] * factor;
            }
    }
}

/* Eight columns of a head's state, from `column` on; two lanes a row. With LRPE the state has two
 * parts of d rows, one for the cosines and one for the sines. */
static __device__ __forceinline__ void mix(const arguments &at, const tnl_step_layer &layer, int b,
                                           int head, int column, unsigned flag) {
    const int d = at.shape.hidden / at.shape.heads, parts = layer.theta ? 2 : 1;
    const int lane = threadIdx.x % 32, mine = column + lane % 2 * 4, slot = at.slots[b];
    const word *words = at.qkvu + b * 4 * at.shape.hidden + head * d;
    const float decay = expf(-layer.slope[head]);
    const int64_t first = ((int64_t)max(slot, 0) * at.shape.heads + head) * parts * d;
    float *state = layer.state + (first + lane / 2) * d + mine;
    channels q_in, k_in;
    float v[4], o[4] = {};
    for (int part = 0; part < parts; part++, state += d * d) {
        float4 held[STATE_HELD];
#pragma unroll
        for (int j = 0; j < STATE_HELD; j++)
            if (lane / 2 + j * STATE_ROWS < d)
                held[j] = *(const float4 *)(state + j * STATE_ROWS * d);
        if (part == 0) {
            q_in.wait(words, d, flag);
            k_in.wait(words + at.shape.hidden, d, flag);
            exchange::wait<2>(words + 2 * at.shape.hidden + mine, 0, 2, 4, flag, v);
        }
        channels q = q_in, k = k_in;
        if (layer.theta)
            turn(q, k, q_in, k_in, layer.theta + head * d, d, (double)at.positions[b], part);
#pragma unroll
        for (int j = 0; j < STATE_HELD; j++) {
            const float q_row = q.of_row(j), k_row = k.of_row(j);
            if (lane / 2 + j * STATE_ROWS >= d)
                continue;
            step_row(held[j], decay, q_row, k_row, v, o);
            if (slot >= 0)
                *(float4 *)(state + j * STATE_ROWS * d) = held[j];
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int distance = 2; distance < 32; distance *= 2)
            o[i] += __shfl_xor_sync(0xffffffffu, o[i], distance);
        if (lane < 2)
            exchange::put(at.o + b * at.shape.hidden + head * d + mine + i, o[i], flag);
    }
}

template <int ROWS>
static __device__ __forceinline__ void mix_all(const arguments &at, int layer, unsigned flag) {
    const int groups = at.shape.hidden / STATE_COLUMNS; /* of a token */
    const int d = at.shape.hidden / at.shape.heads;
    const int first = (int)(threadIdx.x / 32 * gridDim.x + blockIdx.x);
    for (int task = first; task < ROWS * groups; task += WARPS * (int)gridDim.x) {
        const int column = task % groups * STATE_COLUMNS;
        mix(at, at.layers[layer], task / groups, column / d, column % d, flag);
    }
}

/* ---- products ------------------------------------------------------------------------------ */

/* The element of this lane's row of x, of those that every lane has. */
template <int ROWS> static __device__ __forceinline__ float own(const float (&value)[ROWS]) {
    float mine = value[0];
#pragma unroll
    for (int b = 1; b < ROWS; b++)
        mine = (int)(threadIdx.x % 32) == b ? value[b] : mine;
    return mine;
}

/* The stream's element that this lane is to add to. */
static __device__ __forceinline__ float stream_at(const arguments &at, bool first, int b, int row) {
    return first ? at.scale * __bfloat162float(embedding_of(at, b)[row])
                 : exchange::get(at.stream + b * at.shape.width + row);
}

template <int ROWS> struct rounds {
    const arguments &at;
    ring &weights;
    const shares *warps; /* of each warp of the block */
    operand<ROWS> place[2];

    __device__ __forceinline__ share own_share(int product) const {
        return warps[threadIdx.x / 32].of[product];
    }

    /* The block's x for this round, filled unless no warp of it has rows. */
    template <typename F> __device__ __forceinline__ void prepare(int product, F fill) const {
        if (warps[0].of[product].begin < warps[WARPS - 1].of[product].end)
            fill();
        __syncthreads();
    }

    /* give(row, value): value is this lane's, of row threadIdx.x % 32 of x below ROWS. */
    template <typename F>
    __device__ __forceinline__ void multiply(int product, const operand<ROWS> &x, F give) {
        const share of = own_share(product);
        const int depth = depth_of(at.shape, product);
        for (int row = of.begin; row < of.end; row++) {
            float sum[ROWS];
            multiply_row(weights, at.shape, x.x, x.stride, depth, sum);
            if (threadIdx.x % 32 < ROWS)
                give(row, own(sum));
        }
    }

    __device__ __forceinline__ void project(int layer, unsigned flag) {
        const operand<ROWS> &x = place[0];
        prepare(QKVU, [&] {
            if (layer == 0)
                fill_from_embedding(at, x);
            else
                fill_from<true>(at.stream, at.shape.width, flag - 1, x);
        });
        float r[ROWS];
        x.factors(at.shape.width, r);
        const int b = threadIdx.x % 32, columns = 4 * at.shape.hidden;
        multiply(QKVU, x, [&](int row, float value) {
            exchange::put(at.qkvu + b * columns + row, own(r) * value, flag);
        });
    }

    /* s += W x, with the norm's factor where NORM. */
    template <bool NORM>
    __device__ __forceinline__ void add(int product, bool first, unsigned flag) {
        const operand<ROWS> &x = place[1];
        float r[ROWS];
        if (NORM)
            x.factors(at.shape.hidden, r);
        const int b = threadIdx.x % 32;
        const share of = own_share(product);
        const int depth = depth_of(at.shape, product);
        for (int row = of.begin; row < of.end; row++) {
            const float before = b < ROWS ? stream_at(at, first, b, row) : 0;
            float sum[ROWS];
            multiply_row(weights, at.shape, x.x, x.stride, depth, sum);
            if (b < ROWS)
                exchange::put(at.stream + b * at.shape.width + row,
                              fmaf(NORM ? own(r) : 1, own(sum), before), flag);
        }
    }

    __device__ __forceinline__ void gate(unsigned flag) {
        const operand<ROWS> &x = place[0];
        prepare(GATE, [&] { fill_from<true>(at.stream, at.shape.width, flag, x); });
        float r[ROWS];
        x.factors(at.shape.width, r);
        const int b = threadIdx.x % 32;
        const share of = own_share(GATE);
        const int depth = at.shape.width;
        for (int row = of.begin; row < of.end; row++) {
            float v[ROWS], u[ROWS];
            multiply_row(weights, at.shape, x.x, x.stride, depth, v);
            multiply_row(weights, at.shape, x.x, x.stride, depth, u);
            if (b < ROWS)
                exchange::put(at.p + b * at.shape.gated + row,
                              (own(r) * own(v)) * (own(r) * own(u)), flag);
        }
    }

    __device__ __forceinline__ void logits(unsigned flag) {
        const operand<ROWS> &x = place[0];
        prepare(HEAD, [&] { fill_from<true>(at.stream, at.shape.width, flag, x); });
        float r[ROWS];
        x.factors(at.shape.width, r);
        const int b = threadIdx.x % 32;
        multiply(HEAD, x, [&](int row, float value) {
            at.logits[(int64_t)b * at.shape.vocab + row] = __float2bfloat16_rn(own(r) * value);
        });
    }

    __device__ __forceinline__ void run(unsigned flag) {
        for (int layer = 0; layer < at.shape.layers; layer++, flag += 2) {
            project(layer, flag);
            mix_all<ROWS>(at, layer, flag);
            prepare(OUT, [&] { fill_gated(at, flag, place[1]); });
            add<true>(OUT, layer == 0, flag);
            gate(flag);
            prepare(DOWN, [&] { fill_from<false>(at.p, at.shape.gated, flag, place[1]); });
            add<false>(DOWN, false, flag + 1);
        }
        logits(flag - 1);
    }
};

/* The last block to end counts the step. */
static __device__ __forceinline__ void end_step(const arguments &at) {
    __syncthreads();
    if (threadIdx.x == 0 && atomicInc(&at.counter[1], gridDim.x - 1) == gridDim.x - 1)
        at.counter[0]++;
}

template <int ROWS> __global__ void __launch_bounds__(THREADS, 1) step_kernel(const arguments at) {
    extern __shared__ __align__(128) unsigned char shared[];
    bf16 *x = (bf16 *)shared;
    const int columns[2] = {columns_of(at.shape, 0), columns_of(at.shape, 1)};
    float(*squares)[WARPS] = (float(*)[WARPS])(x + ROWS * (columns[0] + columns[1]));
    uint64_t *arrived = (uint64_t *)(squares + 2 * ROWS);
    bf16 *slots = (bf16 *)(shared + ring_offset(at.shape, ROWS, at.ring_slots));
    __shared__ shares warps[WARPS];
    const int warp = threadIdx.x / 32;
    warps[warp].make(at.shape);
    ring weights;
    weights.slots = slots + warp * at.ring_slots * PIECE;
    weights.arrived = arrived + warp * at.ring_slots;
    weights.count = at.ring_slots;
    weights.ahead.begin(at.shape, &warps[warp], at.layers, at.head);
    weights.begin(at.shape);
    __syncthreads();
    rounds<ROWS> all = {
        at,
        weights,
        warps,
        {{x, squares, columns[0]}, {x + ROWS * columns[0], squares + ROWS, columns[1]}}};
    all.run(at.counter[0] * 2u * (unsigned)at.shape.layers + 1);
    end_step(at);
}

/* ---- launching ----------------------------------------------------------------------------- */

static struct shape shape_of(const tnl_step *of) {
    return {of->layers, of->width, of->hidden, of->gated, of->vocab, of->heads};
}

/* What lies in the state's memory for the step. */
struct memory {
    tnl_step_layer *layers;
    unsigned *counter;
    word *stream, *qkvu, *o, *p;
    size_t bytes;
};

static memory lay_out(const struct shape &shape, void *base) {
    tnl_carver carver = {(char *)base, 0};
    const int64_t rows = TNL_STEP_MOST_ROWS;
    memory m;
    m.layers = carver.take<tnl_step_layer>(shape.layers);
    m.counter = carver.take<unsigned>(2);
    m.stream = carver.take<word>(rows * shape.width);
    m.qkvu = carver.take<word>(rows * 4 * shape.hidden);
    m.o = carver.take<word>(rows * shape.hidden);
    m.p = carver.take<word>(rows * shape.gated);
    m.bytes = carver.used;
    return m;
}

/* Of a block's shared memory, what the kernel does not have besides. */
static size_t shared_limit(const tnl_context *context) {
    int bytes = 0;
    if (cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, context->index) !=
        cudaSuccess)
        cudaGetLastError();
    return (size_t)bytes > STATIC_BYTES ? (size_t)bytes - STATIC_BYTES : 0;
}

/* Slots of a warp's ring that fit beside x; below 2: the step does not take this shape. */
static int ring_slots(const struct shape &shape, int rows, size_t limit) {
    int slots = 0;
    while (slots < 64 && ring_offset(shape, rows, slots + 1) +
                                 sizeof(bf16) * PIECE * WARPS * (size_t)(slots + 1) <=
                             limit)
        slots++;
    return slots;
}

static bool takes(const tnl_context *context, const tnl_step *of) {
    const struct shape s = shape_of(of);
    return context->compute_capability >= 90 && of->type == TNL_BFLOAT16 && s.width % LANE == 0 &&
           s.hidden % LANE == 0 && s.gated % LANE == 0 && s.hidden / s.heads % STATE_COLUMNS == 0 &&
           s.hidden / s.heads <= STATE_ROWS * STATE_HELD &&
           ring_slots(s, TNL_STEP_MOST_ROWS, shared_limit(context)) >= LEAST_SLOTS;
}

template <int ROWS> static cudaError_t launch(const tnl_context *context, arguments at) {
    const size_t limit = shared_limit(context);
    at.ring_slots = ring_slots(at.shape, ROWS, limit);
    cudaError_t error = cudaFuncSetAttribute(
        step_kernel<ROWS>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)limit);
    if (error != cudaSuccess)
        return error;
    cudaLaunchAttribute together;
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)context->multiprocessors);
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = limit;
    config.stream = (cudaStream_t)context->stream;
    config.attrs = &together;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, step_kernel<ROWS>, at);
}

} // namespace step

size_t tnl_cuda_step_bytes(const tnl_context *context, const tnl_step *of) {
    return step::takes(context, of) ? step::lay_out(step::shape_of(of), NULL).bytes : 0;
}

tnl_status tnl_cuda_step(tnl_context *context, const tnl_step *of, int rows) {
    const struct step::shape shape = step::shape_of(of);
    const struct step::memory m = step::lay_out(shape, of->memory);
    const step::arguments at = {shape,
                                m.layers,
                                (const step::bf16 *)of->embedding,
                                (const step::bf16 *)of->head,
                                (step::bf16 *)of->logits,
                                of->scale,
                                of->positions,
                                of->slots,
                                of->tokens,
                                m.stream,
                                m.qkvu,
                                m.o,
                                m.p,
                                m.counter,
                                0};
    const cudaError_t error = rows == 1   ? step::launch<1>(context, at)
                              : rows == 2 ? step::launch<2>(context, at)
                              : rows == 3 ? step::launch<3>(context, at)
                                          : step::launch<4>(context, at);
    if (error == cudaSuccess)
        return TNL_OK;
    cudaGetLastError();
    return tnl_fail(context, TNL_DEVICE_ERROR, "a decode step: CUDA reports: %s, expected success",
                    cudaGetErrorString(error));
}
