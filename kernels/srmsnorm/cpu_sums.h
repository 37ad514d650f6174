/*
 * What the fused SRMSNorm variants share: the sums over a row.
 *
 * Tensors are float32 in memory and double in registers, which costs nothing where memory sets
 * the pace: results are rounded once, and the gradient's dy - y mean(y dy) keeps its digits where
 * dy is nearly a multiple of y. A row's sum that float32 could not hold counts as infinite
 * all the same, so that rows of huge values come out as the plain float32 computation has them.
 */
#ifndef TNL_SRMSNORM_CPU_SUMS_H
#define TNL_SRMSNORM_CPU_SUMS_H

#include <float.h>
#include <math.h>

#include "kernels/common/cpu_stream.h"

/* The mean of `width` values from their sum. */
static inline double tnl_mean(double sum, int64_t width) {
    return fabs(sum) > FLT_MAX ? copysign(INFINITY, sum) : sum / (double)width;
}

/* x^2 of a float is exact in double. */
static inline double tnl_square(float x) {
    return (double)x * (double)x;
}

/* r = 1 / sqrt(mean(x^2) + eps). Four sums at a time hide an addition's latency. */
static inline double tnl_norm_scale(const float *x, int64_t width, double eps) {
    const int64_t quarter = width / 4;
    const float *x1 = x + quarter, *x2 = x1 + quarter, *x3 = x2 + quarter;
    double sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
#pragma omp simd reduction(+ : sum0, sum1, sum2, sum3)
    for (int64_t i = 0; i < quarter; i++) {
        sum0 += tnl_square(x[i]);
        sum1 += tnl_square(x1[i]);
        sum2 += tnl_square(x2[i]);
        sum3 += tnl_square(x3[i]);
    }
    for (int64_t i = 4 * quarter; i < width; i++)
        sum0 += tnl_square(x[i]);
    return 1 / sqrt(tnl_mean(sum0 + sum1 + (sum2 + sum3), width) + eps);
}

/* mean(y dy) for y = r x. */
static inline double tnl_gradient_mean(double r, const float *x, const float *dy, int64_t width) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++)
        sum += r * (double)x[i] * (double)dy[i];
    return tnl_mean(sum, width);
}

/* The elements of the block of a row that begins at i. */
static inline int64_t tnl_block_count(int64_t i, int64_t width) {
    return width - i < TNL_BLOCK ? width - i : TNL_BLOCK;
}

#endif
