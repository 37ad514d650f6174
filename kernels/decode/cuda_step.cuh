/*
 * One decode step of a slot and head: swish and LRPE on q and k, then, with the state S [f,e],
 *     S <- decay S + (growth k)^T v,      o = (shrinkage q) S,
 * S being read and written once. Algorithms 1 and 2 differ in the three factors only.
 *
 * A block has some columns of S, W (16 bytes) for each threadIdx.x, and all of its rows, every
 * blockDim.y-th of them for each threadIdx.y; a thread has STEP_ROWS of them in flight. The first
 * are asked for before q and k are made, but after what these are made from; and where states are
 * settled (core/dispatch.h) they are on their way to the L2 before the kernels ahead have ended, as
 * many of them as was best of none, 2, 4, .. 32 (STEP_ROWS). Shared memory:
 *
 *     q[f] | k[f] | sums[warps][blockDim.x W]
 *
 * q and k after their activation, times their factors; the warps' sums for o. Few tokens have a
 * kernel of their own, a shorter one, since its instructions come from memory too; it waits first.
 */
#ifndef TNL_DECODE_CUDA_STEP_CUH
#define TNL_DECODE_CUDA_STEP_CUH

#include "kernels/common/cuda_activation.cuh"
#include "kernels/common/cuda_launch.cuh"

/* The rows that a thread has in flight, and the blocks of a multiprocessor: more of these are worth
 * more than more of those. */
enum { STEP_THREADS = 256, STEP_ROWS = 4, STEP_BLOCKS = 5, STEP_COLUMNS = 8 };

/* few_tokens_kernel(): its threads, the rows of a state, and the elements of a pack. */
constexpr int FEW_THREADS = 128, FEW_ROWS = FEW_THREADS, FEW_PACK = 4;

/* q and k of a call whose f is larger would not fit in shared memory. */
enum { STEP_LARGEST_F = 4096 };
/* Of a grid's y and z. */
enum { STEP_MOST_BLOCKS = 65535 };

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
    const float *slope, *theta; /* theta: with LRPE alone */
    int64_t theta_stride;
    const int64_t *positions; /* NULL: 0 */
    const int32_t *slots;     /* NULL: 0, 1, .. */
};

struct step_shape {
    int d, f, e;
    bool settled; /* states and slots are, as in core/dispatch.h */
};

struct step_factors {
    float decay, growth, shrinkage;
};

/* Algorithm 2, the robust one; and Algorithm 1, whose state is lambda^-t times as large. */
template <bool ORIGIN>
static __device__ __forceinline__ step_factors factors_of(float slope, int64_t t) {
    if (ORIGIN)
        return {1, (float)exp((double)slope * (double)t), (float)exp(-(double)slope * (double)t)};
    return {expf(-slope), 1, 1};
}

/* What q and k of a head are made from. The first channel of each thread is asked for before the
 * state, behind which it would have to wait. */
template <bool ROTATED, typename T> struct step_input {
    const T *q, *k;
    const float *theta;
    int64_t t;
    float slope;
    T first_q, first_k;
    float first_theta;

    __device__ __forceinline__ step_input(const step_tensors<T> &tensors, const step_shape &shape,
                                          int64_t token, int64_t head, int i)
        : q(tensors.q.at(token, head)), k(tensors.k.at(token, head)),
          theta(tensors.theta + head * tensors.theta_stride),
          t(tensors.positions ? tensors.positions[token] : 0), slope(tensors.slope[head]),
          first_q(), first_k(), first_theta(0) {
        if (i < shape.d) {
            first_q = q[i];
            first_k = k[i];
            if (ROTATED)
                first_theta = theta[i];
        }
    }

    /* Into shared memory, by `threads` threads of which this is the i-th. */
    __device__ __forceinline__ void activate(const step_shape &shape, const step_factors &factors,
                                             int i, int threads, float *q_out, float *k_out) const {
#pragma unroll 1
        for (int c = i; c < shape.d; c += threads) {
            const bool first = c == i;
            const float from_q = swish<T>(to_float(first ? first_q : q[c]));
            const float from_k = swish<T>(to_float(first ? first_k : k[c]));
            rotation by = {1, 0};
            if (ROTATED) {
                by = rotate(first ? first_theta : theta[c], (double)t);
                q_out[shape.d + c] = factors.shrinkage * (from_q * by.sine);
                k_out[shape.d + c] = factors.growth * (from_k * by.sine);
            }
            q_out[c] = factors.shrinkage * (from_q * by.cosine);
            k_out[c] = factors.growth * (from_k * by.cosine);
        }
    }
};

/* o of the block's columns, from first on: the sum over the block's threads, `lanes` of which have
 * W columns each, one after another, and those behind them the same columns again. The lanes of a
 * warp that have the same columns add up theirs first; sums: [warps][lanes W]. */
template <int W, typename T>
static __device__ __forceinline__ void add_up(float (&o)[W], float *sums, int lanes, int first,
                                              int e, int thread, int threads, T *to) {
    const int columns = lanes * W, lane = thread % 32, warp = thread / 32;
#pragma unroll
    for (int w = 0; w < W; w++) {
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2)
            if (distance >= lanes)
                o[w] += __shfl_xor_sync(0xffffffffu, o[w], distance);
        if (lane < lanes)
            sums[warp * columns + lane * W + w] = o[w];
    }
    __syncthreads();
    for (int c = thread; c < columns; c += threads) {
        float sum = 0;
#pragma unroll 4
        for (int y = 0; y < threads / 32; y++)
            sum += sums[y * columns + c];
        if (first + c < e)
            to[first + c] = from_float<T>(sum);
    }
}

/* Have the first STEP_ROWS rows of a thread's columns brought to the L2, of `rows` in all. */
template <typename T>
static __device__ __forceinline__ void ask_for_rows(const step_tensors<T> &tensors, unsigned token,
                                                    unsigned head, int column, int rows) {
#if __CUDA_ARCH__ >= 900 /* elsewhere there is nothing to wait for after it */
    const int64_t slot = tensors.slots ? tensors.slots[token] : (int64_t)token;
    const float *state =
        tensors.state.data + slot * tensors.state.slot + head * tensors.state.head + column;
    const int end = slot < 0 || threadIdx.x % 8 > 0 ? 0 : min(rows, STEP_ROWS * (int)blockDim.y);
    for (int row = (int)threadIdx.y; row < end; row += (int)blockDim.y)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(state + row * tensors.state.row));
#endif
}

/* Block (tile, head, token). */
template <bool ORIGIN, bool ROTATED, typename T, int W>
static __global__ void __launch_bounds__(STEP_THREADS, ORIGIN ? STEP_BLOCKS - 1 : STEP_BLOCKS)
    step_kernel(const step_tensors<T> tensors, const step_shape shape) {
    extern __shared__ float shared[];
    float *q = shared, *k = q + shape.f, *sums = k + shape.f;

    const unsigned token = blockIdx.z, head = blockIdx.y;
    const int lanes = (int)blockDim.x, distance = (int)blockDim.y;
    const int thread = (int)threadIdx.y * lanes + (int)threadIdx.x, threads = lanes * distance;
    const int first_column = (int)blockIdx.x * lanes * W;
    const int column = first_column + (int)threadIdx.x * W;
    const int rows = column < shape.e ? shape.f : 0;
    if (shape.settled)
        ask_for_rows(tensors, token, head, column, rows);
    await_previous();
    const int64_t slot = tensors.slots ? tensors.slots[token] : (int64_t)token;
    if (slot < 0)
        return;
    const step_input<ROTATED, T> input(tensors, shape, token, head, thread);
    T v_in[W] = {};
#pragma unroll
    for (int w = 0; w < W; w++)
        if (rows)
            v_in[w] = tensors.v.at(token, head)[column + w];
    float *state =
        tensors.state.data + slot * tensors.state.slot + head * tensors.state.head + column;

    using elements = pack<float, W>;
    elements held[STEP_ROWS];
    const int hop = distance * (int)tensors.state.row; /* from one row of the thread to its next */
    int at = (int)threadIdx.y * (int)tensors.state.row;
#pragma unroll
    for (int j = 0; j < STEP_ROWS; j++)
        if ((int)threadIdx.y + j * distance < rows)
            held[j] = *(const elements *)(state + at + j * hop);

    const step_factors factors = factors_of<ORIGIN>(input.slope, input.t);
    input.activate(shape, factors, thread, threads, q, k);
    float v[W], o[W] = {};
#pragma unroll
    for (int w = 0; w < W; w++)
        v[w] = to_float(v_in[w]);
    __syncthreads();

    for (int first = (int)threadIdx.y; first < rows; first += STEP_ROWS * distance) {
#pragma unroll
        for (int j = 0; j < STEP_ROWS; j++) {
            const int row = first + j * distance;
            if (row >= rows)
                break;
#pragma unroll
            for (int w = 0; w < W; w++) {
                held[j].at[w] = fmaf(factors.decay, held[j].at[w], k[row] * v[w]);
                o[w] = fmaf(q[row], held[j].at[w], o[w]);
            }
            *(elements *)(state + at) = held[j];
            if (row + STEP_ROWS * distance < rows)
                held[j] = *(const elements *)(state + at + STEP_ROWS * hop);
            at += hop;
            asm volatile("" : "+r"(at)); /* one place that moves on, not one for each j */
        }
    }

    add_up<W, T>(o, sums, lanes, first_column, shape.e, thread, threads, tensors.o.at(token, head));
}

/* A pack that no other thread reads: it passes the first-level cache by, which saves 0.07 of 4.77
 * microseconds for one token. */
static __device__ __forceinline__ pack<float, FEW_PACK> load_alone(const float *from) {
    pack<float, FEW_PACK> p;
    asm volatile("ld.global.L1::no_allocate.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(p.at[0]), "=f"(p.at[1]), "=f"(p.at[2]), "=f"(p.at[3])
                 : "l"(from)
                 : "memory");
    return p;
}

/* The same for few tokens and states of FEW_ROWS rows, whose parts are whole blocks. The threads
 * that share STEP_COLUMNS packs of a row have as many rows, one after another: each makes q and k
 * for one of them, and gives these to the others. */
template <bool ORIGIN, bool ROTATED, typename T>
static __global__ void __launch_bounds__(FEW_THREADS)
    few_tokens_kernel(const step_tensors<T> tensors, const step_shape shape) {
    constexpr int W = FEW_PACK, COLUMNS = STEP_COLUMNS * W;
    using elements = pack<float, W>;
    __shared__ float sums[FEW_THREADS / 32 * COLUMNS];

    await_previous();
    const unsigned token = blockIdx.z, head = blockIdx.y;
    const int64_t slot = tensors.slots ? tensors.slots[token] : (int64_t)token;
    if (slot < 0)
        return;
    const unsigned row = threadIdx.x, lane = row % STEP_COLUMNS, d = (unsigned)shape.d;
    const unsigned of_sine = ROTATED && row >= d, channel = of_sine ? row - d : row;
    const T q_in = tensors.q.at(token, head)[channel], k_in = tensors.k.at(token, head)[channel];
    const float theta = ROTATED ? tensors.theta[head * tensors.theta_stride + channel] : 0;
    const int64_t t = tensors.positions ? tensors.positions[token] : 0;
    const float slope = tensors.slope[head];
    const unsigned first_column = blockIdx.x * COLUMNS, column = first_column + lane * W;
    const pack<T, W> v_in = *(const pack<T, W> *)(tensors.v.at(token, head) + column);
    const int hop = (int)tensors.state.row;
    float *state = tensors.state.data + slot * tensors.state.slot + head * tensors.state.head +
                   ((int)(row - lane) * hop + (int)column);
    elements held[STEP_COLUMNS];
#pragma unroll
    for (int j = 0; j < STEP_COLUMNS; j++)
        held[j] = load_alone(state + j * hop);

    const step_factors factors = factors_of<ORIGIN>(slope, t);
    float decay = factors.decay;
    asm volatile("" : "+f"(decay)); /* now, while the state is on its way */
    float own_q = factors.shrinkage * swish<T>(to_float(q_in));
    float own_k = factors.growth * swish<T>(to_float(k_in));
    if (ROTATED) {
        const rotation by = rotate(theta, (double)t);
        own_q *= of_sine ? by.sine : by.cosine;
        own_k *= of_sine ? by.sine : by.cosine;
    }
    float o[W] = {};
#pragma unroll
    for (int j = 0; j < STEP_COLUMNS; j++) {
        const float q = __shfl_sync(0xffffffffu, own_q, j, STEP_COLUMNS);
        const float k = __shfl_sync(0xffffffffu, own_k, j, STEP_COLUMNS);
#pragma unroll
        for (int w = 0; w < W; w++) {
            held[j].at[w] = fmaf(decay, held[j].at[w], k * to_float(v_in.at[w]));
            o[w] = fmaf(q, held[j].at[w], o[w]);
        }
        *(elements *)(state + j * hop) = held[j];
    }

    add_up<W>(o, sums, STEP_COLUMNS, (int)first_column, shape.e, (int)threadIdx.x, FEW_THREADS,
              tensors.o.at(token, head));
}

/* ---- launching ------------------------------------------------------------------------------ */

template <typename T> static head_view<T> head_view_of(const tnl_tensor *t) {
    return {(T *)t->data, t->stride[0], t->stride[1]};
}

/* Whether few_tokens_kernel() takes the states. */
static bool takes_few_tokens(const tnl_call *call) {
    return call->dim[DIM_F] == FEW_ROWS && call->dim[DIM_E] % (STEP_COLUMNS * FEW_PACK) == 0 &&
           tnl_allows_16_bytes(&call->tensor[DECODE_STATE]) &&
           tnl_allows_16_bytes(&call->tensor[DECODE_V]);
}

/* Threads along the columns: 16, so that a row's 256 bytes are read at once; 8, and more blocks,
 * where the multiprocessors have room for more blocks than there would be, twice as many of
 * few_tokens_kernel(), or a row is short. */
static unsigned columns_of_block(const tnl_call *call, int width_of_pack) {
    const int64_t packs = ceil_div(call->dim[DIM_E], width_of_pack);
    const int64_t blocks = call->dim[DIM_B] * call->dim[DIM_H] * ceil_div(packs, 2 * STEP_COLUMNS);
    const int64_t few =
        (takes_few_tokens(call) ? 2 : 1) * STEP_BLOCKS * call->context->multiprocessors;
    return packs <= STEP_COLUMNS || blocks < few ? STEP_COLUMNS : 2 * STEP_COLUMNS;
}

template <typename T> static step_tensors<T> step_tensors_of(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor, *state = &tensor[DECODE_STATE];
    return {head_view_of<T>(&tensor[DECODE_Q]),
            head_view_of<T>(&tensor[DECODE_K]),
            head_view_of<T>(&tensor[DECODE_V]),
            head_view_of<T>(&tensor[DECODE_O]),
            {(float *)state->data, state->stride[0], state->stride[1], state->stride[2]},
            (const float *)tensor[DECODE_SLOPE].data,
            (const float *)tensor[DECODE_THETA].data,
            tensor[DECODE_THETA].stride[0],
            (const int64_t *)tensor[DECODE_POSITIONS].data,
            (const int32_t *)tensor[DECODE_SLOTS].data};
}

static step_shape step_shape_of(const tnl_call *call) {
    const int64_t *dim = call->dim;
    return {(int)dim[DIM_D], (int)dim[DIM_F], (int)dim[DIM_E], call->settled};
}

/* Blocks that have so many columns each. */
static dim3 step_grid(const tnl_call *call, unsigned columns) {
    return dim3((unsigned)ceil_div(call->dim[DIM_E], columns), (unsigned)call->dim[DIM_H],
                (unsigned)call->dim[DIM_B]);
}

template <bool ORIGIN, bool ROTATED, typename T, int W>
static tnl_status run_step(const tnl_call *call) {
    const unsigned x = columns_of_block(call, W);
    if (x == STEP_COLUMNS && takes_few_tokens(call))
        return tnl_launch(call, few_tokens_kernel<ORIGIN, ROTATED, T>,
                          step_grid(call, STEP_COLUMNS * FEW_PACK), dim3(FEW_THREADS), 0,
                          step_tensors_of<T>(call), step_shape_of(call));
    const size_t floats = 2 * (size_t)call->dim[DIM_F] + STEP_THREADS / 32 * x * W;
    return tnl_launch(call, step_kernel<ORIGIN, ROTATED, T, W>, step_grid(call, x * W),
                      dim3(x, STEP_THREADS / x), sizeof(float) * floats, step_tensors_of<T>(call),
                      step_shape_of(call));
}

template <bool ORIGIN> static tnl_status launch_step(const tnl_call *call) {
    const bool wide = tnl_allows_16_bytes(&call->tensor[DECODE_STATE]);
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        if (call->tensor[DECODE_THETA].data)
            return wide ? run_step<ORIGIN, true, T, 4>(call) : run_step<ORIGIN, true, T, 1>(call);
        return wide ? run_step<ORIGIN, false, T, 4>(call) : run_step<ORIGIN, false, T, 1>(call);
    });
}

static inline const char *rejects_step(const tnl_call *call) {
    if (call->dim[DIM_B] > STEP_MOST_BLOCKS || call->dim[DIM_H] > STEP_MOST_BLOCKS)
        return "takes b and h up to 65535";
    if (call->dim[DIM_F] > STEP_LARGEST_F)
        return "takes f up to 4096";
    return call->tensor[DECODE_STATE].stride[2] > INT32_MAX / (2 * STEP_LARGEST_F)
               ? "takes states whose rows are nearer to each other"
               : NULL;
}

#endif
