/*
 * SRMSNorm (eq. 8), y = r x with r = 1 / sqrt(mean(x^2) + eps), and its gradient
 * dx = r (dy - y mean(y dy)), fused: a row is read from memory once, for its sums, and is still in
 * cache when the result is made from it. Rows are independent and go to the threads.
 */
#include "core/kernels.h"
#include "kernels/srmsnorm/cpu_sums.h"

static void forward_row(const float *x, float *y, int64_t width, double eps, bool stream) {
    const double r = tnl_norm_scale(x, width, eps);
    _Alignas(32) float buffer[TNL_BLOCK];
    for (int64_t i = 0; i < width; i += TNL_BLOCK) {
        const int64_t count = tnl_block_count(i, width);
        float *to = stream ? buffer : y + i;
#pragma omp simd
        for (int64_t j = 0; j < count; j++)
            to[j] = (float)(r * (double)x[i + j]);
        if (stream)
            tnl_stream(y + i, buffer, count);
    }
}

static tnl_status forward(const tnl_call *call) {
    const tnl_tensor *x = &call->tensor[NORM_X], *y = &call->tensor[NORM_Y];
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const bool stream = tnl_streams(y, x);
#pragma omp parallel
    {
#pragma omp for nowait
        for (int64_t row = 0; row < m; row++)
            forward_row((const float *)x->data + row * x->stride[0],
                        (float *)y->data + row * y->stride[0], width, call->eps, stream);
        tnl_stream_fence();
    }
    return TNL_OK;
}

static void backward_row(const float *x, const float *dy, float *dx, int64_t width, double eps,
                         bool stream) {
    const tnl_norm_gradient sums = tnl_gradient_of_row(x, dy, width, eps);
    _Alignas(32) float buffer[TNL_BLOCK];
    for (int64_t i = 0; i < width; i += TNL_BLOCK) {
        const int64_t count = tnl_block_count(i, width);
        float *to = stream ? buffer : dx + i;
#pragma omp simd
        for (int64_t j = 0; j < count; j++)
            to[j] = (float)tnl_gradient_at(sums, (double)x[i + j], (double)dy[i + j]);
        if (stream)
            tnl_stream(dx + i, buffer, count);
    }
}

static tnl_status backward(const tnl_call *call) {
    const tnl_tensor *x = &call->tensor[NORM_BWD_X], *dy = &call->tensor[NORM_BWD_DY];
    const tnl_tensor *dx = &call->tensor[NORM_BWD_DX];
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const bool stream = tnl_streams(dx, dy);
#pragma omp parallel
    {
#pragma omp for nowait
        for (int64_t row = 0; row < m; row++)
            backward_row((const float *)x->data + row * x->stride[0],
                         (const float *)dy->data + row * dy->stride[0],
                         (float *)dx->data + row * dx->stride[0], width, call->eps, stream);
        tnl_stream_fence();
    }
    return TNL_OK;
}

const tnl_kernel tnl_cpu_srmsnorm_forward_fused = {.launch = forward, .deterministic = true};
const tnl_kernel tnl_cpu_srmsnorm_backward_fused = {.launch = backward, .deterministic = true};
