/*
 * Swish on Q and K (eq. 4) and, where theta is given, LRPE (eq. 1): x -> [x cos | x sin] of the
 * angle theta t, in one pass over memory. A thread makes the angles of its channels once for Q and
 * K. What it reads of all its tokens is asked for before the first is used.
 */
#include "kernels/activation/cuda_tokens.cuh"

namespace {

/* Tokens of a thread. With LRPE two thirds of the traffic are stores, which nobody waits for. */
template <bool ROTATED> constexpr int tokens_of_thread = ROTATED ? 1 : 2;

template <typename T> struct forward_tensors {
    token_view<T> q, k, q_out, k_out;
    lrpe angles;
};

/* One token's channels from i on, of Q or K. */
template <typename T, int W>
__device__ __forceinline__ void put_swish(const pack<T, W> &x, T *out) {
    float y[W];
#pragma unroll
    for (int w = 0; w < W; w++)
        y[w] = swish<T>(to_float(x.at[w]));
    store(out, y);
}

template <typename T, int W>
__device__ __forceinline__ void put_rotated(const pack<T, W> &x, const rotation (&by)[W], T *out,
                                            int64_t d) {
    float cosine[W], sine[W];
#pragma unroll
    for (int w = 0; w < W; w++) {
        const float y = swish<T>(to_float(x.at[w]));
        cosine[w] = y * by[w].cosine;
        sine[w] = y * by[w].sine;
    }
    store(out, cosine);
    store(out + d, sine);
}

template <bool ROTATED, typename T, int W>
__global__ void __launch_bounds__(ACTIVATION_THREADS)
    forward_kernel(const forward_tensors<T> tensors, const token_shape shape) {
    constexpr int TOKENS = tokens_of_thread<ROTATED>;
    const token_block block = find_block(shape);
    for (int64_t i = threadIdx.x * W; i < shape.d; i += blockDim.x * W) {
        pack<T, W> q[TOKENS], k[TOKENS];
#pragma unroll
        for (int j = 0; j < TOKENS; j++) {
            const int64_t token = block.first + threadIdx.y + j * blockDim.y;
            if (token < block.end) {
                q[j] = *(const pack<T, W> *)(block.row(tensors.q, token) + i);
                k[j] = *(const pack<T, W> *)(block.row(tensors.k, token) + i);
            }
        }
        float theta[W];
        if (ROTATED)
            load(tensors.angles.theta + block.head * tensors.angles.stride + i, theta);
#pragma unroll
        for (int j = 0; j < TOKENS; j++) {
            const int64_t token = block.first + threadIdx.y + j * blockDim.y;
            if (token >= block.end)
                break;
            T *q_out = block.row(tensors.q_out, token) + i;
            T *k_out = block.row(tensors.k_out, token) + i;
            if (ROTATED) {
                const double t = tensors.angles.at.of(block.batch, token);
                rotation by[W];
#pragma unroll
                for (int w = 0; w < W; w++)
                    by[w] = rotate(theta[w], t);
                put_rotated(q[j], by, q_out, shape.d);
                put_rotated(k[j], by, k_out, shape.d);
            } else {
                put_swish(q[j], q_out);
                put_swish(k[j], k_out);
            }
        }
    }
}

template <bool ROTATED, typename T, int W> static tnl_status run(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const forward_tensors<T> tensors = {
        view_of<T>(&tensor[ACT_Q]), view_of<T>(&tensor[ACT_K]), view_of<T>(&tensor[ACT_Q_OUT]),
        view_of<T>(&tensor[ACT_K_OUT]), lrpe_of(call, ACT_THETA, ACT_POSITIONS, ACT_CU_SEQLENS)};
    const dim3 block = block_of(call, W);
    const token_shape shape = shape_of(call, tokens_of_thread<ROTATED> * block.y);
    forward_kernel<ROTATED, T, W><<<shape.blocks, block, 0, tnl_stream(call)>>>(tensors, shape);
    return tnl_launched(call);
}

tnl_status launch(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const bool wide = tnl_allows_16_bytes(&tensor[ACT_Q]) && tnl_allows_16_bytes(&tensor[ACT_K]) &&
                      tnl_allows_16_bytes(&tensor[ACT_Q_OUT]) &&
                      tnl_allows_16_bytes(&tensor[ACT_K_OUT]) &&
                      (!tensor[ACT_THETA].data || tnl_allows_16_bytes(&tensor[ACT_THETA]));
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        constexpr int W = pack<T>::size;
        if (tensor[ACT_THETA].data)
            return wide ? run<true, T, W>(call) : run<true, T, 1>(call);
        return wide ? run<false, T, W>(call) : run<false, T, 1>(call);
    });
}

} // namespace

const tnl_kernel tnl_cuda_qkvu_activation_forward_fused = {.launch = launch, .deterministic = true};
