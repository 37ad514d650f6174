/*
 * The weights of a decode step on their way through shared memory: a ring of slots of the block.
 * Which pieces of which rows a block will need is known from the start, to the end of the model,
 * and depends on nothing that is computed: a warp that does nothing else asks for the next piece as
 * soon as a slot is free, however long the values that it is to be multiplied with are still in
 * coming. So memory is read without a break while blocks wait for each other.
 *
 * A block has rows of each product, and takes them in turns of up to TURN lines. A line is a row of
 * a matrix; of the gate, whose two matrices are multiplied side by side, a turn has first the rows
 * of l1 and then those of l2. A piece is LINES lines by SEGMENT columns; of a turn's, all segments
 * of the first lines come first. Every warp multiplies SLICE columns of every piece.
 */
#ifndef TNL_MODEL_STEP_WEIGHTS_CUH
#define TNL_MODEL_STEP_WEIGHTS_CUH

#include "kernels/common/bulk.cuh"
#include "model/step.h"

namespace step {

using bf16 = __nv_bfloat16;

constexpr int WARPS = 8; /* that compute; one more asks for weights */
constexpr int COMPUTING = 32 * WARPS, THREADS = COMPUTING + 32;
constexpr int LINES = 8;   /* of a piece */
constexpr int SLICE = 128; /* columns of a piece that a warp multiplies */
constexpr int SEGMENT = SLICE * WARPS;
constexpr int PITCH = SEGMENT + 32; /* from line to line: neighbours lie in other banks */
constexpr int SLOT = LINES * PITCH;
constexpr int TURN = 96;     /* lines */
constexpr int IN_FLIGHT = 4; /* pieces that are asked for and not there */

/* The products of a layer, in their order, and the one behind the last layer. */
enum product { QKVU, OUT, GATE, DOWN, HEAD };

/* A product and whose layer's it is. */
struct round {
    int layer, product;

    /* On to the next; false: there is none behind the head. */
    __device__ __forceinline__ bool next(int layers) {
        const bool ended = product == HEAD;
        if (product == DOWN)
            product = ++layer < layers ? QKVU : HEAD;
        else
            product++;
        return !ended;
    }
};

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

/* How many of `count` things each of the blocks has, the last fewer or none: a multiple of unit. */
__host__ __device__ static inline int each_of(int count, int blocks, int unit) {
    return (count + blocks * unit - 1) / (blocks * unit) * unit;
}

struct share {
    int begin, end;

    __device__ __forceinline__ void make(int count, int unit) {
        const int each = each_of(count, (int)gridDim.x, unit);
        begin = min(count, (int)blockIdx.x * each);
        end = min(count, begin + each);
    }
    __device__ __forceinline__ int count() const {
        return end - begin;
    }
};

/* A block's turns of a product, one after another. */
struct turns {
    int row, end, each; /* matrices side by side */

    __device__ __forceinline__ turns(int product, const share &mine)
        : row(mine.begin), end(mine.end), each(product == GATE ? 2 : 1) {}
    __device__ __forceinline__ bool more() const {
        return row < end;
    }
    __device__ __forceinline__ int rows() const {
        return min(TURN / each, end - row);
    }
    __device__ __forceinline__ int lines() const {
        return rows() * each;
    }
    __device__ __forceinline__ void next() {
        row += TURN / each;
    }
};

/* A slot of the ring and the parity of its phase, moving on. */
struct place {
    int slot;
    unsigned parity;

    __device__ __forceinline__ void step(int count) {
        if (++slot == count) {
            slot = 0;
            parity ^= 1;
        }
    }
};

struct ring {
    bf16 *slots;
    uint64_t *arrived, *free; /* of each slot */
    int count;
};

/* The ring as a warp sees it that takes pieces from it. */
struct taker {
    ring of;
    place now;

    __device__ __forceinline__ const bf16 *take() const {
        bulk_wait(&of.arrived[now.slot], now.parity);
        return of.slots + now.slot * SLOT;
    }
    __device__ __forceinline__ void step() {
        now.step(of.count);
    }
    /* The warp has multiplied the piece. To have asked for its loads is not enough: the next piece
     * can overtake them. */
    __device__ __forceinline__ void release() {
        __syncwarp();
        if (threadIdx.x % 32 == 0)
            bulk_arrive(&of.free[now.slot]);
        step();
    }
};

/* The ring as the warp sees it that asks; a lane for each line of a piece. */
struct asker {
    ring of;
    place next, oldest; /* of those in flight */
    int in_flight;

    /* The next piece, once no more than IN_FLIGHT are on their way: what blocks exchange waits in
     * the same queues. */
    __device__ __forceinline__ void ask(const bf16 *line, int lines, int columns) {
        const int lane = (int)threadIdx.x % 32;
        const unsigned bytes = (unsigned)columns * (unsigned)sizeof(bf16);
        if (in_flight == IN_FLIGHT) {
            bulk_wait(&of.arrived[oldest.slot], oldest.parity);
            oldest.step(of.count);
            in_flight--;
        }
        bulk_wait(&of.free[next.slot], next.parity);
        if (lane == 0)
            bulk_expect(&of.arrived[next.slot], bytes * (unsigned)lines);
        __syncwarp();
        if (lane < lines)
            bulk_load(of.slots + next.slot * SLOT + lane * PITCH, line, bytes,
                      &of.arrived[next.slot]);
        next.step(of.count);
        in_flight++;
    }

    /* A block's share of a product; `second`: of the gate, l2. */
    __device__ __forceinline__ void ask_product(int product, const share &mine, int depth,
                                                const void *first, const void *second) {
        const int lane = (int)threadIdx.x % 32;
        for (turns turn(product, mine); turn.more(); turn.next())
            for (int begin = 0; begin < turn.lines(); begin += LINES) {
                const int i = begin + lane, rows = turn.rows();
                const bf16 *matrix = (const bf16 *)(i < rows ? first : second);
                const bf16 *line = matrix + (int64_t)(turn.row + (i < rows ? i : i - rows)) * depth;
                for (int at = 0; at < depth; at += SEGMENT)
                    ask(line + at, min(LINES, turn.lines() - begin), min(SEGMENT, depth - at));
            }
    }
};

static __device__ __forceinline__ void ask_for_all(const struct shape &shape, const share *mine,
                                                   const tnl_step_layer *layers, const bf16 *head,
                                                   const ring &of) {
    /* a slot is free at first: the phase before its first has ended */
    asker asks = {of, {0, 1}, {0, 0}, 0};
    round now = {0, QKVU};
    do {
        const tnl_step_layer &layer = layers[min(now.layer, shape.layers - 1)];
        const void *matrix = now.product == QKVU   ? layer.qkvu
                             : now.product == OUT  ? layer.out
                             : now.product == GATE ? layer.l1
                             : now.product == DOWN ? layer.l3
                                                   : head;
        asks.ask_product(now.product, mine[now.product], depth_of(shape, now.product), matrix,
                         layer.l2);
    } while (now.next(shape.layers));
}

} // namespace step

#endif
