/*
 * SRMSNorm (eq. 8), y = r x with r = 1 / sqrt(mean(x^2) + eps), and its gradient
 * dx = r (dy - y mean(y dy)), fused: a row is read from memory once, for its sums, and is still in
 * cache when the result is made from it.
 */
#include "kernels/srmsnorm/cpu_row.h"

static tnl_pair norm(const tnl_norm_row *row, int64_t i) {
    return (tnl_pair){.first = row->sums.r * (double)row->a[i]};
}

static void forward_row(float *const *at, int64_t width, double eps, bool stream) {
    const tnl_norm_row row = {.a = at[NORM_X], .sums.r = tnl_norm_scale(at[NORM_X], width, eps)};
    tnl_write_row(&row, norm, width, stream, at[NORM_Y], NULL);
}

static tnl_status forward(const tnl_call *call) {
    return tnl_for_rows(call, tnl_streams(&call->tensor[NORM_Y], &call->tensor[NORM_X]),
                        forward_row);
}

static tnl_pair gradient(const tnl_norm_row *row, int64_t i) {
    return (tnl_pair){.first = tnl_gradient_at(row->sums, (double)row->a[i], (double)row->b[i])};
}

static void backward_row(float *const *at, int64_t width, double eps, bool stream) {
    const float *x = at[NORM_BWD_X], *dy = at[NORM_BWD_DY];
    const tnl_norm_row row = {.a = x, .b = dy, .sums = tnl_gradient_of_row(x, dy, width, eps)};
    tnl_write_row(&row, gradient, width, stream, at[NORM_BWD_DX], NULL);
}

static tnl_status backward(const tnl_call *call) {
    return tnl_for_rows(call, tnl_streams(&call->tensor[NORM_BWD_DX], &call->tensor[NORM_BWD_DY]),
                        backward_row);
}

const tnl_kernel tnl_cpu_srmsnorm_forward_fused = {.launch = forward, .deterministic = true};
const tnl_kernel tnl_cpu_srmsnorm_backward_fused = {.launch = backward, .deterministic = true};
