/*
 * The weights of a decode step on their way through shared memory. Every warp has a ring of slots
 * of its own. Which pieces of which rows a warp will need is known from the start, to the end of
 * the model, and depends on nothing that is computed: as soon as a slot is free its next piece is
 * asked for, however long the values that it is to be multiplied with are still in coming. So
 * memory is read without a break while blocks wait for each other.
 */
#ifndef TNL_MODEL_STEP_WEIGHTS_CUH
#define TNL_MODEL_STEP_WEIGHTS_CUH

#include "kernels/common/bulk.cuh"
#include "model/step.h"

namespace step {

constexpr int WARPS = 16, THREADS = 32 * WARPS;
constexpr int PIECE = 1024; /* elements of a slot */
constexpr int LANE = 8;     /* of them a lane takes at a time: 16 bytes */

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

    /* By the warp that they are for. */
    __device__ __forceinline__ void make(const struct shape &shape) {
        const int product = threadIdx.x % 32;
        const int64_t warp = blockIdx.x * WARPS + threadIdx.x / 32, warps = gridDim.x * WARPS;
        if (product <= HEAD) {
            const int64_t rows = rows_of(shape, product);
            of[product] = {(int)(rows * warp / warps), (int)(rows * (warp + 1) / warps)};
        }
        __syncwarp();
    }
};

/* The warp's pieces one after another. A row of the gate is two: of l1, then of l2. */
struct cursor {
    const tnl_step_layer *layers;
    const shares *all;
    const __nv_bfloat16 *head, *line, *other; /* line: the row's start; other: l2's beside l1's */
    int layer, product, left, at, depth;      /* left: rows, this one too; at: in the row */
    bool second;

    __device__ __forceinline__ void begin(const struct shape &shape, const shares *of,
                                          const tnl_step_layer *table,
                                          const __nv_bfloat16 *head_rows) {
        layers = table;
        all = of;
        head = head_rows;
        other = NULL;
        layer = product = at = 0;
        second = false;
        enter(shape);
        skip(shape);
    }

    __device__ __forceinline__ void enter(const struct shape &shape) {
        const share mine = all->of[product];
        const tnl_step_layer *from = layers + layer;
        depth = depth_of(shape, product);
        left = mine.end - mine.begin;
        const void *rows = head;
        if (product != HEAD)
            rows = product == QKVU   ? from->qkvu
                   : product == OUT  ? from->out
                   : product == DOWN ? from->l3
                                     : from->l1;
        const int64_t first = (int64_t)mine.begin * depth;
        line = (const __nv_bfloat16 *)rows + first;
        if (product == GATE)
            other = (const __nv_bfloat16 *)from->l2 + first;
    }

    /* On to a product that has rows for this warp; beyond the head there are none. */
    __device__ __forceinline__ void skip(const struct shape &shape) {
        while (product <= HEAD && left == 0) {
            if (product == DOWN && ++layer < shape.layers)
                product = QKVU;
            else
                product++;
            if (product > HEAD)
                return;
            enter(shape);
        }
    }

    __device__ __forceinline__ bool ended() const {
        return product > HEAD;
    }

    __device__ __forceinline__ const __nv_bfloat16 *source() const {
        return (second ? other : line) + at;
    }

    __device__ __forceinline__ int count() const {
        return min(PIECE, depth - at);
    }

    __device__ __forceinline__ void next(const struct shape &shape) {
        at += PIECE;
        if (at < depth)
            return;
        at = 0;
        if (product == GATE && !second) {
            second = true;
            return;
        }
        second = false;
        line += depth;
        other += depth;
        left--;
        skip(shape);
    }
};

/* Read once, and not to push out of the cache what blocks exchange. */
static __device__ __forceinline__ void load_piece(void *to, const void *from, unsigned bytes,
                                                  uint64_t *barrier) {
#if __CUDA_ARCH__ >= 900
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier)),
                 "l"(policy)
                 : "memory");
#endif
}

/* A warp's ring. */
struct ring {
    __nv_bfloat16 *slots;
    uint64_t *arrived; /* of each slot */
    int count, now;    /* slots; the one whose piece comes next */
    unsigned parity;
    cursor ahead; /* what the slots will have next */

    __device__ __forceinline__ void ask(const struct shape &shape, int slot) {
        if (ahead.ended())
            return;
        if (threadIdx.x % 32 == 0) {
            const unsigned bytes = (unsigned)ahead.count() * (unsigned)sizeof(__nv_bfloat16);
            bulk_expect(&arrived[slot], bytes);
            load_piece(slots + slot * PIECE, ahead.source(), bytes, &arrived[slot]);
        }
        ahead.next(shape);
    }

    __device__ __forceinline__ void begin(const struct shape &shape) {
        now = 0;
        parity = 0;
        if (threadIdx.x % 32 == 0)
            for (int i = 0; i < count; i++)
                bulk_barrier_init(&arrived[i]);
        __syncwarp();
        for (int i = 0; i < count; i++)
            ask(shape, i);
    }

    __device__ __forceinline__ const __nv_bfloat16 *take() const {
        bulk_wait(&arrived[now], parity);
        return slots + now * PIECE;
    }

    /* The piece just taken is done with. */
    __device__ __forceinline__ void release(const struct shape &shape) {
        __syncwarp();
        ask(shape, now);
        if (++now == count) {
            now = 0;
            parity ^= 1;
        }
    }
};

static __device__ __forceinline__ float low_half(unsigned two) {
    return __uint_as_float(two << 16);
}
static __device__ __forceinline__ float high_half(unsigned two) {
    return __uint_as_float(two & 0xffff0000u);
}

/* sum[b] = the next row of weights times row b of x (shared memory, `stride` apart), summed over
 * the warp, for every lane. */
template <int ROWS>
static __device__ __forceinline__ void multiply_row(ring &weights, const struct shape &shape,
                                                    const __nv_bfloat16 *x, int stride, int depth,
                                                    float (&sum)[ROWS]) {
    const int lane = threadIdx.x % 32 * LANE;
#pragma unroll
    for (int b = 0; b < ROWS; b++)
        sum[b] = 0;
    for (int k = 0; k < depth; k += PIECE) {
        const __nv_bfloat16 *piece = weights.take();
        const int end = min(PIECE, depth - k);
#pragma unroll
        for (int i = lane, n = 0; n < PIECE / (32 * LANE); n++, i += 32 * LANE) {
            if (i >= end)
                continue;
            const uint4 w = *(const uint4 *)(piece + i);
#pragma unroll
            for (int b = 0; b < ROWS; b++) {
                const uint4 v = *(const uint4 *)(x + b * stride + k + i);
                float s = sum[b];
                s = fmaf(low_half(w.x), low_half(v.x), s);
                s = fmaf(high_half(w.x), high_half(v.x), s);
                s = fmaf(low_half(w.y), low_half(v.y), s);
                s = fmaf(high_half(w.y), high_half(v.y), s);
                s = fmaf(low_half(w.z), low_half(v.z), s);
                s = fmaf(high_half(w.z), high_half(v.z), s);
                s = fmaf(low_half(w.w), low_half(v.w), s);
                s = fmaf(high_half(w.w), high_half(v.w), s);
                sum[b] = s;
            }
        }
        weights.release(shape);
    }
#pragma unroll
    for (int b = 0; b < ROWS; b++)
        sum[b] = warp_sum(sum[b]);
}

} // namespace step

#endif
