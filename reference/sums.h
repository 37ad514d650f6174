/*
 * What the references share: their arrays, and the two plain sums that all their matrix products
 * are made of. Both add one term after another in `real`; they are written so that several sums
 * go on side by side, which a compiler can keep in flight at once without changing their order.
 */
#ifndef TNL_REFERENCE_SUMS_H
#define TNL_REFERENCE_SUMS_H

#include "reference/reference.h"

enum { TNL_LANES = 8 };

/* The elements of a floating-point tensor; NULL where it is absent. */
static inline double *tnl_values(const tnl_call *call, int tensor) {
    return (double *)call->tensor[tensor].data;
}

static inline int64_t tnl_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The lanes in use from `i` on, of `n` places in all. */
static inline int tnl_lanes(int64_t i, int64_t n) {
    return (int)tnl_min(TNL_LANES, n - i);
}

/* sum[j] = x . y_j for the first `lanes` rows of y [.., n]; the other lanes repeat the last one. */
static inline void tnl_dots(const double *x, const double *y, int64_t n, int lanes,
                            real sum[TNL_LANES]) {
    const double *row[TNL_LANES];
    real lane[TNL_LANES] = {0};
    for (int j = 0; j < TNL_LANES; j++)
        row[j] = y + tnl_min(j, lanes - 1) * n;
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < TNL_LANES; j++)
            lane[j] += (real)x[i] * (real)row[j][i];
    for (int j = 0; j < TNL_LANES; j++)
        sum[j] = lane[j];
}

/* y += a x. A sum that is still growing lies in a double array and holds a `real`. */
static inline void tnl_add_scaled(double *restrict y, real a, const double *restrict x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        y[i] = (real)y[i] + a * (real)x[i];
}

static inline void tnl_zero(double *y, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        y[i] = 0;
}

#endif
