/*
 * SRMSNorm (eq. 8), y = r x with r = 1 / sqrt(mean(x^2) + eps), in one pass over memory: alone,
 * after the residual's sum (eq. 9's pre-norm: y from the sum as float32 has it, before it is
 * rounded to be kept) and before a gate (eq. 3, y = r x u). How rows are shared out is told in
 * cuda_row.cuh.
 */
#include "kernels/srmsnorm/cuda_row.cuh"

namespace {

enum { MOST_THREADS = 1024 };

/* other: the residual or u; sum: r'. */
template <typename T> struct forward_tensors { matrix<T> x, other, sum, y; };

template <norm_kind KIND, typename T, int W>
__global__ void __launch_bounds__(MOST_THREADS)
    forward_kernel(const forward_tensors<T> tensors, const norm_shape shape) {
    using elements = pack<T, W>;
    const int64_t row = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    const unsigned packs = row < shape.m ? shape.packs : 0;
    const elements *x = (const elements *)tensors.x.row(row);
    const elements *other = (const elements *)tensors.other.row(row);
    elements *sum = (elements *)tensors.sum.row(row), *y = (elements *)tensors.y.row(row);

    float squares[1] = {0};
    /* Element w of what is normalised. */
    auto element = [](const elements &value, const elements &second, int w) {
        const float first = to_float(value.at[w]);
        return KIND == NORM_RESIDUAL ? first + to_float(second.at[w]) : first;
    };
    /* Pack i comes in: its squares are summed, and the residual's sum is written. */
    auto take = [&](unsigned i, const elements &value, const elements &second) {
        elements rounded;
        float part = 0;
#pragma unroll
        for (int w = 0; w < W; w++) {
            const float z = element(value, second, w);
            rounded.at[w] = from_float<T>(z);
            part = fmaf(z, z, part);
        }
        if (KIND == NORM_RESIDUAL)
            sum[i] = rounded;
        squares[0] += part;
    };

    elements held[NORM_HELD], second[NORM_HELD];
#pragma unroll
    for (int j = 0; j < NORM_HELD; j++) {
        const unsigned i = threadIdx.x + j * blockDim.x;
        if (i < packs) {
            held[j] = x[i];
            if (KIND != NORM_PLAIN)
                second[j] = other[i];
        }
    }
#pragma unroll
    for (int j = 0; j < NORM_HELD; j++)
        if (threadIdx.x + j * blockDim.x < packs)
            take(threadIdx.x + j * blockDim.x, held[j], second[j]);
    const unsigned rest = threadIdx.x + NORM_HELD * blockDim.x;
    for (unsigned i = rest; i < packs; i += blockDim.x) {
        const elements value = x[i];
        take(i, value, KIND == NORM_RESIDUAL ? other[i] : value);
    }

#pragma unroll
    for (int j = 0; j < NORM_HELD; j++) {
        stay_packed(held[j]);
        stay_packed(second[j]);
    }
    row_sums(squares);
    const norm_scale r = norm_scale_of(squares[0], shape);
    auto give = [&](unsigned i, const elements &value, const elements &second) {
        elements out;
#pragma unroll
        for (int w = 0; w < W; w++) {
            const float norm = r.times(element(value, second, w));
            out.at[w] = from_float<T>(KIND == NORM_GATE ? norm * to_float(second.at[w]) : norm);
        }
        y[i] = out;
    };
#pragma unroll
    for (int j = 0; j < NORM_HELD; j++)
        if (threadIdx.x + j * blockDim.x < packs)
            give(threadIdx.x + j * blockDim.x, held[j], second[j]);
    for (unsigned i = rest; i < packs; i += blockDim.x) {
        if (KIND == NORM_RESIDUAL) /* what `other` held may have been overwritten */
            give(i, sum[i], elements{});
        else
            give(i, x[i], KIND == NORM_GATE ? other[i] : elements{});
    }
}

template <norm_kind KIND, typename T, int W>
tnl_status run(const tnl_call *call, const forward_tensors<T> &tensors) {
    const norm_shape shape = shape_of(call, W);
    const dim3 block = norm_block(shape.packs, MOST_THREADS);
    const unsigned blocks = (unsigned)ceil_div(shape.m, block.y);
    forward_kernel<KIND, T, W><<<blocks, block, 0, tnl_stream(call)>>>(tensors, shape);
    return tnl_launched(call);
}

/* The kernel for the tensors of that index; those that KIND does not have are not looked at. */
template <norm_kind KIND>
tnl_status launch(const tnl_call *call, int x, int other, int sum, int y) {
    const tnl_tensor *tensor = call->tensor;
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        const forward_tensors<T> tensors = {
            tnl_matrix_of<T>(&tensor[x]), tnl_matrix_of<T>(&tensor[other]),
            tnl_matrix_of<T>(&tensor[sum]), tnl_matrix_of<T>(&tensor[y])};
        if (tnl_allows_16_bytes(&tensor[x]) && tnl_allows_16_bytes(&tensor[other]) &&
            tnl_allows_16_bytes(&tensor[sum]) && tnl_allows_16_bytes(&tensor[y]))
            return run<KIND, T, pack<T>::size>(call, tensors);
        return run<KIND, T, 1>(call, tensors);
    });
}

tnl_status forward(const tnl_call *call) {
    return launch<NORM_PLAIN>(call, NORM_X, NORM_X, NORM_Y, NORM_Y);
}

tnl_status residual_forward(const tnl_call *call) {
    return launch<NORM_RESIDUAL>(call, RES_X, RES_RESIDUAL, RES_RESIDUAL_OUT, RES_Y);
}

tnl_status gate_forward(const tnl_call *call) {
    return launch<NORM_GATE>(call, GATE_X, GATE_U, GATE_Y, GATE_Y);
}

} // namespace

const tnl_kernel tnl_cuda_srmsnorm_forward_fused = {.launch = forward, .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_residual_forward_fused = {.launch = residual_forward,
                                                             .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_gate_forward_fused = {.launch = gate_forward,
                                                         .deterministic = true};
