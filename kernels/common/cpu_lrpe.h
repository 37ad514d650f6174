/*
 * The angles of LRPE (eq. 1, its real part): channel i of a head at position t is turned by
 * theta[i] t.
 *
 * Positions go into the millions, so angles are made and reduced in double; cosine and sine come
 * from Taylor series in double and are rounded once. Loops over channels become vector code.
 */
#ifndef TNL_COMMON_CPU_LRPE_H
#define TNL_COMMON_CPU_LRPE_H

#include "kernels/common/cpu_math.h"

/* Channels whose angles are held at a time, so that a head of any width fits on the stack. */
enum { TNL_LRPE_BLOCK = 256 };

typedef struct tnl_angles {
    float cosine[TNL_LRPE_BLOCK], sine[TNL_LRPE_BLOCK];
} tnl_angles;

/* Horner's rule for the series of sin(x) / x and cos(x) in x^2, for |x| <= pi/2: the first terms
 * left out are under 1e-11. */
static inline double tnl_sine_series(double square) {
    double sum = -1.0 / 1307674368000;
    sum = fma(sum, square, 1.0 / 6227020800);
    sum = fma(sum, square, -1.0 / 39916800);
    sum = fma(sum, square, 1.0 / 362880);
    sum = fma(sum, square, -1.0 / 5040);
    sum = fma(sum, square, 1.0 / 120);
    sum = fma(sum, square, -1.0 / 6);
    return fma(sum, square, 1.0);
}

static inline double tnl_cosine_series(double square) {
    double sum = 1.0 / 20922789888000;
    sum = fma(sum, square, -1.0 / 87178291200);
    sum = fma(sum, square, 1.0 / 479001600);
    sum = fma(sum, square, -1.0 / 3628800);
    sum = fma(sum, square, 1.0 / 40320);
    sum = fma(sum, square, -1.0 / 720);
    sum = fma(sum, square, 1.0 / 24);
    sum = fma(sum, square, -1.0 / 2);
    return fma(sum, square, 1.0);
}

/* Angles of this size and more are left to the C library: the reduction below counts the turns
 * in one double and would lose them. */
#define TNL_LARGEST_ANGLE 0x1p46

/* max |theta[i]|, by the bits: they are ordered as the numbers are, NaN above all. */
static inline float tnl_largest_magnitude(const float *theta, int64_t count) {
    int32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < count; i++) {
        int32_t magnitude = tnl_bits_of_float(theta[i]) & INT32_MAX;
        largest = magnitude > largest ? magnitude : largest;
    }
    return tnl_float_of_bits(largest);
}

/* cos and sin of theta[i] t for count <= TNL_LRPE_BLOCK channels. */
static inline void tnl_make_angles(const float *theta, int64_t t, int64_t count,
                                   tnl_angles *angles) {
    const double turn = 0x1.921fb54442d18p+2;  /* 2 pi, */
    const double rest = 0x1.1a62633145c07p-52; /* and what the line above leaves out */
    double position = (double)t;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        double angle = (double)theta[i] * position;
        double turns = rint(angle * (1 / turn));
        double half = 0.5 * fma(turns, -rest, fma(turns, -turn, angle)); /* within +-pi/2 */
        double sine = half * tnl_sine_series(half * half);
        double cosine = tnl_cosine_series(half * half);
        angles->sine[i] = (float)(2 * sine * cosine);
        angles->cosine[i] = (float)(1 - 2 * sine * sine);
    }
    if (tnl_largest_magnitude(theta, count) * position < TNL_LARGEST_ANGLE)
        return;
    for (int64_t i = 0; i < count; i++) {
        double angle = (double)theta[i] * position;
        angles->sine[i] = (float)sin(angle);
        angles->cosine[i] = (float)cos(angle);
    }
}

#endif
