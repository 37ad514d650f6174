/*
 * The pre-norm of eq. 9, fused: residual_out = residual + x and y = SRMSNorm(residual_out); and
 * its gradient, dx = SRMSNorm's gradient at residual_out, r (dy - y mean(y dy)), plus
 * dresidual_out. What a row needs is read from memory once and is in cache from then on.
 */
#include "kernels/srmsnorm/cpu_row.h"

/* r of the sum of two rows. The sum is made again where it is stored: that costs less than to
 * store it now and read it back. */
static double scale_of_sum(const float *a, const float *b, int64_t width, double eps) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++)
        sum += tnl_square(a[i] + b[i]);
    return 1 / sqrt(tnl_mean(sum, width) + eps);
}

/* residual_out and y. */
static tnl_pair sum_and_norm(const tnl_norm_row *row, int64_t i) {
    const float sum = row->a[i] + row->b[i];
    return (tnl_pair){(double)sum, row->sums.r * (double)sum};
}

/* residual_out may be residual, and y may be x. */
static void forward_row(float *const *at, int64_t width, double eps, bool stream) {
    const float *residual = at[RES_RESIDUAL], *x = at[RES_X];
    const tnl_norm_row row = {
        .a = residual, .b = x, .sums.r = scale_of_sum(residual, x, width, eps)};
    tnl_write_row(&row, sum_and_norm, width, stream, at[RES_RESIDUAL_OUT], at[RES_Y]);
}

static tnl_status forward(const tnl_call *call) {
    const tnl_tensor *t = call->tensor;
    return tnl_for_rows(call,
                        tnl_streams(&t[RES_RESIDUAL_OUT], &t[RES_RESIDUAL]) &&
                            tnl_streams(&t[RES_Y], &t[RES_X]),
                        forward_row);
}

static tnl_pair gradient(const tnl_norm_row *row, int64_t i) {
    return (tnl_pair){.first = tnl_gradient_at(row->sums, (double)row->a[i], (double)row->b[i])};
}

/* The same with dresidual_out, c. */
static tnl_pair gradient_and_residual(const tnl_norm_row *row, int64_t i) {
    return (tnl_pair){.first = gradient(row, i).first + (double)row->c[i]};
}

/* dx may be dresidual_out. */
static void backward_row(float *const *at, int64_t width, double eps, bool stream) {
    const float *x = at[RES_BWD_RESIDUAL_OUT], *dy = at[RES_BWD_DY];
    const tnl_norm_row row = {.a = x,
                              .b = dy,
                              .c = at[RES_BWD_DRESIDUAL_OUT],
                              .sums = tnl_gradient_of_row(x, dy, width, eps)};
    if (row.c)
        tnl_write_row(&row, gradient_and_residual, width, stream, at[RES_BWD_DX], NULL);
    else
        tnl_write_row(&row, gradient, width, stream, at[RES_BWD_DX], NULL);
}

static tnl_status backward(const tnl_call *call) {
    return tnl_for_rows(
        call, tnl_streams(&call->tensor[RES_BWD_DX], &call->tensor[RES_BWD_DRESIDUAL_OUT]),
        backward_row);
}

const tnl_kernel tnl_cpu_srmsnorm_residual_forward_fused = {.launch = forward,
                                                            .deterministic = true};
const tnl_kernel tnl_cpu_srmsnorm_residual_backward_fused = {.launch = backward,
                                                             .deterministic = true};
