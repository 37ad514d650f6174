/*
 * SRMSNorm's gradient in one pass over memory. With r = 1 / sqrt(mean(x^2) + eps), n = r x and the
 * gradient g that reaches the norm,
 *     dx = r (g - n mean(n g)),
 * g being dy, or behind a gate (eq. 3) u dy, when du = n dy besides; before the residual's sum
 * (eq. 9's pre-norm) the gradient of what the sum is used for elsewhere is added. Both sums over
 * the row, of x^2 and of x g, are made at once. How rows are shared out is told in cuda_row.cuh.
 */
#include "kernels/srmsnorm/cuda_row.cuh"

namespace {

/* third: dresidual_out (data NULL where it is absent) or u. */
template <typename T> struct backward_tensors { matrix<T> x, dy, third, dx, du; };

/* Three rows in registers leave room for half as many threads as two. */
template <norm_kind KIND> constexpr unsigned most_threads = KIND == NORM_PLAIN ? 1024 : 512;

template <norm_kind KIND, typename T, int W>
__global__ void __launch_bounds__(most_threads<KIND>)
    backward_kernel(const backward_tensors<T> tensors, const norm_shape shape) {
    using elements = pack<T, W>;
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    const unsigned packs = row < shape.m ? shape.packs : 0;
    const bool has_third =
        KIND == NORM_GATE || (KIND == NORM_RESIDUAL && tensors.third.data != nullptr);
    const elements *x = (const elements *)tensors.x.row(row);
    const elements *dy = (const elements *)tensors.dy.row(row);
    const elements *third = (const elements *)tensors.third.row(row);
    elements *dx = (elements *)tensors.dx.row(row), *du = (elements *)tensors.du.row(row);

    float sum[2] = {0, 0}; /* of x^2, of x g */
    auto take = [&](const elements &xs, const elements &dys, const elements &thirds) {
        float squares = 0, products = 0;
#pragma unroll
        for (int w = 0; w < W; w++) {
            const float value = to_float(xs.at[w]);
            float g = to_float(dys.at[w]);
            if (KIND == NORM_GATE)
                g *= to_float(thirds.at[w]);
            squares = fmaf(value, value, squares);
            products = fmaf(value, g, products);
        }
        sum[0] += squares;
        sum[1] += products;
    };

    elements held[NORM_HELD], held_dy[NORM_HELD], held_third[NORM_HELD];
#pragma unroll
    for (int j = 0; j < NORM_HELD; j++) {
        const unsigned i = threadIdx.x + j * blockDim.x;
        held_third[j] = {};
        if (i < packs) {
            held[j] = x[i];
            held_dy[j] = dy[i];
            if (has_third)
                held_third[j] = third[i];
        }
    }
#pragma unroll
    for (int j = 0; j < NORM_HELD; j++)
        if (threadIdx.x + j * blockDim.x < packs)
            take(held[j], held_dy[j], held_third[j]);
    const unsigned rest = threadIdx.x + NORM_HELD * blockDim.x;
    for (unsigned i = rest; i < packs; i += blockDim.x)
        take(x[i], dy[i], KIND == NORM_GATE ? third[i] : elements{});

#pragma unroll
    for (int j = 0; j < NORM_HELD; j++) {
        stay_packed(held[j]);
        stay_packed(held_dy[j]);
        stay_packed(held_third[j]);
    }
    row_sums(sum);
    const norm_scale r = norm_scale_of(sum[0], shape);
    const float mean = r.high * (sum[1] * (float)shape.inverse_width); /* of n g */
    auto give = [&](unsigned i, const elements &xs, const elements &dys, const elements &thirds) {
        elements dxs, dus;
#pragma unroll
        for (int w = 0; w < W; w++) {
            const float n = r.times(to_float(xs.at[w])), gradient = to_float(dys.at[w]);
            const float given = to_float(thirds.at[w]);
            const float g = KIND == NORM_GATE ? gradient * given : gradient;
            float out = r.times(fmaf(-n, mean, g));
            if (KIND == NORM_RESIDUAL)
                out += given;
            dxs.at[w] = from_float<T>(out);
            dus.at[w] = from_float<T>(n * gradient);
        }
        dx[i] = dxs;
        if (KIND == NORM_GATE)
            du[i] = dus;
    };
#pragma unroll
    for (int j = 0; j < NORM_HELD; j++)
        if (threadIdx.x + j * blockDim.x < packs)
            give(threadIdx.x + j * blockDim.x, held[j], held_dy[j], held_third[j]);
    for (unsigned i = rest; i < packs; i += blockDim.x)
        give(i, x[i], dy[i], has_third ? third[i] : elements{});
}

template <norm_kind KIND, typename T, int W>
tnl_status run(const tnl_call *call, const backward_tensors<T> &tensors) {
    const norm_shape shape = shape_of(call, W);
    const dim3 block = norm_block(shape.packs, most_threads<KIND>);
    const unsigned blocks = (unsigned)ceil_div(shape.m, block.y);
    backward_kernel<KIND, T, W><<<blocks, block, 0, tnl_stream(call)>>>(tensors, shape);
    return tnl_launched(call);
}

/* The kernel for the tensors of that index; those that KIND does not have are not looked at. */
template <norm_kind KIND>
tnl_status launch(const tnl_call *call, int x, int dy, int third, int dx, int du) {
    const tnl_tensor *tensor = call->tensor;
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        const backward_tensors<T> tensors = {
            tnl_matrix_of<T>(&tensor[x]), tnl_matrix_of<T>(&tensor[dy]),
            tnl_matrix_of<T>(&tensor[third]), tnl_matrix_of<T>(&tensor[dx]),
            tnl_matrix_of<T>(&tensor[du])};
        const bool wide = tnl_allows_16_bytes(&tensor[x]) && tnl_allows_16_bytes(&tensor[dy]) &&
                          (!tensor[third].data || tnl_allows_16_bytes(&tensor[third])) &&
                          tnl_allows_16_bytes(&tensor[dx]) && tnl_allows_16_bytes(&tensor[du]);
        return wide ? run<KIND, T, pack<T>::size>(call, tensors) : run<KIND, T, 1>(call, tensors);
    });
}

tnl_status backward(const tnl_call *call) {
    return launch<NORM_PLAIN>(call, NORM_BWD_X, NORM_BWD_DY, NORM_BWD_DY, NORM_BWD_DX, NORM_BWD_DX);
}

tnl_status residual_backward(const tnl_call *call) {
    return launch<NORM_RESIDUAL>(call, RES_BWD_RESIDUAL_OUT, RES_BWD_DY, RES_BWD_DRESIDUAL_OUT,
                                 RES_BWD_DX, RES_BWD_DX);
}

tnl_status gate_backward(const tnl_call *call) {
    return launch<NORM_GATE>(call, GATE_BWD_X, GATE_BWD_DY, GATE_BWD_U, GATE_BWD_DX, GATE_BWD_DU);
}

} // namespace

const tnl_kernel tnl_cuda_srmsnorm_backward_fused = {.launch = backward, .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_residual_backward_fused = {.launch = residual_backward,
                                                              .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_gate_backward_fused = {.launch = gate_backward,
                                                          .deterministic = true};
