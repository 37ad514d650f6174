/* The data types: names, sizes and conversion. */
#include "core/types.h"

#include <math.h>
#include <string.h>

size_t tnl_type_size(tnl_type type) {
    switch (type) {
    case TNL_FLOAT32:
    case TNL_INT32:
        return 4;
    case TNL_FLOAT16:
    case TNL_BFLOAT16:
        return 2;
    case TNL_INT64:
        return 8;
    default:
        return 0;
    }
}

const char *tnl_type_name(tnl_type type) {
    switch (type) {
    case TNL_FLOAT32:
        return "f32";
    case TNL_FLOAT16:
        return "f16";
    case TNL_BFLOAT16:
        return "bf16";
    case TNL_INT32:
        return "i32";
    case TNL_INT64:
        return "i64";
    default:
        return "?";
    }
}

/* Significant bits, and the exponents e of the smallest normal number 2^e and of the first power
 * of two that is too large. */
typedef struct format {
    int bits, min_exponent, max_exponent;
} format;

static format format_of(tnl_type type) {
    switch (type) {
    case TNL_FLOAT16:
        return (format){11, -14, 16};
    case TNL_BFLOAT16:
        return (format){8, -126, 128};
    default:
        return (format){24, -126, 128};
    }
}

/* x to the nearest multiple of a unit that fits `bits` significant bits, ties to even. The scaling
 * by powers of two is exact and nearbyint rounds once. */
static double round_to(format f, double x) {
    if (x == 0 || !isfinite(x))
        return x;
    int exponent = ilogb(x);
    if (exponent < f.min_exponent)
        exponent = f.min_exponent;
    double y = scalbn(nearbyint(scalbn(x, f.bits - 1 - exponent)), exponent - (f.bits - 1));
    return fabs(y) >= scalbn(1, f.max_exponent) ? copysign(INFINITY, x) : y;
}

double tnl_round(tnl_type type, double x) {
    if (type == TNL_FLOAT32)
        return (float)x;
    format f = format_of(type), range = format_of(TNL_FLOAT32);
    f.min_exponent = range.min_exponent;
    f.max_exponent = range.max_exponent;
    return round_to(f, x);
}

double tnl_ulp(tnl_type type, double x) {
    format f = format_of(type);
    int exponent = x == 0 || !isfinite(x) ? f.min_exponent : ilogb(x);
    if (exponent < f.min_exponent)
        exponent = f.min_exponent;
    return scalbn(1, exponent - (f.bits - 1));
}

static uint16_t half_bits(double x) {
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    x = fabs(round_to(format_of(TNL_FLOAT16), x));
    if (isnan(x))
        return 0x7e00;
    if (isinf(x))
        return sign | 0x7c00;
    if (x < scalbn(1, -14)) /* zero or subnormal: a multiple of 2^-24 */
        return (uint16_t)(sign | (int)scalbn(x, 24));
    int exponent = ilogb(x);
    return (uint16_t)(sign + ((exponent + 14) << 10) + (int)scalbn(x, 10 - exponent));
}

static double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double x = exponent == 31  ? (mantissa ? NAN : INFINITY)
               : exponent == 0 ? scalbn(mantissa, -24)
                               : scalbn(mantissa + 1024, exponent - 25);
    return bits & 0x8000 ? -x : x;
}

double tnl_load(const void *data, tnl_type type, int64_t i) {
    if (type == TNL_FLOAT32)
        return ((const float *)data)[i];
    uint16_t bits = ((const uint16_t *)data)[i];
    if (type == TNL_FLOAT16)
        return half_value(bits);
    uint32_t word = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &word, sizeof x);
    return x;
}

void tnl_store(void *data, tnl_type type, int64_t i, double x) {
    if (type == TNL_FLOAT32) {
        ((float *)data)[i] = (float)x;
    } else if (type == TNL_FLOAT16) {
        ((uint16_t *)data)[i] = half_bits(x);
    } else {
        float y = (float)round_to(format_of(TNL_BFLOAT16), x);
        uint32_t word;
        memcpy(&word, &y, sizeof word);
        ((uint16_t *)data)[i] = isnan(y) ? 0x7fc0 : (uint16_t)(word >> 16);
    }
}
