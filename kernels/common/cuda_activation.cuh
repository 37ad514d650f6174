/*
 * Swish (eq. 4), its slope and the angles of LRPE (eq. 1, its real part), an element at a time.
 */
#ifndef TNL_KERNELS_COMMON_CUDA_ACTIVATION_CUH
#define TNL_KERNELS_COMMON_CUDA_ACTIVATION_CUH

#include "kernels/common/cuda.cuh"

/* 1 / (1 + exp(-x)), for the 16-bit types by the device's own power of two and reciprocal, good to
 * 2 units in the last place of float32 each. Where exp(-x) overflows it is 0, as it should be. */
template <typename T> static __device__ __forceinline__ float sigmoid(float x) {
    if constexpr (sizeof(T) == sizeof(float)) {
        return 1 / (1 + expf(-x));
    } else {
        const float minus_log2_e = -1.44269504f;
        float power, quotient;
        asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(minus_log2_e * x));
        asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(quotient) : "f"(1 + power));
        return quotient;
    }
}

template <typename T> static __device__ __forceinline__ float swish(float x) {
    if constexpr (sizeof(T) == sizeof(float))
        return x / (1 + expf(-x));
    else
        return x * sigmoid<T>(x);
}

/* swish'(x), given sigmoid(x). */
static __device__ __forceinline__ float swish_slope(float x, float sigmoid_of_x) {
    return sigmoid_of_x * fmaf(x, 1 - sigmoid_of_x, 1.0f);
}

struct rotation {
    float cosine, sine;
};

/* Beyond this the quarter turns of an angle could no longer be counted below. */
#define LARGEST_ANGLE 0x1p50

/* 1 / 2 pi as a number in units of 2^-320, the words behind the point from high to low. */
static __constant__ const uint64_t inverse_of_2_pi[] = {0,
                                                        0x28be60db9391054a,
                                                        0x7f09d5f47d4d3770,
                                                        0x36d8a5664f10e410,
                                                        0x7f9458eaf7aef158,
                                                        0x6dc91b8e909374b8};

/* An angle of LARGEST_ANGLE or more, less whole turns (Payne and Hanek): its 53 bits times those
 * bits of 1 / 2 pi that don't make whole turns of them. A product of a float and a position is
 * below 2^180. No call, around which a kernel would have to put its registers away. */
static __device__ __forceinline__ double less_whole_turns(double angle) {
    const uint64_t bits = (uint64_t)__double_as_longlong(angle);
    const int exponent = (int)(bits >> 52 & 2047);
    if (exponent == 2047)
        return angle - angle; /* NaN */
    const uint64_t mantissa = (bits & ((1ull << 52) - 1)) | 1ull << 52;
    const int start = exponent - 1075 + 64, shift = start & 63;
    const uint64_t *word = inverse_of_2_pi + (start >> 6);
    const uint64_t high = word[0] << shift | word[1] >> 1 >> (63 - shift);
    const uint64_t low = word[1] << shift | word[2] >> 1 >> (63 - shift);
    const uint64_t turns = mantissa * high + __umul64hi(mantissa, low); /* in 2^-64 */
    const double left = (double)(int64_t)turns * (0x1.921fb54442d18p+2 * 0x1p-64);
    return angle < 0 ? -left : left;
}

/* The cosine and sine of theta t. Positions go into the millions, so the angle is made in double
 * and reduced there, to at most pi/4 on either side of 0; what is left goes on as two floats,
 * angle + low. The series leave out less than 2e-9. */
static __device__ __forceinline__ rotation rotate(float theta, double t) {
    double product = (double)theta * t;
    if (fabs(product) >= LARGEST_ANGLE)
        product = less_whole_turns(product);
    const double half_pi = 0x1.921fb54442d18p+0; /* pi / 2, */
    const double rest = 0x1.1a62633145c07p-54;   /* and what the line above leaves out */
    const double round = 0x1.8p52;               /* adding it rounds to an integer, the low bits */
    const double count = fma(product, 0x1.45f306dc9c883p-1, round);
    const double turns = count - round;
    const double reduced = fma(turns, -rest, fma(turns, -half_pi, product));
    const float angle = (float)reduced, low = (float)(reduced - (double)angle);

    const float square = angle * angle;
    float sine = 1.0f / 362880, cosine = -1.0f / 3628800;
    sine = fmaf(sine, square, -1.0f / 5040);
    sine = fmaf(sine, square, 1.0f / 120);
    sine = fmaf(sine, square, -1.0f / 6);
    sine = fmaf(sine * square, angle, angle);
    cosine = fmaf(cosine, square, 1.0f / 40320);
    cosine = fmaf(cosine, square, -1.0f / 720);
    cosine = fmaf(cosine, square, 1.0f / 24);
    cosine = fmaf(cosine, square, -1.0f / 2);
    cosine = fmaf(cosine, square, 1.0f);
    const float sine_of = fmaf(low, cosine, sine), cosine_of = fmaf(low, -sine, cosine);

    const int quarter = __double2loint(count);
    const float c = quarter & 1 ? sine_of : cosine_of, s = quarter & 1 ? cosine_of : sine_of;
    return {(quarter + 1) & 2 ? -c : c, quarter & 2 ? -s : s};
}

/* theta in units of 2^-64 turns: a whole multiple of it wraps around to the right place, however
 * large. In two parts, since a double has not all the bits; theta is finite and below 2^50. */
static __device__ __forceinline__ uint64_t turns_of(float theta) {
    const double inverse = 0x1.45f306dc9c883p-3; /* 1 / 2 pi, */
    const double rest = -0x1.6b01ec5417056p-57;  /* and what the line above leaves out */
    const double product = theta * inverse;
    const double low = fma((double)theta, inverse, -product) + theta * rest;
    return (uint64_t)(__double2ll_rn((product - rint(product)) * 0x1p64) +
                      __double2ll_rn(low * 0x1p64));
}

/* The cosine and sine of theta t for the 16-bit types, from turns_of(theta): good to 2^-19. */
static __device__ __forceinline__ rotation turn(uint64_t turns, int64_t t) {
    const uint32_t of = (uint32_t)(turns * (uint64_t)t >> 32);
    /* its first 23 bits as a float, from -1/2 to 1/2 */
    const float part = __uint_as_float(of >> 9 ^ 0x3fc00000) - 1.5f;
    const float angle = part * 6.28318531f;
    return {__cosf(angle), __sinf(angle)};
}

/* Where a token's absolute position comes from; device memory. */
struct positions {
    const int64_t *first;  /* of each sequence; NULL: 0 */
    const int32_t *offset; /* cu_seqlens; NULL: a sequence a batch entry */
    int sequences;

    /* The token's position: the sequence is found by halving, the last that begins at or before
     * the token (those that are empty own none). */
    __device__ int64_t of(int64_t batch, int64_t token) const {
        int64_t sequence = batch, begin = 0;
        if (offset) {
            int low = 0, high = sequences; /* offset[low] <= token < offset[high] */
            while (high - low > 1) {
                const int middle = low + (high - low) / 2;
                if (offset[middle] <= token)
                    low = middle;
                else
                    high = middle;
            }
            sequence = low;
            begin = offset[low];
        }
        return (first ? first[sequence] : 0) + token - begin;
    }
};

#endif
