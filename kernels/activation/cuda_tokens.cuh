/*
 * How the activation kernels share out tokens: a block has some tokens of one head, its
 * threadIdx.y numbers them and threadIdx.x their channels, W (16 bytes) a thread.
 */
#ifndef TNL_ACTIVATION_CUDA_TOKENS_CUH
#define TNL_ACTIVATION_CUDA_TOKENS_CUH

#include "kernels/common/cuda_activation.cuh"

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
    int64_t h, n, d;
    unsigned tile;   /* tokens of a block */
    unsigned tiles;  /* blocks of a head of a batch entry */
    unsigned blocks; /* in all */
};

static inline token_shape shape_of(const tnl_call *call, unsigned tile) {
    const int64_t h = call->dim[DIM_H], n = call->dim[DIM_N];
    const unsigned tiles = (unsigned)ceil_div(n, tile);
    return {h, n, call->dim[DIM_D], tile, tiles, (unsigned)(call->dim[DIM_B] * h) * tiles};
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

static inline dim3 block_of(const tnl_call *call, int width_of_pack) {
    const int64_t packs = ceil_div(call->dim[DIM_D], width_of_pack), n = call->dim[DIM_N];
    const int64_t most = ACTIVATION_THREADS, x = packs < most ? packs : most, y = most / x;
    return dim3((unsigned)x, (unsigned)(y < n ? y : n));
}

#endif
