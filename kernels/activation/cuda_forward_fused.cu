/*
 * Swish on Q and K (eq. 4) and, where theta is given, LRPE (eq. 1): x -> [x cos | x sin] of the
 * angle theta t, in one pass over memory. An angle serves Q and K, and in the 16-bit types most
 * rotations are made from that of the token before (cuda_tokens.cuh).
 */
#include "kernels/activation/cuda_tokens.cuh"

namespace {

/* Tokens of a thread. */
template <typename T> constexpr int tokens_at_once = sizeof(T) < sizeof(float) ? 1 : 2;
template <typename T> constexpr unsigned tokens_rotated = sizeof(T) < sizeof(float) ? 8 : 4;

/* Blocks of a multiprocessor that there are registers for. */
enum { ROTATE_BLOCKS = 4 };

/* X: the type of what comes in, T or, from the packed projection, float. */
template <typename X, typename T> struct forward_tensors {
    token_view<X> q, k;
    token_view<T> q_out, k_out;
    lrpe angles;
};

/* One token's channels from i on, of Q or K. */
template <typename X, typename T, int W>
__device__ __forceinline__ void put_swish(const pack<X, W> &x, T *out) {
    pack<T, W> y;
#pragma unroll
    for (int w = 0; w < W; w++)
        y.at[w] = from_float<T>(swish<T>(to_float(x.at[w])));
    store_whole(out, y);
}

template <typename X, typename T, int W>
__device__ __forceinline__ void put_rotated(const pack<X, W> &x, const rotation (&by)[W], T *out,
                                            int64_t d) {
    pack<T, W> cosine, sine;
#pragma unroll
    for (int w = 0; w < W; w++) {
        const float y = swish<T>(to_float(x.at[w]));
        cosine.at[w] = from_float<T>(y * by[w].cosine);
        sine.at[w] = from_float<T>(y * by[w].sine);
    }
    store_whole(out, cosine);
    store_whole(out + d, sine);
}

/* Without LRPE a thread has TOKENS tokens, 64 bytes of Q and K or less, in flight at once. */
template <typename X, typename T, int W>
__global__ void __launch_bounds__(ACTIVATION_THREADS)
    swish_kernel(const forward_tensors<X, T> tensors, const token_shape shape) {
    constexpr int TOKENS = tokens_at_once<T>;
    await_previous();
    const token_block block = find_block(shape);
    for (int64_t i = threadIdx.x * W; i < shape.d; i += blockDim.x * W) {
        pack<X, W> q[TOKENS], k[TOKENS];
#pragma unroll
        for (int j = 0; j < TOKENS; j++) {
            const int64_t token = block.first + threadIdx.y + j * blockDim.y;
            if (token < block.end) {
                q[j] = *(const pack<X, W> *)(block.row(tensors.q, token) + i);
                k[j] = *(const pack<X, W> *)(block.row(tensors.k, token) + i);
            }
        }
#pragma unroll
        for (int j = 0; j < TOKENS; j++) {
            const int64_t token = block.first + threadIdx.y + j * blockDim.y;
            if (token >= block.end)
                break;
            stay_packed(q[j]);
            stay_packed(k[j]);
            put_swish(q[j], block.row(tensors.q_out, token) + i);
            put_swish(k[j], block.row(tensors.k_out, token) + i);
        }
    }
}

/* With LRPE a thread goes through its tokens one by one, the next one's channels in flight. */
template <typename X, typename T, int W>
__global__ void __launch_bounds__(ACTIVATION_THREADS, ROTATE_BLOCKS)
    rotate_kernel(const forward_tensors<X, T> tensors, const token_shape shape) {
    extern __shared__ __align__(16) char shared[];
    await_previous();
    const token_block block = find_block(shape);
    block_angles<W> angles(shared);
    for (int64_t base = 0; base < shape.d; base += blockDim.x * W) {
        const int64_t i = base + threadIdx.x * W;
        const int64_t first = i < shape.d ? block.first + threadIdx.y : block.end;
        pack<X, W> q, k;
        auto ask = [&](int64_t token) {
            if (token < block.end) {
                q = *(const pack<X, W> *)(block.row(tensors.q, token) + i);
                k = *(const pack<X, W> *)(block.row(tensors.k, token) + i);
            }
        };
        ask(first);
        angles.make(tensors.angles.theta + block.head * tensors.angles.stride, base, shape.d,
                    rotor<T, W>::STEPS && shape.tile > blockDim.y);
        rotor<T, W> turned;
        for (int64_t token = first; token < block.end; token += blockDim.y) {
            pack<X, W> q_now = q, k_now = k;
            stay_packed(q_now);
            stay_packed(k_now);
            ask(token + blockDim.y);
            turned.turn_to(tensors.angles.at.of(block.batch, token), angles);
            put_rotated(q_now, turned.by, block.row(tensors.q_out, token) + i, shape.d);
            put_rotated(k_now, turned.by, block.row(tensors.k_out, token) + i, shape.d);
        }
    }
}

template <typename X, typename T, int W> static tnl_status run(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const forward_tensors<X, T> tensors = {
        view_of<X>(&tensor[ACT_Q]), view_of<X>(&tensor[ACT_K]), view_of<T>(&tensor[ACT_Q_OUT]),
        view_of<T>(&tensor[ACT_K_OUT]), lrpe_of(call, ACT_THETA, ACT_POSITIONS, ACT_CU_SEQLENS)};
    const dim3 block = block_of(call, W);
    const bool rotated = tensor[ACT_THETA].data != nullptr;
    const unsigned tokens =
        rotated ? tokens_in_turn(call, block.y, tokens_rotated<T>) : (unsigned)tokens_at_once<T>;
    const token_shape shape = shape_of(call, block.y * tokens);
    return rotated
               ? tnl_launch(call, rotate_kernel<X, T, W>, shape.blocks, block,
                            angle_bytes(block, W), tensors, shape)
               : tnl_launch(call, swish_kernel<X, T, W>, shape.blocks, block, 0, tensors, shape);
}

template <typename X, typename T> static tnl_status run_at_width(const tnl_call *call, bool wide) {
    return wide ? run<X, T, pack<X>::size>(call) : run<X, T, 1>(call);
}

tnl_status launch(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const bool wide = tnl_allows_16_bytes(&tensor[ACT_Q]) && tnl_allows_16_bytes(&tensor[ACT_K]) &&
                      tnl_allows_16_bytes(&tensor[ACT_Q_OUT]) &&
                      tnl_allows_16_bytes(&tensor[ACT_K_OUT]) &&
                      (!tensor[ACT_THETA].data || tnl_allows_16_bytes(&tensor[ACT_THETA]));
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        return tensor[ACT_Q].type == TNL_FLOAT32 ? run_at_width<float, T>(call, wide)
                                                 : run_at_width<T, T>(call, wide);
    });
}

} // namespace

const tnl_kernel tnl_cuda_qkvu_activation_forward_fused = {.launch = launch, .deterministic = true};
