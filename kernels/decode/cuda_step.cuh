/*
 * One decode step of a slot and head: swish and LRPE on q and k, then, with the state S [f,e],
 *     S <- decay S + (growth k)^T v,      o = (shrinkage q) S,
 * S being read and written once. Algorithms 1 and 2 differ in the three factors only.
 *
 * A block has some columns of S, W (16 bytes) for each threadIdx.x, and all of its rows, every
 * blockDim.y-th of them for each threadIdx.y; a thread has STEP_ROWS of them in flight. The first
 * are asked for before q and k are made. Shared memory:
 *
 *     q[f] | k[f] | sums[blockDim.y][blockDim.x W]
 *
 * q and k after their activation, times their factors; the threads' sums for o.
 */
#ifndef TNL_DECODE_CUDA_STEP_CUH
#define TNL_DECODE_CUDA_STEP_CUH

#include "kernels/common/cuda_activation.cuh"

enum { STEP_THREADS = 256, STEP_ROWS = 8 };

/* q and k of a call whose f is larger would not fit in shared memory. */
enum { STEP_LARGEST_F = 4096 };

/* A tensor [b,h,..]. */
template <typename T> struct head_view {
    T *data;
    int64_t batch, head;
    __device__ T *at(int64_t token, int64_t i) const {
        return data + token * batch + i * head;
    }
};

struct state_view {
    float *data;
    int64_t slot, head, row;
};

template <typename T> struct step_tensors {
    head_view<T> q, k, v, o;
    state_view state;
    const float *slope, *theta; /* theta NULL: no LRPE */
    int64_t theta_stride;
    const int64_t *positions; /* NULL: 0 */
    const int32_t *slots;     /* NULL: 0, 1, .. */
};

struct step_shape {
    int64_t h, d, f, e;
    unsigned tiles; /* blocks of a head of a token */
};

struct step_factors {
    float decay, growth, shrinkage;
};

/* Algorithm 2, the robust one; and Algorithm 1, whose state is lambda^-t times as large. */
template <bool ORIGIN> static __device__ step_factors factors_of(float slope, double t) {
    if (ORIGIN)
        return {1, (float)exp((double)slope * t), (float)exp(-(double)slope * t)};
    return {(float)exp(-(double)slope), 1, 1};
}

/* q and k of a head into shared memory. */
template <typename T>
static __device__ __forceinline__ void
activate(const step_tensors<T> &tensors, const step_shape &shape, int64_t token, int64_t head,
         double t, const step_factors &factors, float *q, float *k) {
    const T *q_in = tensors.q.at(token, head), *k_in = tensors.k.at(token, head);
    for (int64_t i = threadIdx.y * blockDim.x + threadIdx.x; i < shape.d;
         i += blockDim.x * blockDim.y) {
        const float from_q = swish<T>(to_float(q_in[i])), from_k = swish<T>(to_float(k_in[i]));
        rotation by = {1, 0};
        if (tensors.theta) {
            by = rotate(tensors.theta[head * tensors.theta_stride + i], t);
            q[shape.d + i] = factors.shrinkage * (from_q * by.sine);
            k[shape.d + i] = factors.growth * (from_k * by.sine);
        }
        q[i] = factors.shrinkage * (from_q * by.cosine);
        k[i] = factors.growth * (from_k * by.cosine);
    }
}

template <bool ORIGIN, typename T, int W>
static __global__ void __launch_bounds__(STEP_THREADS)
    step_kernel(const step_tensors<T> tensors, const step_shape shape) {
    extern __shared__ float shared[];
    float *q = shared, *k = q + shape.f, *sums = k + shape.f;

    const unsigned tile = blockIdx.x % shape.tiles, item = blockIdx.x / shape.tiles;
    const int64_t token = item / shape.h, head = item % shape.h;
    const int64_t slot = tensors.slots ? tensors.slots[token] : token;
    if (slot < 0)
        return;
    const int64_t column = ((int64_t)tile * blockDim.x + threadIdx.x) * W;
    const int64_t rows = column < shape.e ? shape.f : 0;
    float *state =
        tensors.state.data + slot * tensors.state.slot + head * tensors.state.head + column;

    pack<float, W> held[STEP_ROWS];
    auto read = [&](int64_t first) {
#pragma unroll
        for (int j = 0; j < STEP_ROWS; j++) {
            const int64_t row = first + j * blockDim.y;
            if (row < rows)
                held[j] = *(const pack<float, W> *)(state + row * tensors.state.row);
        }
    };
    read(threadIdx.y);

    const double t = tensors.positions ? (double)tensors.positions[token] : 0;
    const step_factors factors = factors_of<ORIGIN>(tensors.slope[head], t);
    activate(tensors, shape, token, head, t, factors, q, k);
    float v[W] = {}, o[W] = {};
    for (int w = 0; w < W && rows; w++)
        v[w] = to_float(tensors.v.at(token, head)[column + w]);
    __syncthreads();

    for (int64_t first = threadIdx.y; first < rows; first += STEP_ROWS * blockDim.y) {
#pragma unroll
        for (int j = 0; j < STEP_ROWS; j++) {
            const int64_t row = first + j * blockDim.y;
            if (row >= rows)
                break;
#pragma unroll
            for (int w = 0; w < W; w++) {
                held[j].at[w] = fmaf(factors.decay, held[j].at[w], k[row] * v[w]);
                o[w] = fmaf(q[row], held[j].at[w], o[w]);
            }
            *(pack<float, W> *)(state + row * tensors.state.row) = held[j];
        }
        read(first + STEP_ROWS * blockDim.y);
    }

    const unsigned columns = blockDim.x * W;
#pragma unroll
    for (int w = 0; w < W; w++)
        sums[threadIdx.y * columns + threadIdx.x * W + w] = o[w];
    __syncthreads();
    for (unsigned c = threadIdx.y * blockDim.x + threadIdx.x; c < columns;
         c += blockDim.x * blockDim.y) {
        const int64_t at = (int64_t)tile * columns + c;
        float sum = 0;
        for (unsigned y = 0; y < blockDim.y; y++)
            sum += sums[y * columns + c];
        if (at < shape.e)
            tensors.o.at(token, head)[at] = from_float<T>(sum);
    }
}

/* ---- launching ------------------------------------------------------------------------------ */

template <typename T> static head_view<T> head_view_of(const tnl_tensor *t) {
    return {(T *)t->data, t->stride[0], t->stride[1]};
}

/* Threads along the columns: a warp, so that it reads a row's 512 bytes at once; fewer, and more
 * blocks, where there would not be a block for each multiprocessor; no more than there are
 * columns for. */
static unsigned columns_of_block(const tnl_call *call, int width_of_pack) {
    const int64_t packs = ceil_div(call->dim[DIM_E], width_of_pack);
    const int64_t items = call->dim[DIM_B] * call->dim[DIM_H];
    unsigned x = 32;
    while (x > 8 && (items * ceil_div(packs, x) < call->context->multiprocessors || packs <= x / 2))
        x /= 2;
    return x;
}

template <bool ORIGIN, typename T, int W> static tnl_status run_step(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor, *state = &tensor[DECODE_STATE];
    const step_tensors<T> tensors = {
        head_view_of<T>(&tensor[DECODE_Q]),
        head_view_of<T>(&tensor[DECODE_K]),
        head_view_of<T>(&tensor[DECODE_V]),
        head_view_of<T>(&tensor[DECODE_O]),
        {(float *)state->data, state->stride[0], state->stride[1], state->stride[2]},
        (const float *)tensor[DECODE_SLOPE].data,
        (const float *)tensor[DECODE_THETA].data,
        tensor[DECODE_THETA].stride[0],
        (const int64_t *)tensor[DECODE_POSITIONS].data,
        (const int32_t *)tensor[DECODE_SLOTS].data};
    const dim3 block(columns_of_block(call, W), STEP_THREADS / columns_of_block(call, W));
    const step_shape shape = {call->dim[DIM_H], call->dim[DIM_D], call->dim[DIM_F],
                              call->dim[DIM_E],
                              (unsigned)ceil_div(call->dim[DIM_E], (int64_t)block.x * W)};
    const unsigned blocks = (unsigned)(call->dim[DIM_B] * shape.h) * shape.tiles;
    const size_t shared = sizeof(float) * (size_t)(2 * shape.f + STEP_THREADS * W);
    step_kernel<ORIGIN, T, W><<<blocks, block, shared, tnl_stream(call)>>>(tensors, shape);
    return tnl_launched(call);
}

template <bool ORIGIN> static tnl_status launch_step(const tnl_call *call) {
    const bool wide = tnl_allows_16_bytes(&call->tensor[DECODE_STATE]);
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        return wide ? run_step<ORIGIN, T, 4>(call) : run_step<ORIGIN, T, 1>(call);
    });
}

static const char *rejects_step(const tnl_call *call) {
    return call->dim[DIM_F] > STEP_LARGEST_F ? "f is over 4096" : NULL;
}

#endif
