/*
 * A decode step of the whole model in one kernel, for a few sequences: what pass.c's walk computes
 * in the recurrent form (Algorithm 2), in bfloat16, without a launch between its products.
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
 *     x[2][rows][..] | squares[2][rows][COMPUTING] | arrived, free[WARPS][slots] |
 * ring[WARPS][slots]
 */
#include "model/step_mix.cuh"

namespace step {

constexpr int LEAST_SLOTS = LINES; /* of a warp's ring */
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
    const size_t all = x + sizeof(float) * 2 * (size_t)(rows * COMPUTING) +
                       sizeof(uint64_t) * 2 * (size_t)(WARPS * slots);
    return (all + 127) / 128 * 128;
}

/* ---- rounds --------------------------------------------------------------------------------- */

/* A barrier of the warps that compute. */
static __device__ __forceinline__ void sync_computing() {
    asm volatile("bar.sync 1, %0;" ::"n"(COMPUTING) : "memory");
}

/* The stream's element that a lane is to add to. */
static __device__ __forceinline__ float stream_at(const arguments &at, bool first, int b, int row) {
    return first ? at.scale * __bfloat162float(embedding_of(at, b)[row])
                 : exchange::get(at.stream + b * at.shape.width + row);
}

template <int ROWS> struct rounds {
    const arguments &at;
    ring weights;
    const shares *warps; /* of each warp of the block */
    operand<ROWS> even, odd;

    /* The block's x of a product. The first layer's comes from the embedding. flag: this layer's,
     * of all it hands on but the stream behind DOWN, whose flag is one more. */
    __device__ __forceinline__ void fill(int product, bool first, unsigned flag,
                                         const operand<ROWS> &x) const {
        if (product == OUT)
            fill_from<true>(at.o, at.qkvu + 3 * at.shape.hidden, 4 * at.shape.hidden,
                            at.shape.hidden, flag, x);
        else if (first && product == QKVU)
            fill_from_embedding(at, x);
        else if (product == DOWN)
            fill_from<false>(at.p, NULL, 0, at.shape.gated, flag, x);
        else
            fill_from<false>(at.stream, NULL, 0, at.shape.width, product == GATE ? flag : flag - 1,
                             x);
    }

    /* What a lane does with its sum, of row b of x and a line of the group that begins at `row`;
     * r: that row's factor. */
    __device__ __forceinline__ void give(int product, int row, int line, int b, float r, float sum,
                                         float before, unsigned flag) const {
        const float second = __shfl_xor_sync(0xffffffffu, sum, 8); /* of the gate's pair */
        const int lines = product == GATE ? line / 2 : line;
        if (b >= ROWS || row + lines >= warps[threadIdx.x / 32].of[product].end ||
            (product == GATE && line % 2))
            return;
        row += lines;
        if (product == QKVU)
            exchange::put(at.qkvu + b * 4 * at.shape.hidden + row, r * sum, flag);
        else if (product == OUT)
            exchange::put(at.stream + b * at.shape.width + row, fmaf(r, sum, before), flag);
        else if (product == GATE)
            exchange::put(at.p + b * at.shape.gated + row, (r * sum) * (r * second), flag);
        else if (product == DOWN)
            exchange::put(at.stream + b * at.shape.width + row, sum + before, flag + 1);
        else
            at.logits[(int64_t)b * at.shape.vocab + row] = __float2bfloat16_rn(r * sum);
    }

    /* A product's round: x, which is filled unless no warp of the block has rows, times them. */
    __device__ __forceinline__ void multiply(int product, bool first, unsigned flag) {
        const bool second = product == OUT || product == DOWN;
        const operand<ROWS> x = {second ? odd.x : even.x, second ? odd.squares : even.squares,
                                 second ? odd.stride : even.stride};
        if (warps[0].of[product].begin < warps[WARPS - 1].of[product].end)
            fill(product, first, flag, x);
        sync_computing();
        const share mine = warps[threadIdx.x / 32].of[product];
        const int each = product == GATE ? 2 : 1, depth = depth_of(at.shape, product);
        const int line = threadIdx.x % 32 / 8, b = threadIdx.x % 8;
        float r = 0;
        for (int row = mine.begin; row < mine.end; row += LINES / each) {
            const int lines = min(LINES, (mine.end - row) * each);
            const bool adds = (product == OUT || product == DOWN) && b < ROWS && line < lines;
            const float before = adds ? stream_at(at, first && product == OUT, b, row + line) : 0;
            const float sum = lines == 1   ? multiply_group<ROWS, 1>(weights, x.x, x.stride, depth)
                              : lines == 2 ? multiply_group<ROWS, 2>(weights, x.x, x.stride, depth)
                              : lines == 3 ? multiply_group<ROWS, 3>(weights, x.x, x.stride, depth)
                                           : multiply_group<ROWS, 4>(weights, x.x, x.stride, depth);
            if (row == mine.begin && product != DOWN)
                r = x.factor(product == OUT ? at.shape.hidden : at.shape.width);
            give(product, row, line, b, r, sum, before, flag);
        }
    }

    __device__ __forceinline__ void run(unsigned flag) {
        for (int layer = 0; layer < at.shape.layers; layer++, flag += 2)
            for (int product = QKVU; product <= DOWN; product++) {
                if (product == OUT)
                    mix_all<ROWS>(at, layer, flag);
                multiply(product, layer == 0, flag);
            }
        multiply(HEAD, false, flag);
    }
};

/* The last block to end counts the step. */
static __device__ __forceinline__ void end_step(const arguments &at) {
    sync_computing();
    if (threadIdx.x == 0 && atomicInc(&at.counter[1], gridDim.x - 1) == gridDim.x - 1)
        at.counter[0]++;
}

template <int ROWS> __global__ void __launch_bounds__(THREADS, 1) step_kernel(const arguments at) {
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ shares warps[WARPS];
    bf16 *x = (bf16 *)shared;
    const int columns[2] = {columns_of(at.shape, 0), columns_of(at.shape, 1)};
    float(*squares)[COMPUTING] = (float(*)[COMPUTING])(x + ROWS * (columns[0] + columns[1]));
    uint64_t *arrived = (uint64_t *)(squares + 2 * ROWS), *free = arrived + WARPS * at.ring_slots;
    bf16 *slots = (bf16 *)(shared + ring_offset(at.shape, ROWS, at.ring_slots));
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (warp < WARPS)
        warps[warp].make(at.shape, warp);
    for (int i = threadIdx.x; i < 2 * WARPS * at.ring_slots; i += THREADS)
        bulk_barrier_init(&arrived[i]);
    __syncthreads();
    if (warp == WARPS) {
        if (lane >= WARPS)
            return;
        cursor ahead;
        ahead.begin(at.shape, &warps[lane], at.layers, at.head);
        ask_for_all(at.shape, ahead, slots + lane * at.ring_slots * PIECE,
                    arrived + lane * at.ring_slots, free + lane * at.ring_slots, at.ring_slots);
        return;
    }
    rounds<ROWS> all = {at,
                        {slots + warp * at.ring_slots * PIECE, arrived + warp * at.ring_slots,
                         free + warp * at.ring_slots, at.ring_slots, 0, 0},
                        warps,
                        {x, squares, columns[0]},
                        {x + ROWS * columns[0], squares + ROWS, columns[1]}};
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
#ifdef TNL_BUILT_FOR_90 /* elsewhere there are no bulk copies */
    const struct shape s = shape_of(of);
    const int d = s.hidden / s.heads;
    return context->compute_capability >= 90 && of->type == TNL_BFLOAT16 && s.width % LANE == 0 &&
           s.hidden % LANE == 0 && s.gated % LANE == 0 && d % STATE_COLUMNS == 0 &&
           d <= STATE_ROWS * STATE_HELD &&
           ring_slots(s, TNL_STEP_MOST_ROWS, shared_limit(context)) >= LEAST_SLOTS;
#else
    (void)context, (void)of;
    return false;
#endif
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
    const cudaError_t error =
        rows == 1 ? step::launch<1>(context, at) : step::launch<TNL_STEP_MOST_ROWS>(context, at);
    if (error == cudaSuccess)
        return TNL_OK;
    cudaGetLastError();
    return tnl_fail(context, TNL_DEVICE_ERROR, "a decode step: CUDA reports: %s, expected success",
                    cudaGetErrorString(error));
}
