/*
 * The pre-norm of eq. 9, fused: residual_out = residual + x and y = SRMSNorm(residual_out); and
 * its gradient, dx = SRMSNorm's gradient at residual_out, r (dy - y mean(y dy)), plus
 * dresidual_out. What a row needs is read from memory once and is in cache from then on.
 */
#include "core/kernels.h"
#include "kernels/srmsnorm/cpu_sums.h"

/* r of the sum of two rows. The sum is made again where it is stored: that costs less than to
 * store it now and read it back. */
static double scale_of_sum(const float *a, const float *b, int64_t width, double eps) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++)
        sum += tnl_square(a[i] + b[i]);
    return 1 / sqrt(tnl_mean(sum, width) + eps);
}

/* residual_out may be residual, and y may be x. */
static void forward_row(const float *residual, const float *x, float *residual_out, float *y,
                        int64_t width, double eps, bool stream) {
    const double r = scale_of_sum(residual, x, width, eps);
    _Alignas(32) float sum_buffer[TNL_BLOCK], y_buffer[TNL_BLOCK];
    for (int64_t i = 0; i < width; i += TNL_BLOCK) {
        const int64_t count = tnl_block_count(i, width);
        float *to_sum = stream ? sum_buffer : residual_out + i;
        float *to_y = stream ? y_buffer : y + i;
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            const float sum = residual[i + j] + x[i + j];
            to_sum[j] = sum;
            to_y[j] = (float)(r * (double)sum);
        }
        if (stream) {
            tnl_stream(residual_out + i, sum_buffer, count);
            tnl_stream(y + i, y_buffer, count);
        }
    }
}

static tnl_status forward(const tnl_call *call) {
    const tnl_tensor *residual = &call->tensor[RES_RESIDUAL], *x = &call->tensor[RES_X];
    const tnl_tensor *residual_out = &call->tensor[RES_RESIDUAL_OUT], *y = &call->tensor[RES_Y];
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const bool stream = tnl_streams(residual_out, residual) && tnl_streams(y, x);
#pragma omp parallel
    {
#pragma omp for nowait
        for (int64_t row = 0; row < m; row++)
            forward_row((const float *)residual->data + row * residual->stride[0],
                        (const float *)x->data + row * x->stride[0],
                        (float *)residual_out->data + row * residual_out->stride[0],
                        (float *)y->data + row * y->stride[0], width, call->eps, stream);
        tnl_stream_fence();
    }
    return TNL_OK;
}

/* x is the forward pass's residual_out. dresidual may be NULL; dx may be dresidual. */
static void backward_row(const float *x, const float *dy, const float *dresidual, float *dx,
                         int64_t width, double eps, bool stream) {
    const tnl_norm_gradient sums = tnl_gradient_of_row(x, dy, width, eps);
    _Alignas(32) float buffer[TNL_BLOCK];
    for (int64_t i = 0; i < width; i += TNL_BLOCK) {
        const int64_t count = tnl_block_count(i, width);
        float *to = stream ? buffer : dx + i;
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            const double gradient = tnl_gradient_at(sums, (double)x[i + j], (double)dy[i + j]);
            to[j] = (float)(dresidual ? gradient + (double)dresidual[i + j] : gradient);
        }
        if (stream)
            tnl_stream(dx + i, buffer, count);
    }
}

static tnl_status backward(const tnl_call *call) {
    const tnl_tensor *x = &call->tensor[RES_BWD_RESIDUAL_OUT];
    const tnl_tensor *dy = &call->tensor[RES_BWD_DY], *dx = &call->tensor[RES_BWD_DX];
    const tnl_tensor *dresidual = &call->tensor[RES_BWD_DRESIDUAL_OUT];
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const bool stream = tnl_streams(dx, dresidual);
#pragma omp parallel
    {
#pragma omp for nowait
        for (int64_t row = 0; row < m; row++)
            backward_row((const float *)x->data + row * x->stride[0],
                         (const float *)dy->data + row * dy->stride[0],
                         dresidual->data
                             ? (const float *)dresidual->data + row * dresidual->stride[0]
                             : NULL,
                         (float *)dx->data + row * dx->stride[0], width, call->eps, stream);
        tnl_stream_fence();
    }
    return TNL_OK;
}

const tnl_kernel tnl_cpu_srmsnorm_residual_forward_fused = {.launch = forward,
                                                            .deterministic = true};
const tnl_kernel tnl_cpu_srmsnorm_residual_backward_fused = {.launch = backward,
                                                             .deterministic = true};
