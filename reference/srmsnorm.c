/*
 * SRMSNorm (eq. 8), y = x / sqrt(mean(x^2) + eps) for each row, and its two companions: after a
 * residual sum (eq. 9's pre-norm) and before a gate (eq. 3).
 *
 * With r = 1 / sqrt(mean(x^2) + eps) and y = r x, the gradient is
 *     dx = r dy - x r^3 mean(x dy) = r (dy - y mean(y dy)),
 * computed in the second form, whose factors stay in range where r^3 would not.
 */
#include <math.h>

#include "reference/sums.h"

/* r, the factor that normalises the row. */
static real row_scale(const tnl_call *call, const double *x) {
    const int64_t width = call->dim[DIM_HIDDEN];
    real sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += rounded(call, (real)x[i] * (real)x[i]);
    return rounded(call, 1 / (real)sqrt(sum / (real)width + (real)call->eps));
}

/* dx for the row x and the gradient dy of its norm; dx may be dy. */
static void row_gradient(const tnl_call *call, const double *x, const double *dy, double *dx) {
    const int64_t width = call->dim[DIM_HIDDEN];
    const real r = row_scale(call, x);
    real sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += rounded(call, rounded(call, r * (real)x[i]) * (real)dy[i]);
    const real mean = rounded(call, sum / (real)width);
    for (int64_t i = 0; i < width; i++) {
        const real y = rounded(call, r * (real)x[i]);
        dx[i] = r * rounded(call, (real)dy[i] - rounded(call, y * mean));
    }
}

void REFERENCE(srmsnorm_forward)(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
#pragma omp parallel for
    for (int64_t row = 0; row < m; row++) {
        const double *x = tnl_values(call, NORM_X) + row * width;
        double *y = tnl_values(call, NORM_Y) + row * width;
        const real r = row_scale(call, x);
        for (int64_t i = 0; i < width; i++)
            y[i] = r * (real)x[i];
    }
}

void REFERENCE(srmsnorm_backward)(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
#pragma omp parallel for
    for (int64_t row = 0; row < m; row++)
        row_gradient(call, tnl_values(call, NORM_BWD_X) + row * width,
                     tnl_values(call, NORM_BWD_DY) + row * width,
                     tnl_values(call, NORM_BWD_DX) + row * width);
}

void REFERENCE(srmsnorm_residual_forward)(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const tnl_type stream = call->tensor[RES_RESIDUAL_OUT].type;
#pragma omp parallel for
    for (int64_t row = 0; row < m; row++) {
        const double *residual = tnl_values(call, RES_RESIDUAL) + row * width;
        const double *x = tnl_values(call, RES_X) + row * width;
        double *sum = tnl_values(call, RES_RESIDUAL_OUT) + row * width;
        double *y = tnl_values(call, RES_Y) + row * width;
        for (int64_t i = 0; i < width; i++)
            sum[i] = rounded_to(stream, (real)residual[i] + (real)x[i]);
        const real r = row_scale(call, sum);
        for (int64_t i = 0; i < width; i++)
            y[i] = r * (real)sum[i];
    }
}

void REFERENCE(srmsnorm_residual_backward)(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const double *dresidual = tnl_values(call, RES_BWD_DRESIDUAL_OUT);
#pragma omp parallel for
    for (int64_t row = 0; row < m; row++) {
        double *dx = tnl_values(call, RES_BWD_DX) + row * width;
        row_gradient(call, tnl_values(call, RES_BWD_RESIDUAL_OUT) + row * width,
                     tnl_values(call, RES_BWD_DY) + row * width, dx);
        if (dresidual)
            for (int64_t i = 0; i < width; i++)
                dx[i] = rounded(call, dx[i]) + (real)dresidual[row * width + i];
    }
}

void REFERENCE(srmsnorm_gate_forward)(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
#pragma omp parallel for
    for (int64_t row = 0; row < m; row++) {
        const double *x = tnl_values(call, GATE_X) + row * width;
        const double *u = tnl_values(call, GATE_U) + row * width;
        double *y = tnl_values(call, GATE_Y) + row * width;
        const real r = row_scale(call, x);
        for (int64_t i = 0; i < width; i++)
            y[i] = rounded(call, r * (real)x[i]) * (real)u[i];
    }
}

void REFERENCE(srmsnorm_gate_backward)(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
#pragma omp parallel for
    for (int64_t row = 0; row < m; row++) {
        const double *x = tnl_values(call, GATE_BWD_X) + row * width;
        const double *u = tnl_values(call, GATE_BWD_U) + row * width;
        const double *dy = tnl_values(call, GATE_BWD_DY) + row * width;
        double *dx = tnl_values(call, GATE_BWD_DX) + row * width;
        double *du = tnl_values(call, GATE_BWD_DU) + row * width;
        const real r = row_scale(call, x);
        for (int64_t i = 0; i < width; i++) {
            du[i] = rounded(call, r * (real)x[i]) * (real)dy[i];
            dx[i] = rounded(call, (real)u[i] * (real)dy[i]); /* the norm's own gradient */
        }
        row_gradient(call, x, dx, dx);
    }
}
