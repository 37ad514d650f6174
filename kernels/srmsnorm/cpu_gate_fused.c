/*
 * SRMSNorm and gate (eq. 3), fused: y = SRMSNorm(x) u; and its gradients. With n = r x the norm,
 * du = n dy, and dx is the norm's gradient for g = u dy, r (g - n mean(n g)). What a row
 * needs is read from memory once and is in cache from then on.
 */
#include "core/kernels.h"
#include "kernels/srmsnorm/cpu_sums.h"

/* y may be x. */
static void forward_row(const float *x, const float *u, float *y, int64_t width, double eps,
                        bool stream) {
    const double r = tnl_norm_scale(x, width, eps);
    _Alignas(32) float buffer[TNL_BLOCK];
    for (int64_t i = 0; i < width; i += TNL_BLOCK) {
        const int64_t count = tnl_block_count(i, width);
        float *to = stream ? buffer : y + i;
#pragma omp simd
        for (int64_t j = 0; j < count; j++)
            to[j] = (float)(r * (double)x[i + j] * (double)u[i + j]);
        if (stream)
            tnl_stream(y + i, buffer, count);
    }
}

static tnl_status forward(const tnl_call *call) {
    const tnl_tensor *x = &call->tensor[GATE_X], *u = &call->tensor[GATE_U];
    const tnl_tensor *y = &call->tensor[GATE_Y];
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const bool stream = tnl_streams(y, x);
#pragma omp parallel
    {
#pragma omp for nowait
        for (int64_t row = 0; row < m; row++)
            forward_row((const float *)x->data + row * x->stride[0],
                        (const float *)u->data + row * u->stride[0],
                        (float *)y->data + row * y->stride[0], width, call->eps, stream);
        tnl_stream_fence();
    }
    return TNL_OK;
}

/* The sums of a row for the gradient u dy. */
static tnl_norm_gradient gated_sums(const float *x, const float *u, const float *dy, int64_t width,
                                    double eps) {
    double square = 0, product = 0;
#pragma omp simd reduction(+ : square, product)
    for (int64_t i = 0; i < width; i++) {
        square += tnl_square(x[i]);
        product += (double)x[i] * ((double)u[i] * (double)dy[i]);
    }
    return tnl_gradient_of_sums(square, product, width, eps);
}

static void backward_row(const float *x, const float *u, const float *dy, float *dx, float *du,
                         int64_t width, double eps, bool stream) {
    const tnl_norm_gradient sums = gated_sums(x, u, dy, width, eps);
    _Alignas(32) float dx_buffer[TNL_BLOCK], du_buffer[TNL_BLOCK];
    for (int64_t i = 0; i < width; i += TNL_BLOCK) {
        const int64_t count = tnl_block_count(i, width);
        float *to_dx = stream ? dx_buffer : dx + i;
        float *to_du = stream ? du_buffer : du + i;
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            const double value = (double)x[i + j], gradient = (double)dy[i + j];
            to_dx[j] = (float)tnl_gradient_at(sums, value, (double)u[i + j] * gradient);
            to_du[j] = (float)(sums.r * value * gradient);
        }
        if (stream) {
            tnl_stream(dx + i, dx_buffer, count);
            tnl_stream(du + i, du_buffer, count);
        }
    }
}

static tnl_status backward(const tnl_call *call) {
    const tnl_tensor *x = &call->tensor[GATE_BWD_X], *u = &call->tensor[GATE_BWD_U];
    const tnl_tensor *dy = &call->tensor[GATE_BWD_DY], *dx = &call->tensor[GATE_BWD_DX];
    const tnl_tensor *du = &call->tensor[GATE_BWD_DU];
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const bool stream = tnl_streams(dx, x);
#pragma omp parallel
    {
#pragma omp for nowait
        for (int64_t row = 0; row < m; row++)
            backward_row((const float *)x->data + row * x->stride[0],
                         (const float *)u->data + row * u->stride[0],
                         (const float *)dy->data + row * dy->stride[0],
                         (float *)dx->data + row * dx->stride[0],
                         (float *)du->data + row * du->stride[0], width, call->eps, stream);
        tnl_stream_fence();
    }
    return TNL_OK;
}

const tnl_kernel tnl_cpu_srmsnorm_gate_forward_fused = {.launch = forward, .deterministic = true};
const tnl_kernel tnl_cpu_srmsnorm_gate_backward_fused = {.launch = backward, .deterministic = true};
