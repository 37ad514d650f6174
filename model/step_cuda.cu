/*
 * A decode step of the whole model in one kernel, for a few sequences: what pass.c's walk computes
 * in the recurrent form (Algorithm 2), in bfloat16, without a launch between its products.
 *
 * A block on every multiprocessor, all of them at once, has rows of every weight matrix. Of a layer
 * there are five rounds, each of which needs all values of the one before it:
 *
 *     QKVU    q | k | v | u = r W s            s: the residual stream, r: its norm's factor
 *     mixing  o = Algorithm 2 of q, k, v       a block has 8 or so columns of a head's state
 *     OUT     s += r' W (o u)                  r': of the norm of o
 *     GATE    p = (r W1 s) (r W2 s)
 *     DOWN    s += W3 p
 *
 * and behind the last layer the logits. Values go from block to block through step_exchange.cuh,
 * while the weights run ahead through step_weights.cuh.
 *
 * In a round a warp has columns of all of the block's rows, so it waits for no more of x than it
 * multiplies, and puts its sums on the block's board. After the round's one barrier a thread for
 * each row adds the warps' sums, and hands the result on. Every block makes the norm's factor for
 * itself. The stream, which stays with the block that has its rows, and all sums are float32; what
 * is exchanged, and so what a matrix is multiplied with, is bfloat16. All sums have a fixed order.
 *
 * A word of the exchange is written again a layer later, by a block that has waited for all values
 * of a round between; those were computed by blocks that had read it. A block without rows in a
 * round doesn't read what the round needs.
 *
 * Shared memory: board | stream | arrived, free[slots] | layers | x | o | ring[slots]
 */
#include "model/step_rounds.cuh"

namespace step {

constexpr int MOST_SLOTS = 32;

/* ---- shared memory ------------------------------------------------------------------------- */

/* Where in it what lies, in bytes from its beginning. */
struct places {
    size_t stream, barriers, layers, x, o, ring;
    int x_stride, stream_stride; /* elements */

    __host__ __device__ places(const struct shape &shape, int rows, int blocks, size_t board_bytes,
                               int slots) {
        const int most = shape.width > shape.hidden ? shape.width : shape.hidden;
        const size_t count = (size_t)rows;
        x_stride = most > shape.gated ? most : shape.gated;
        stream_stride = each_of(shape.width, blocks, 2);
        stream = board_bytes;
        barriers = stream + sizeof(float) * count * (size_t)stream_stride;
        layers = barriers + sizeof(uint64_t) * 2 * (size_t)slots;
        x = (layers + sizeof(tnl_step_layer) * (size_t)shape.layers + 15) / 16 * 16;
        o = x + sizeof(bf16) * count * (size_t)x_stride;
        ring = (o + sizeof(bf16) * count * (size_t)shape.hidden + 127) / 128 * 128;
    }
};

/* ---- the kernel ---------------------------------------------------------------------------- */

/* The last block to end counts the step. */
static __device__ __forceinline__ void end_step(const arguments &at) {
    sync_computing();
    if (threadIdx.x == 0 && atomicInc(&at.counter[1], gridDim.x - 1) == gridDim.x - 1)
        at.counter[0]++;
}

template <int ROWS> __global__ void __launch_bounds__(THREADS, 1) step_kernel(const arguments at) {
    extern __shared__ __align__(128) unsigned char memory[];
    board<ROWS> &shared = *(board<ROWS> *)memory;
    const places place(at.shape, ROWS, (int)gridDim.x, sizeof shared, at.ring_slots);
    uint64_t *arrived = (uint64_t *)(memory + place.barriers), *free = arrived + at.ring_slots;
    const ring weights = {(bf16 *)(memory + place.ring), arrived, free, at.ring_slots};
    const operands to = {(bf16 *)(memory + place.x),
                         (bf16 *)(memory + place.o),
                         (float *)(memory + place.stream),
                         place.x_stride,
                         at.shape.hidden,
                         place.stream_stride};
    const int thread = threadIdx.x;
    if (thread <= HEAD)
        shared.product[thread].make(rows_of(at.shape, thread), 2);
    if (thread == HEAD + 1)
        shared.columns.make(at.shape.hidden / STATE_COLUMNS, 1);
    if (thread >= 32 && thread < 32 + at.ring_slots) {
        bulk_barrier_init(&arrived[thread - 32]);
        bulk_barrier_init(&free[thread - 32], WARPS);
    }
    tnl_step_layer *layers = (tnl_step_layer *)(memory + place.layers);
    for (int i = thread; i < at.shape.layers; i += THREADS)
        layers[i] = at.layers[i];
    __syncthreads();
    if (thread >= COMPUTING) {
        ask_for_all(at.shape, shared.product, layers, at.head, weights);
        return;
    }
    rounds<ROWS> all = {at, shared, to, {weights, {0, 0}}, mixing<ROWS>(at, shared, layers), 0};
#if __CUDA_ARCH__ >= 900 /* elsewhere there are no bulk copies */
    all.run(at.counter[0] * 2u * (unsigned)at.shape.layers + 1);
#endif
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
    m.stream = carver.take<word>(rows * shape.width / 2);
    m.qkvu = carver.take<word>(rows * 2 * shape.hidden);
    m.o = carver.take<word>(rows * shape.hidden / 2);
    m.p = carver.take<word>(rows * shape.gated / 2);
    m.bytes = carver.used;
    return m;
}

/* What a block may have. */
static size_t shared_limit(const tnl_context *context) {
    int bytes = 0;
    if (cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, context->index) !=
        cudaSuccess)
        cudaGetLastError();
    return (size_t)bytes;
}

/* Slots of the ring that fit beside what else is there. */
template <int ROWS> static int ring_slots(const tnl_context *context, const struct shape &shape) {
    const size_t limit = shared_limit(context);
    int slots = 0;
    while (slots < MOST_SLOTS &&
           places(shape, ROWS, context->multiprocessors, sizeof(board<ROWS>), slots + 1).ring +
                   sizeof(bf16) * SLOT * (size_t)(slots + 1) <=
               limit)
        slots++;
    return slots;
}

static bool takes(const tnl_context *context, const tnl_step *of) {
#ifdef TNL_BUILT_FOR_90 /* elsewhere there are no bulk copies */
    const struct shape s = shape_of(of);
    const int d = s.hidden / s.heads,
              lines = STATE_COLUMNS * TNL_STEP_MOST_ROWS *
                      each_of(s.hidden / STATE_COLUMNS, context->multiprocessors, 1);
    return context->compute_capability >= 90 && of->type == TNL_BFLOAT16 && s.width % 8 == 0 &&
           s.hidden % 8 == 0 && s.gated % 8 == 0 && d % STATE_COLUMNS == 0 &&
           d <= STATE_ROWS * WARPS && lines <= TURN &&
           ring_slots<TNL_STEP_MOST_ROWS>(context, s) >= IN_FLIGHT;
#else
    (void)context, (void)of;
    return false;
#endif
}

template <int ROWS> static cudaError_t launch(const tnl_context *context, arguments at) {
    const size_t limit = shared_limit(context);
    at.ring_slots = ring_slots<ROWS>(context, at.shape);
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
