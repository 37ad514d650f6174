/*
 * The gradients of swish (eq. 4) and LRPE (eq. 1) on Q and K, in one pass over memory. With
 * s = swish(x) and the angle a = theta t, the forward pass gave (s cos a, s sin a); for its
 * gradients (c, z)
 *     dx      = (c cos a + z sin a) swish'(x)
 *     dtheta += t s (z cos a - c sin a), over all tokens, Q and K.
 * A block sums its tokens' part of dtheta into a row of its own in the workspace, [h, tile, d]; a
 * second kernel adds the rows of each head. So nothing depends on which block comes first.
 *
 * The packed projection asks for more (cuda_rest.cuh): its Q and K may be float32 whatever the data
 * type, since it computes them again; and it may want what rounding takes from dq and dk.
 */
#include "kernels/activation/cuda_rest.cuh"
#include "kernels/activation/cuda_tokens.cuh"

namespace {

enum { TILE = 64 }; /* tokens of a block */

template <typename X, typename T> struct backward_tensors {
    token_view<X> q, k;
    token_view<T> dq_out, dk_out, dq, dk;
    token_view<T> dq_rest, dk_rest; /* NULL: not asked for; with W = 1 alone, for their registers */
    lrpe angles;
    float *parts; /* NULL: dtheta is not asked for */
};

/* One token's channels of Q or K from `from` on, and the gradients that reach them. */
template <bool ROTATED, typename T, int W> struct incoming {
    float x[W];
    pack<T, W> dcosine, dsine; /* not ROTATED: dcosine is all */

    template <typename X>
    __device__ __forceinline__ incoming(const X *from, const T *dy, int64_t d) {
        load(from, x);
        dcosine = *(const pack<T, W> *)dy;
        if (ROTATED)
            dsine = *(const pack<T, W> *)(dy + d);
    }

    /* dx, and its rest unless that is NULL; and dtheta's part is added to sum. */
    __device__ __forceinline__ void put(const rotation (&by)[W], float t, float (&sum)[W], T *to,
                                        T *rest) {
        float dx[W];
#pragma unroll
        for (int w = 0; w < W; w++) {
            const float s = sigmoid<T>(x[w]), c = to_float(dcosine.at[w]);
            float dswish = c;
            if (ROTATED) {
                const float z = to_float(dsine.at[w]);
                dswish = fmaf(z, by[w].sine, c * by[w].cosine);
                const float turned = fmaf(-c, by[w].sine, z * by[w].cosine);
                sum[w] = fmaf(t * (x[w] * s), turned, sum[w]);
            }
            dx[w] = dswish * swish_slope(x[w], s);
        }
        store(to, dx);
        if (W == 1 && rest)
            store_rest(rest, dx);
    }
};

template <bool ROTATED, typename X, typename T, int W>
__global__ void __launch_bounds__(ACTIVATION_THREADS)
    backward_kernel(const backward_tensors<X, T> tensors, const token_shape shape) {
    /* of each thread W sums, [threadIdx.y][threadIdx.x W + w] */
    __shared__ float sums[ROTATED ? ACTIVATION_THREADS * W : 1];
    const token_block block = find_block(shape);
    const int64_t span = blockDim.x * W; /* channels of the block at a time */
    for (int64_t base = 0; base < shape.d; base += span) {
        const int64_t i = base + threadIdx.x * W;
        float theta[W] = {}, sum[W] = {};
        if (ROTATED && i < shape.d)
            load(tensors.angles.theta + block.head * tensors.angles.stride + i, theta);
        for (int64_t token = block.first + threadIdx.y; token < block.end && i < shape.d;
             token += blockDim.y) {
            incoming<ROTATED, T, W> q(block.row(tensors.q, token) + i,
                                      block.row(tensors.dq_out, token) + i, shape.d);
            incoming<ROTATED, T, W> k(block.row(tensors.k, token) + i,
                                      block.row(tensors.dk_out, token) + i, shape.d);
            const double t = ROTATED ? tensors.angles.at.of(block.batch, token) : 0;
            rotation by[W] = {};
#pragma unroll
            for (int w = 0; ROTATED && w < W; w++)
                by[w] = rotate(theta[w], t);
            T *dq_rest = nullptr, *dk_rest = nullptr;
            if (W == 1 && tensors.dq_rest.data) {
                dq_rest = block.row(tensors.dq_rest, token) + i;
                dk_rest = block.row(tensors.dk_rest, token) + i;
            }
            q.put(by, (float)t, sum, block.row(tensors.dq, token) + i, dq_rest);
            k.put(by, (float)t, sum, block.row(tensors.dk, token) + i, dk_rest);
        }
        if constexpr (ROTATED) {
            if (!tensors.parts)
                continue;
#pragma unroll
            for (int w = 0; w < W; w++)
                sums[threadIdx.y * span + threadIdx.x * W + w] = sum[w];
            __syncthreads();
            const int64_t tile = block.batch * shape.tiles + blockIdx.x % shape.tiles,
                          tiles = gridDim.x / shape.h;
            float *part = tensors.parts + (block.head * tiles + tile) * shape.d + base;
            for (int64_t c = threadIdx.y * blockDim.x + threadIdx.x; c < span && base + c < shape.d;
                 c += blockDim.x * blockDim.y) {
                float total = 0;
                for (unsigned y = 0; y < blockDim.y; y++)
                    total += sums[y * span + c];
                part[c] = total;
            }
            __syncthreads();
        }
    }
}

enum { SUM_CHANNELS = 32, SUM_GROUPS = 8 };

/* dtheta [h,d]: the sum of its head's rows of parts. A block has SUM_CHANNELS channels of a head,
 * each of its SUM_GROUPS warps every so manieth row. */
__global__ void __launch_bounds__(SUM_CHANNELS *SUM_GROUPS)
    add_parts_kernel(const float *parts, matrix<float> dtheta, unsigned slices, int64_t tiles,
                     int64_t d) {
    __shared__ double sums[SUM_GROUPS][SUM_CHANNELS];
    const int64_t head = blockIdx.x / slices;
    const int64_t i = (int64_t)(blockIdx.x % slices) * SUM_CHANNELS + threadIdx.x;
    double sum = 0;
    for (int64_t tile = threadIdx.y; tile < tiles && i < d; tile += SUM_GROUPS)
        sum += (double)parts[(head * tiles + tile) * d + i];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || i >= d)
        return;
    for (int group = 1; group < SUM_GROUPS; group++)
        sum += sums[group][threadIdx.x];
    dtheta.row(head)[i] = (float)sum;
}

int64_t tiles_of_head(const tnl_call *call) {
    return call->dim[DIM_B] * ceil_div(call->dim[DIM_N], TILE);
}

size_t workspace(const tnl_call *call) {
    if (!call->tensor[ACT_BWD_DTHETA].data)
        return 0;
    return sizeof(float) * (size_t)(call->dim[DIM_H] * tiles_of_head(call) * call->dim[DIM_D]);
}

template <bool ROTATED, typename X, typename T, int W> static tnl_status run(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor, *dtheta = &tensor[ACT_BWD_DTHETA];
    const backward_tensors<X, T> tensors = {
        view_of<X>(&tensor[ACT_BWD_Q]),
        view_of<X>(&tensor[ACT_BWD_K]),
        view_of<T>(&tensor[ACT_BWD_DQ_OUT]),
        view_of<T>(&tensor[ACT_BWD_DK_OUT]),
        view_of<T>(&tensor[ACT_BWD_DQ]),
        view_of<T>(&tensor[ACT_BWD_DK]),
        view_of<T>(&tensor[ACT_BWD_DQ_REST]),
        view_of<T>(&tensor[ACT_BWD_DK_REST]),
        lrpe_of(call, ACT_BWD_THETA, ACT_BWD_POSITIONS, ACT_BWD_CU_SEQLENS),
        dtheta->data ? (float *)call->workspace : nullptr};
    const token_shape shape = shape_of(call, TILE);
    backward_kernel<ROTATED, X, T, W>
        <<<shape.blocks, block_of(call, W), 0, tnl_stream(call)>>>(tensors, shape);
    const tnl_status status = tnl_launched(call);
    if (status != TNL_OK || !dtheta->data)
        return status;
    const unsigned slices = (unsigned)ceil_div(shape.d, SUM_CHANNELS);
    add_parts_kernel<<<(unsigned)shape.h * slices, dim3(SUM_CHANNELS, SUM_GROUPS), 0,
                       tnl_stream(call)>>>(tensors.parts, tnl_matrix_of<float>(dtheta), slices,
                                           tiles_of_head(call), shape.d);
    return tnl_launched(call);
}

template <typename X, typename T> static tnl_status run_at_width(const tnl_call *call, bool wide) {
    constexpr int W = pack<X>::size;
    if (call->tensor[ACT_BWD_THETA].data)
        return wide ? run<true, X, T, W>(call) : run<true, X, T, 1>(call);
    return wide ? run<false, X, T, W>(call) : run<false, X, T, 1>(call);
}

tnl_status launch(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    bool wide = !tensor[ACT_BWD_DQ_REST].data;
    for (int i = ACT_BWD_Q; i <= ACT_BWD_DK; i++)
        if (tensor[i].data && i != ACT_BWD_POSITIONS && i != ACT_BWD_CU_SEQLENS)
            wide = wide && tnl_allows_16_bytes(&tensor[i]);
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        return tensor[ACT_BWD_Q].type == TNL_FLOAT32 ? run_at_width<float, T>(call, wide)
                                                     : run_at_width<T, T>(call, wide);
    });
}

} // namespace

const tnl_kernel tnl_cuda_qkvu_activation_backward_fused = {
    .launch = launch, .workspace = workspace, .deterministic = true};
