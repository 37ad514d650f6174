/*
 * SRMSNorm and gate (eq. 3), fused: y = SRMSNorm(x) u; and its gradients. With n = r x the norm,
 * du = n dy, and dx is the norm's gradient for g = u dy, r (g - n mean(n g)). What a row
 * needs is read from memory once and is in cache from then on.
 */
#include "kernels/srmsnorm/cpu_row.h"

static tnl_pair gated(const tnl_norm_row *row, int64_t i) {
    return (tnl_pair){.first = row->sums.r * (double)row->a[i] * (double)row->b[i]};
}

/* y may be x. */
static void forward_row(float *const *at, int64_t width, double eps, bool stream) {
    const tnl_norm_row row = {
        .a = at[GATE_X], .b = at[GATE_U], .sums.r = tnl_norm_scale(at[GATE_X], width, eps)};
    tnl_write_row(&row, gated, width, stream, at[GATE_Y], NULL);
}

static tnl_status forward(const tnl_call *call) {
    return tnl_for_rows(call, tnl_streams(&call->tensor[GATE_Y], &call->tensor[GATE_X]),
                        forward_row);
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

/* dx and du. */
static tnl_pair gradients(const tnl_norm_row *row, int64_t i) {
    const double x = (double)row->a[i], u = (double)row->b[i], dy = (double)row->c[i];
    return (tnl_pair){tnl_gradient_at(row->sums, x, u * dy), row->sums.r * x * dy};
}

static void backward_row(float *const *at, int64_t width, double eps, bool stream) {
    const float *x = at[GATE_BWD_X], *u = at[GATE_BWD_U], *dy = at[GATE_BWD_DY];
    const tnl_norm_row row = {.a = x, .b = u, .c = dy, .sums = gated_sums(x, u, dy, width, eps)};
    tnl_write_row(&row, gradients, width, stream, at[GATE_BWD_DX], at[GATE_BWD_DU]);
}

static tnl_status backward(const tnl_call *call) {
    return tnl_for_rows(call, tnl_streams(&call->tensor[GATE_BWD_DX], &call->tensor[GATE_BWD_X]),
                        backward_row);
}

const tnl_kernel tnl_cpu_srmsnorm_gate_forward_fused = {.launch = forward, .deterministic = true};
const tnl_kernel tnl_cpu_srmsnorm_gate_backward_fused = {.launch = backward, .deterministic = true};
