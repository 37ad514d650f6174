/*
 * How the activation kernels share out tokens: a block has some tokens of one head, its
 * threadIdx.y numbers them and threadIdx.x their channels, W (16 bytes) a thread.
 */
#ifndef TNL_ACTIVATION_CUDA_TOKENS_CUH
#define TNL_ACTIVATION_CUDA_TOKENS_CUH

#include "kernels/common/cuda_activation.cuh"
#include "kernels/common/cuda_launch.cuh"

enum { ACTIVATION_THREADS = 256 };

/* A tensor [b,h,n,channels]. */
template <typename T> struct token_view {
    T *data;
    int64_t batch, head, token;
};

template <typename T> static token_view<T> view_of(const tnl_tensor *t) {
    return {(T *)t->data, t->stride[0], t->stride[1], t->stride[2]};
}

/* The tokens of a block: [first, end) of a batch entry's head. */
struct token_block {
    int64_t batch, head, first, end;

    template <typename T> __device__ T *row(const token_view<T> &view, int64_t token) const {
        return view.data + batch * view.batch + head * view.head + token * view.token;
    }
};

struct token_shape {
    int64_t n, d;
    unsigned h;
    unsigned tile;   /* tokens of a block */
    unsigned tiles;  /* blocks of a head of a batch entry */
    unsigned blocks; /* in all */
};

static inline token_shape shape_of(const tnl_call *call, unsigned tile) {
    const int64_t h = call->dim[DIM_H], n = call->dim[DIM_N];
    const unsigned tiles = (unsigned)ceil_div(n, tile);
    return {
        n, call->dim[DIM_D], (unsigned)h, tile, tiles, (unsigned)(call->dim[DIM_B] * h) * tiles};
}

static __device__ __forceinline__ token_block find_block(const token_shape &shape) {
    const unsigned tile = blockIdx.x % shape.tiles, head = blockIdx.x / shape.tiles;
    const int64_t first = (int64_t)tile * shape.tile, end = first + shape.tile;
    return {head / shape.h, head % shape.h, first, end < shape.n ? end : shape.n};
}

/* The angles of LRPE. */
struct lrpe {
    const float *theta;
    int64_t stride;
    positions at;
};

static inline lrpe lrpe_of(const tnl_call *call, int theta, int first, int cu_seqlens) {
    const tnl_tensor *tensor = call->tensor;
    return {(const float *)tensor[theta].data,
            tensor[theta].stride[0],
            {(const int64_t *)tensor[first].data, (const int32_t *)tensor[cu_seqlens].data,
             (int)call->dim[DIM_S]}};
}

/* The angles of a block's channels in shared memory, made once for all of its tokens. A thread has
 * channels x W + w of them, and finds them at w X + x, X being blockDim.x:
 *
 *     step[W X] | anew[W][threads] | theta[W X]
 */
template <int W> struct block_angles {
    rotation *step; /* by theta times blockDim.y, from one token of a thread to its next */
    rotation *anew; /* a place for each thread to put rotations that it makes one by one */
    float *theta;

    __device__ __forceinline__ block_angles(void *shared)
        : step((rotation *)shared), anew(step + blockDim.x * W),
          theta((float *)(anew + blockDim.x * blockDim.y * W)) {}

    /* Channels from `base` on. By all threads; what was there is used no more. steps: whether a
     * thread has more than one token. */
    __device__ __forceinline__ void make(const float *from, int64_t base, int64_t d, bool steps) {
        __syncthreads();
        for (unsigned c = threadIdx.y * blockDim.x + threadIdx.x; c < blockDim.x * W;
             c += blockDim.x * blockDim.y) {
            const unsigned at = c % W * blockDim.x + c / W;
            theta[at] = base + c < d ? from[base + c] : 0.0f;
            if (steps)
                step[at] = rotate(theta[at], blockDim.y);
        }
        __syncthreads();
    }
};

static size_t angle_bytes(const dim3 &block, int width_of_pack) {
    const size_t channels = block.x * (size_t)width_of_pack;
    return channels * ((1 + block.y) * sizeof(rotation) + sizeof(float));
}

/* The rotations of a thread's channels at one token after another. In the 16-bit types each is made
 * from the one before, an error of 2^-23 a step, where the positions follow one another: at most a
 * few times. float32 has no room for that, and makes each anew. */
template <typename T, int W> struct rotor {
    static constexpr bool STEPS = sizeof(T) < sizeof(float);
    rotation by[W];
    int64_t next = -1; /* the position that a step leads to */

    __device__ __forceinline__ void turn_to(int64_t t, const block_angles<W> &angles) {
        const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
        const unsigned threads = blockDim.x * blockDim.y;
        const bool follows = STEPS && t == next;
        /* seldom, and so by a short program that takes few registers */
#pragma unroll 1
        for (int w = 0; STEPS && !follows && w < W; w++)
            angles.anew[w * threads + thread] =
                rotate(angles.theta[w * blockDim.x + threadIdx.x], (double)t);
#pragma unroll
        for (int w = 0; w < W; w++) {
            const unsigned at = w * blockDim.x + threadIdx.x;
            if (follows) {
                const rotation step = angles.step[at], old = by[w];
                by[w] = {fmaf(old.cosine, step.cosine, -old.sine * step.sine),
                         fmaf(old.sine, step.cosine, old.cosine * step.sine)};
            } else if (STEPS) {
                by[w] = angles.anew[w * threads + thread];
            } else {
                by[w] = rotate(angles.theta[at], (double)t);
            }
        }
        next = t + blockDim.y;
    }
};

static inline dim3 block_of(const tnl_call *call, int width_of_pack) {
    const int64_t packs = ceil_div(call->dim[DIM_D], width_of_pack), n = call->dim[DIM_N];
    const int64_t most = ACTIVATION_THREADS, x = packs < most ? packs : most, y = most / x;
    return dim3((unsigned)x, (unsigned)(y < n ? y : n));
}

/* How many tokens a thread has one after another, at most so many: fewer where there would not be
 * blocks enough to keep every multiprocessor busy. */
static unsigned tokens_in_turn(const tnl_call *call, unsigned rows, unsigned most) {
    const int64_t heads = call->dim[DIM_B] * call->dim[DIM_H];
    const int64_t wanted = 8 * (int64_t)call->context->multiprocessors;
    while (most > 1 && heads * ceil_div(call->dim[DIM_N], rows * most) < wanted)
        most /= 2;
    return most;
}

#endif
