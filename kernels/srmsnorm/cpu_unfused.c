/*
 * SRMSNorm (eq. 8) and its gradient as a framework runs them that knows elementary operations
 * only: each is a pass over memory of its own, its result a tensor in the workspace. The baseline
 * of figure 2.
 *
 *   forward    square, mean, add eps, rsqrt, multiply
 *   backward   those, for the norm n = r x again, and then of r (dy - n mean(n dy)):
 *              multiply, mean, multiply, subtract, multiply
 */
#include <math.h>

#include "core/kernels.h"
#include "kernels/common/cpu_rows.h"
#include "kernels/srmsnorm/cpu_sums.h"

/* out = a * b */
static void multiply(const tnl_call *call, tnl_rows a, tnl_rows b, tnl_rows out) {
    tnl_multiply(call->dim[DIM_M], call->dim[DIM_HIDDEN], a, b, out);
}

/* out = a - b */
static void subtract(const tnl_call *call, tnl_rows a, tnl_rows b, tnl_rows out) {
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        const float *x = a.data + row * a.stride, *y = b.data + row * b.stride;
        float *z = out.data + row * out.stride;
#pragma omp simd
        for (int64_t i = 0; i < call->dim[DIM_HIDDEN]; i++)
            z[i] = x[i] - y[i];
    }
}

/* out = a times each row's factor */
static void multiply_rows(const tnl_call *call, tnl_rows a, const float *factor, tnl_rows out) {
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        const float *x = a.data + row * a.stride, scale = factor[row];
        float *z = out.data + row * out.stride;
#pragma omp simd
        for (int64_t i = 0; i < call->dim[DIM_HIDDEN]; i++)
            z[i] = x[i] * scale;
    }
}

/* Each row's mean. The sum is double in registers; beyond float32's range it is infinite. */
static void mean_rows(const tnl_call *call, tnl_rows a, float *mean) {
    const int64_t width = call->dim[DIM_HIDDEN];
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        const float *x = a.data + row * a.stride;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++)
            sum += (double)x[i];
        mean[row] = (float)tnl_mean(sum, width);
    }
}

static void add_eps(const tnl_call *call, const float *mean, float *sum) {
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++)
        sum[row] = mean[row] + (float)call->eps;
}

static void reciprocal_root(const tnl_call *call, const float *sum, float *r) {
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++)
        r[row] = 1 / sqrtf(sum[row]);
}

/* The tensors in the workspace. */
typedef struct intermediates {
    tnl_rows first, second; /* [m,D], contiguous; the second one backward only */
    float *mean, *sum, *r;  /* [m] */
} intermediates;

static intermediates carve(const tnl_call *call, int matrices) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    float *first = call->workspace, *rows = first + matrices * m * width;
    return (intermediates){
        {first, width}, {first + (matrices - 1) * m * width, width}, rows, rows + m, rows + 2 * m};
}

static size_t bytes_of(const tnl_call *call, int matrices) {
    const size_t m = (size_t)call->dim[DIM_M], width = (size_t)call->dim[DIM_HIDDEN];
    return sizeof(float) * (m * width * (size_t)matrices + 3 * m);
}

/* r of each row of x. */
static void find_scales(const tnl_call *call, tnl_rows x, const intermediates *at) {
    multiply(call, x, x, at->first);
    mean_rows(call, at->first, at->mean);
    add_eps(call, at->mean, at->sum);
    reciprocal_root(call, at->sum, at->r);
}

static size_t forward_workspace(const tnl_call *call) {
    return bytes_of(call, 1);
}

static tnl_status forward(const tnl_call *call) {
    const tnl_rows x = tnl_rows_of(&call->tensor[NORM_X]), y = tnl_rows_of(&call->tensor[NORM_Y]);
    const intermediates at = carve(call, 1);
    find_scales(call, x, &at);
    multiply_rows(call, x, at.r, y);
    return TNL_OK;
}

static size_t backward_workspace(const tnl_call *call) {
    return bytes_of(call, 2);
}

static tnl_status backward(const tnl_call *call) {
    const tnl_rows x = tnl_rows_of(&call->tensor[NORM_BWD_X]),
                   dy = tnl_rows_of(&call->tensor[NORM_BWD_DY]);
    const tnl_rows dx = tnl_rows_of(&call->tensor[NORM_BWD_DX]);
    const intermediates at = carve(call, 2);
    find_scales(call, x, &at);
    multiply_rows(call, x, at.r, at.first); /* n */
    multiply(call, at.first, dy, at.second);
    mean_rows(call, at.second, at.mean);
    multiply_rows(call, at.first, at.mean, at.second); /* n mean(n dy) */
    subtract(call, dy, at.second, at.first);
    multiply_rows(call, at.first, at.r, dx);
    return TNL_OK;
}

const tnl_kernel tnl_cpu_srmsnorm_forward_unfused = {
    .launch = forward, .workspace = forward_workspace, .deterministic = true};
const tnl_kernel tnl_cpu_srmsnorm_backward_unfused = {
    .launch = backward, .workspace = backward_workspace, .deterministic = true};
