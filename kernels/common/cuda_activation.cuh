/*
 * Swish (eq. 4), its slope and the angles of LRPE (eq. 1, its real part), an element at a time.
 */
#ifndef TNL_KERNELS_COMMON_CUDA_ACTIVATION_CUH
#define TNL_KERNELS_COMMON_CUDA_ACTIVATION_CUH

#include "kernels/common/cuda.cuh"

/* x / (1 + exp(-x)); where exp(-x) overflows, the quotient is the 0 that it should be. For the
 * 16-bit types by the device's own exponential and quotient, good to 2 units in the last place of
 * float32. */
template <typename T> static __device__ __forceinline__ float swish(float x) {
    if constexpr (sizeof(T) == sizeof(float))
        return x / (1 + expf(-x));
    else
        return __fdividef(x, 1 + __expf(-x));
}

template <typename T> static __device__ __forceinline__ float sigmoid(float x) {
    if constexpr (sizeof(T) == sizeof(float))
        return 1 / (1 + expf(-x));
    else
        return __fdividef(1, 1 + __expf(-x));
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

static __device__ __noinline__ rotation rotate_far(double angle) {
    double sine, cosine;
    sincos(angle, &sine, &cosine);
    return {(float)cosine, (float)sine};
}

/* The cosine and sine of theta t. Positions go into the millions, so the angle is made in double
 * and reduced there, to at most pi/4 on either side of 0; what is left goes on as two floats,
 * angle + low. The series leave out less than 2e-9. */
static __device__ __forceinline__ rotation rotate(float theta, double t) {
    const double product = (double)theta * t;
    if (fabs(product) >= LARGEST_ANGLE)
        return rotate_far(product);
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

/* Where a token's absolute position comes from; device memory. */
struct positions {
    const int64_t *first;  /* of each sequence; NULL: 0 */
    const int32_t *offset; /* cu_seqlens; NULL: a sequence a batch entry */
    int sequences;

    /* The token's position: the sequence is found by halving, the last that begins at or before
     * the token (those that are empty own none). */
    __device__ double of(int64_t batch, int64_t token) const {
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
        return (double)((first ? first[sequence] : 0) + token - begin);
    }
};

#endif
