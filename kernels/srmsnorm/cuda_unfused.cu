/*
 * SRMSNorm (eq. 8) as a framework that runs operation by operation has it: a kernel for each
 * elementary step, every intermediate tensor in memory. This is what figure 2 measures `fused`
 * against. As such frameworks do for a norm's statistics, intermediates are float32 whatever the
 * data type; only x, dy and the result have the data type. The gradient is
 * dx = r (dy - n mean(n dy)) with n = r x.
 */
#include "kernels/common/cuda_elementwise.cuh"

namespace {

enum { THREADS = 256 };

typedef enum operation { MULTIPLY, SUBTRACT } operation;

/* out = a b or a - b, elementwise, b a matrix or one number a row. */
template <operation OPERATION, bool BY_ROW, int W, typename A, typename B, typename C>
__global__ void combine_kernel(matrix<const A> a, matrix<const B> b, matrix<C> out,
                               element_grid grid) {
    const element at(grid, W);
    if (at.column >= grid.columns)
        return;
    float left[W], right[W], result[W];
    load(a.row(at.row) + at.column, left);
    if constexpr (BY_ROW) {
        const float factor = to_float(b.data[at.row]);
        for (int w = 0; w < W; w++)
            right[w] = factor;
    } else {
        load(b.row(at.row) + at.column, right);
    }
    for (int w = 0; w < W; w++)
        result[w] = OPERATION == MULTIPLY ? left[w] * right[w] : left[w] - right[w];
    store(out.row(at.row) + at.column, result);
}

/* mean[row] of a, a block a row. */
__global__ void __launch_bounds__(THREADS)
    mean_kernel(matrix<const float> a, float *mean, int64_t width) {
    __shared__ float part[THREADS / 32];
    const float *x = a.row(blockIdx.x);
    float sum = 0;
    for (int64_t i = threadIdx.x; i < width; i += THREADS)
        sum += x[i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = warp_sum(threadIdx.x < THREADS / 32 ? part[threadIdx.x] : 0);
        if (threadIdx.x == 0)
            mean[blockIdx.x] = sum / (float)width;
    }
}

__global__ void add_eps_kernel(const float *mean, float *sum, float eps, int64_t m) {
    const int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row < m)
        sum[row] = mean[row] + eps;
}

__global__ void reciprocal_root_kernel(const float *sum, float *r, int64_t m) {
    const int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row < m)
        r[row] = 1 / sqrtf(sum[row]);
}

/* ---- the steps on the host ------------------------------------------------------------------ */

/* A call's steps, launched one after another. `wide`: its tensors allow 16-byte accesses. */
struct steps {
    const tnl_call *call;
    bool wide;
    int64_t m, width;

    template <operation OPERATION, bool BY_ROW, int W, typename A, typename B, typename C>
    void launch(matrix<A> a, matrix<B> b, matrix<C> out) const {
        const element_grid grid = grid_of(m, width, W);
        combine_kernel<OPERATION, BY_ROW, W><<<grid.blocks, grid.threads, 0, tnl_stream(call)>>>(
            matrix<const A>{a.data, a.stride}, matrix<const B>{b.data, b.stride}, out, grid);
    }

    template <operation OPERATION, bool BY_ROW, typename A, typename B, typename C>
    void combine(matrix<A> a, matrix<B> b, matrix<C> out) const {
        constexpr int SMALLEST = sizeof(A) < sizeof(C) ? sizeof(A) : sizeof(C);
        constexpr int W = 16 / (sizeof(B) < SMALLEST ? sizeof(B) : SMALLEST);
        if (wide)
            launch<OPERATION, BY_ROW, W>(a, b, out);
        else
            launch<OPERATION, BY_ROW, 1>(a, b, out);
    }

    void mean(matrix<float> a, float *out) const {
        mean_kernel<<<(unsigned)m, THREADS, 0, tnl_stream(call)>>>(
            matrix<const float>{a.data, a.stride}, out, width);
    }

    /* r of each row of x. */
    template <typename T>
    void find_scales(matrix<T> x, matrix<float> squares, float *means, float *sums,
                     float *r) const {
        const unsigned blocks = (unsigned)ceil_div(m, THREADS);
        combine<MULTIPLY, false>(x, x, squares);
        mean(squares, means);
        add_eps_kernel<<<blocks, THREADS, 0, tnl_stream(call)>>>(means, sums, (float)call->eps, m);
        reciprocal_root_kernel<<<blocks, THREADS, 0, tnl_stream(call)>>>(sums, r, m);
    }
};

/* The intermediate tensors in the workspace: matrices [m,D], the second one backward only, and
 * numbers a row. */
struct intermediates {
    matrix<float> first, second;
    float *mean, *sum, *r;
    size_t bytes;

    intermediates(const tnl_call *call, void *workspace, bool backward) {
        const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
        tnl_carver carver = {(char *)workspace, 0};
        first = {carver.take<float>(m * width), width};
        second = {backward ? carver.take<float>(m * width) : nullptr, width};
        mean = carver.take<float>(m);
        sum = carver.take<float>(m);
        r = carver.take<float>(m);
        bytes = carver.used;
    }
};

size_t forward_workspace(const tnl_call *call) {
    return intermediates(call, nullptr, false).bytes;
}

size_t backward_workspace(const tnl_call *call) {
    return intermediates(call, nullptr, true).bytes;
}

tnl_status forward(const tnl_call *call) {
    const tnl_tensor *x = &call->tensor[NORM_X], *y = &call->tensor[NORM_Y];
    const intermediates at(call, call->workspace, false);
    const steps step = {call, tnl_allows_16_bytes(x) && tnl_allows_16_bytes(y), call->dim[DIM_M],
                        call->dim[DIM_HIDDEN]};
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        step.find_scales(tnl_matrix_of<T>(x), at.first, at.mean, at.sum, at.r);
        step.combine<MULTIPLY, true>(tnl_matrix_of<T>(x), matrix<float>{at.r, 1},
                                     tnl_matrix_of<T>(y));
        return tnl_launched(call);
    });
}

tnl_status backward(const tnl_call *call) {
    const tnl_tensor *x = &call->tensor[NORM_BWD_X], *dy = &call->tensor[NORM_BWD_DY];
    const tnl_tensor *dx = &call->tensor[NORM_BWD_DX];
    const intermediates at(call, call->workspace, true);
    const matrix<float> r = {at.r, 1}, mean = {at.mean, 1};
    const steps step = {
        call, tnl_allows_16_bytes(x) && tnl_allows_16_bytes(dy) && tnl_allows_16_bytes(dx),
        call->dim[DIM_M], call->dim[DIM_HIDDEN]};
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        step.find_scales(tnl_matrix_of<T>(x), at.first, at.mean, at.sum, at.r);
        step.combine<MULTIPLY, true>(tnl_matrix_of<T>(x), r, at.first); /* n */
        step.combine<MULTIPLY, false>(at.first, tnl_matrix_of<T>(dy), at.second);
        step.mean(at.second, at.mean);
        step.combine<MULTIPLY, true>(at.first, mean, at.second); /* n mean(n dy) */
        step.combine<SUBTRACT, false>(tnl_matrix_of<T>(dy), at.second, at.first);
        step.combine<MULTIPLY, true>(at.first, r, tnl_matrix_of<T>(dx));
        return tnl_launched(call);
    });
}

} // namespace

const tnl_kernel tnl_cuda_srmsnorm_forward_unfused = {
    .launch = forward, .workspace = forward_workspace, .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_backward_unfused = {
    .launch = backward, .workspace = backward_workspace, .deterministic = true};
