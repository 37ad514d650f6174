/*
 * Swish (eq. 4) and its slope in float32, without calls or branches, so that
 * `#pragma omp simd` loops over them become vector code. Selections are made on the bits: a
 * conditional expression on floating-point values would keep a compiler that minds floating-point
 * exceptions from vectorising.
 *
 * Errors stay under 3 units in the last place; far below zero the results underflow gradually.
 */
#ifndef TNL_COMMON_CPU_MATH_H
#define TNL_COMMON_CPU_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline int32_t tnl_bits_of_float(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float tnl_float_of_bits(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 2^n for -126 <= n <= 127. */
static inline float tnl_exp2_int(int32_t n) {
    return tnl_float_of_bits((n + 127) * (1 << 23));
}

/* x < 0 ? a : b; a NaN or zero x goes by its sign bit. */
static inline float tnl_if_negative(float x, float a, float b) {
    int32_t mask = tnl_bits_of_float(x) < 0 ? -1 : 0;
    return tnl_float_of_bits((tnl_bits_of_float(a) & mask) | (tnl_bits_of_float(b) & ~mask));
}

/* exp(-|x|): -|x| = n log 2 + r with n an integer and |r| <= 0.35, where the Taylor series of
 * exp(r) to r^7 leaves out less than 6e-9. 2^n is multiplied on in two halves, since it may itself
 * be below the normal numbers. For NaN: 0. */
static inline float tnl_exp_minus_abs(float x) {
    int32_t magnitude = tnl_bits_of_float(x) & INT32_MAX;
    int32_t limit = tnl_bits_of_float(128.0f); /* exp(-104) already rounds to 0 */
    float y = -tnl_float_of_bits(magnitude < limit ? magnitude : limit);
    float n = rintf(y * 0x1.715476p+0f);  /* 1 / log 2 */
    float r = fmaf(n, -0x1.62e43p-1f, y); /* log 2 in two parts, */
    r = fmaf(n, 0x1.05c61p-29f, r);       /* the first being a little too large */
    float series = 1.0f / 5040;
    series = fmaf(series, r, 1.0f / 720);
    series = fmaf(series, r, 1.0f / 120);
    series = fmaf(series, r, 1.0f / 24);
    series = fmaf(series, r, 1.0f / 6);
    series = fmaf(series, r, 1.0f / 2);
    series = fmaf(series, r, 1.0f);
    series = fmaf(series, r, 1.0f);
    int32_t exponent = (int32_t)n, half = exponent / 2;
    return series * tnl_exp2_int(half) * tnl_exp2_int(exponent - half);
}

/* x / (1 + exp(-x)), by exp(-|x|) alone, which cannot overflow. */
static inline float tnl_swish(float x) {
    float e = tnl_exp_minus_abs(x);
    return x * tnl_if_negative(x, e, 1.0f) / (1.0f + e);
}

typedef struct tnl_swish_pair {
    double value, slope;
} tnl_swish_pair;

/* swish(x) = x sigmoid(x) and swish'(x) = sigmoid(x) (1 + x sigmoid(-x)), put together in double:
 * the slope is a sum that cancels around its zero. */
static inline tnl_swish_pair tnl_swish_with_slope(float x) {
    float e = tnl_exp_minus_abs(x);
    double scale = 1 / (1 + (double)e);
    double sigmoid = (double)tnl_if_negative(x, e, 1.0f) * scale;
    double opposite = (double)tnl_if_negative(x, 1.0f, e) * scale; /* sigmoid(-x) */
    return (tnl_swish_pair){(double)x * sigmoid, sigmoid * (1 + (double)x * opposite)};
}

#endif
