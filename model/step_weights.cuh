/*
 * The weights of a decode step on their way through shared memory. Every warp that computes has a
 * ring of slots of its own. Which pieces of which rows it will need is known from the start, to the
 * end of the model, and depends on nothing that is computed: a warp that does nothing else, a lane
 * for each ring, asks for the next piece as soon as a slot is free, however long the values that it
 * is to be multiplied with are still in coming. So memory is read without a break while blocks wait
 * for each other.
 *
 * A line is a row of a matrix; of the gate, whose two matrices are multiplied side by side, lines
 * come from l1 and l2 by turns. A warp takes its lines of a product in groups of up to LINES, and a
 * group's pieces come piece by piece, in each piece line by line.
 */
#ifndef TNL_MODEL_STEP_WEIGHTS_CUH
#define TNL_MODEL_STEP_WEIGHTS_CUH

#include "kernels/common/bulk.cuh"
#include "model/step.h"

namespace step {

constexpr int WARPS = 11; /* that compute; one more asks for weights */
constexpr int COMPUTING = 32 * WARPS, THREADS = COMPUTING + 32;
constexpr int PIECE = 1024; /* elements of a slot */
constexpr int LANE = 8;     /* of them a lane takes at a time: 16 bytes */
constexpr int LINES = 4;
constexpr int IN_FLIGHT = 6; /* pieces of a ring */

/* The products of a layer, in their order, and the one behind the last layer. */
enum product { QKVU, OUT, GATE, DOWN, HEAD };

struct shape {
    int layers, width, hidden, gated, vocab, heads; /* width: D */
};

__host__ __device__ static inline int rows_of(const struct shape &shape, int product) {
    return product == QKVU   ? 4 * shape.hidden
           : product == GATE ? shape.gated
           : product == HEAD ? shape.vocab
                             : shape.width;
}

__host__ __device__ static inline int depth_of(const struct shape &shape, int product) {
    return product == OUT ? shape.hidden : product == DOWN ? shape.gated : shape.width;
}

/* The rows of a product that a warp has. */
struct share {
    int begin, end;
};

/* Of every product; in shared memory, since to divide takes its time. */
struct shares {
    share of[HEAD + 1];

    /* By lanes of one warp; for warp number `warp` of the block. */
    __device__ __forceinline__ void make(const struct shape &shape, int warp) {
        const int product = threadIdx.x % 32;
        const int64_t number = blockIdx.x * WARPS + warp, all = gridDim.x * WARPS;
        if (product <= HEAD) {
            const int64_t rows = rows_of(shape, product);
            of[product] = {(int)(rows * number / all), (int)(rows * (number + 1) / all)};
        }
    }
};

/* A warp's pieces one after another. */
struct cursor {
    const tnl_step_layer *layers;
    const shares *all;
    const __nv_bfloat16 *head, *line, *other; /* the group's first row, of l1; its first of l2 */
    int layer, product, depth;
    int left, lines, now, at; /* lines of the product; of the group; the one; where in it */

    __device__ __forceinline__ void begin(const struct shape &shape, const shares *of,
                                          const tnl_step_layer *table,
                                          const __nv_bfloat16 *head_rows) {
        layers = table;
        all = of;
        head = head_rows;
        layer = product = 0;
        enter(shape);
        skip(shape);
    }

    __device__ __forceinline__ void enter(const struct shape &shape) {
        const share mine = all->of[product];
        const tnl_step_layer *from = layers + layer;
        depth = depth_of(shape, product);
        left = (mine.end - mine.begin) * (product == GATE ? 2 : 1);
        lines = min(LINES, left);
        now = at = 0;
        const void *rows = head;
        if (product != HEAD)
            rows = product == QKVU   ? from->qkvu
                   : product == OUT  ? from->out
                   : product == DOWN ? from->l3
                                     : from->l1;
        const int64_t first = (int64_t)mine.begin * depth;
        line = (const __nv_bfloat16 *)rows + first;
        other = product == GATE ? (const __nv_bfloat16 *)from->l2 + first : line;
    }

    /* On to a product that has rows for this warp; beyond the head there are none. */
    __device__ __forceinline__ void skip(const struct shape &shape) {
        while (product <= HEAD && left == 0) {
            if (product == DOWN && ++layer < shape.layers)
                product = QKVU;
            else
                product++;
            if (product <= HEAD)
                enter(shape);
        }
    }

    __device__ __forceinline__ bool ended() const {
        return product > HEAD;
    }

    __device__ __forceinline__ const __nv_bfloat16 *source() const {
        if (product == GATE)
            return (now % 2 ? other : line) + now / 2 * depth + at;
        return line + now * depth + at;
    }

    __device__ __forceinline__ int count() const {
        return min(PIECE, depth - at);
    }

    __device__ __forceinline__ void next(const struct shape &shape) {
        if (++now < lines)
            return;
        now = 0;
        at += PIECE;
        if (at < depth)
            return;
        at = 0;
        const int rows = product == GATE ? lines / 2 : lines;
        line += (int64_t)rows * depth;
        other += (int64_t)rows * depth;
        left -= lines;
        lines = min(LINES, left);
        skip(shape);
    }
};

/* A warp's ring, as the warp sees it that takes pieces from it. */
struct ring {
    const __nv_bfloat16 *slots;
    uint64_t *arrived, *free; /* of each slot */
    int count, now;           /* slots; the one whose piece comes next */
    unsigned parity;

    /* The piece that comes next, for all lanes. */
    __device__ __forceinline__ const __nv_bfloat16 *take() const {
        bulk_wait(&arrived[now], parity);
        return slots + now * PIECE;
    }
    /* All lanes have read it. */
    __device__ __forceinline__ void release() const {
        if (threadIdx.x % 32 == 0)
            bulk_arrive(&free[now]);
    }
    __device__ __forceinline__ void step() {
        if (++now == count) {
            now = 0;
            parity ^= 1;
        }
    }
};

/* A slot of a ring and the parity of its phase, moving on. */
struct ring_place {
    int slot;
    unsigned parity;

    __device__ __forceinline__ void step(int count) {
        if (++slot == count) {
            slot = 0;
            parity ^= 1;
        }
    }
};

/* The warp that asks: lane i for the ring of warp i, slot after slot. By lanes 0 to WARPS - 1. No
 * more than IN_FLIGHT pieces of a ring are asked for and not there: what blocks exchange waits in
 * the same queues. */
static __device__ __forceinline__ void ask_for_all(const struct shape &shape, cursor ahead,
                                                   __nv_bfloat16 *slots, uint64_t *arrived,
                                                   uint64_t *free, int count) {
    constexpr unsigned LANES = (1u << WARPS) - 1;
    constexpr unsigned PAUSE = 20; /* nanoseconds: not to be in the way of those who compute */
    ring_place next = {0, 1};      /* whose phase is one before the first, which has ended */
    ring_place oldest = {0, 0};    /* of those in flight */
    int in_flight = 0;
    while (__any_sync(LANES, !ahead.ended())) {
        if (in_flight > 0 && bulk_test(&arrived[oldest.slot], oldest.parity)) {
            oldest.step(count);
            in_flight--;
        }
        const bool ready =
            !ahead.ended() && in_flight < IN_FLIGHT && bulk_test(&free[next.slot], next.parity);
        if (ready) {
            const unsigned bytes = (unsigned)ahead.count() * (unsigned)sizeof(__nv_bfloat16);
            bulk_expect(&arrived[next.slot], bytes);
            bulk_load(slots + next.slot * PIECE, ahead.source(), bytes, &arrived[next.slot]);
            ahead.next(shape);
            next.step(count);
            in_flight++;
        }
        if (!__any_sync(LANES, ready))
            __nanosleep(PAUSE);
    }
}

/* ---- products ------------------------------------------------------------------------------ */

static __device__ __forceinline__ float low_half(unsigned two) {
    return __uint_as_float(two << 16);
}
static __device__ __forceinline__ float high_half(unsigned two) {
    return __uint_as_float(two & 0xffff0000u);
}

/* Two sums, of the even and the odd elements. */
static __device__ __forceinline__ void multiply_add(float (&sum)[2], const uint4 &w,
                                                    const uint4 &x) {
    const unsigned ws[4] = {w.x, w.y, w.z, w.w}, xs[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum[0] = fmaf(low_half(ws[i]), low_half(xs[i]), sum[0]);
        sum[1] = fmaf(high_half(ws[i]), high_half(xs[i]), sum[1]);
    }
}

/* Sums over the warp of up to four values: lane L gets that of value L / 8. */
static __device__ __forceinline__ float sum_four(const float (&value)[LINES]) {
    const int lane = threadIdx.x % 32;
    const bool high = lane & 16, odd = lane & 8;
    float a = high ? value[2] : value[0], b = high ? value[3] : value[1];
    a += __shfl_xor_sync(0xffffffffu, high ? value[0] : value[2], 16);
    b += __shfl_xor_sync(0xffffffffu, high ? value[1] : value[3], 16);
    float sum = (odd ? b : a) + __shfl_xor_sync(0xffffffffu, odd ? a : b, 8);
#pragma unroll
    for (int distance = 4; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
}

/* The next COUNT lines times the rows of x (shared memory, `stride` apart): lane
 * 8 i + b gets line i times row b. */
template <int ROWS, int COUNT>
static __device__ __forceinline__ float multiply_group(ring &weights, const __nv_bfloat16 *x,
                                                       int stride, int depth) {
    static_assert(COUNT <= LINES && ROWS <= 8, "a lane for each sum");
    const int lane = threadIdx.x % 32;
    float sum[COUNT][ROWS][2] = {};
    for (int k = 0; k < depth; k += PIECE) {
        ring to_free = weights;
        const __nv_bfloat16 *piece[COUNT];
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            piece[i] = weights.take();
            weights.step();
        }
        const int end = min(PIECE, depth - k);
#pragma unroll
        for (int n = 0; n < PIECE / (32 * LANE); n++) {
            const int at = (n * 32 + lane) * LANE;
            if (at >= end)
                continue;
            uint4 w[COUNT];
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                w[i] = *(const uint4 *)(piece[i] + at);
#pragma unroll
            for (int b = 0; b < ROWS; b++) {
                const uint4 v = *(const uint4 *)(x + b * stride + k + at);
#pragma unroll
                for (int i = 0; i < COUNT; i++)
                    multiply_add(sum[i][b], w[i], v);
            }
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            to_free.release();
            to_free.step();
        }
    }
    float mine = 0;
#pragma unroll
    for (int b = 0; b < ROWS; b++) {
        float value[LINES] = {};
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            value[i] = sum[i][b][0] + sum[i][b][1];
        const float whole = sum_four(value);
        mine = lane % 8 == b ? whole : mine;
    }
    return mine;
}

} // namespace step

#endif
