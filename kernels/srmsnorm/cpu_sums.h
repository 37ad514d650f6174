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

/* What a row's gradient needs: r, and mean(y dy) for y = r x. */
typedef struct tnl_norm_gradient {
    double r, mean;
} tnl_norm_gradient;

/* From sum(x^2) and sum(x dy), which one pass makes. */
static inline tnl_norm_gradient tnl_gradient_of_sums(double square, double product, int64_t width,
                                                     double eps) {
    const double r = 1 / sqrt(tnl_mean(square, width) + eps);
    return (tnl_norm_gradient){r, tnl_mean(r * product, width)};
}

static inline tnl_norm_gradient tnl_gradient_of_row(const float *x, const float *dy, int64_t width,
                                                    double eps) {
    double square = 0, product = 0;
#pragma omp simd reduction(+ : square, product)
    for (int64_t i = 0; i < width; i++) {
        square += tnl_square(x[i]);
        product += (double)x[i] * (double)dy[i];
    }
    return tnl_gradient_of_sums(square, product, width, eps);
}

/* The row's gradient itself: r (dy - y mean(y dy)). */
static inline double tnl_gradient_at(tnl_norm_gradient row, double x, double dy) {
    return row.r * (dy - row.r * x * row.mean);
}

#endif
