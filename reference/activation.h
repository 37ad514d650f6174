/*
 * Swish and LRPE of one element, for the operators that apply them: the activation alone, the
 * packed projection and decode.
 *
 * Eq. 1 prints exp(i theta (s-t)) and means its real part, cos(theta (s-t)). It comes apart into
 * a product of something that knows s alone and something that knows t alone as
 *     cos(theta s) cos(theta t) + sin(theta s) sin(theta t),
 * so q and k both become [x cos(theta t) | x sin(theta t)]. Eq. 16, which takes exp(i theta t) on
 * both sides, lacks the conjugate on k.
 */
#ifndef TNL_REFERENCE_ACTIVATION_H
#define TNL_REFERENCE_ACTIVATION_H

#include <math.h>

#include "reference/reference.h"

static inline real tnl_sigmoid(real x) {
    return 1 / (1 + (real)exp(-(double)x));
}

/* x sigmoid(x); where exp(-x) overflows, the quotient is the 0 that it should be. */
static inline real tnl_swish(real x) {
    return x / (1 + (real)exp(-(double)x));
}

static inline real tnl_swish_slope(real x) {
    const real s = tnl_sigmoid(x);
    return s * (1 + x * (1 - s));
}

/* The cosine and sine of theta t. The angle is a double in the naive computation as well: that
 * large angles stay accurate is the definition, not a matter of the type. */
typedef struct tnl_rotation {
    double t;
    real cosine, sine;
} tnl_rotation;

static inline tnl_rotation tnl_rotate(const tnl_call *call, double theta, double t) {
    return (tnl_rotation){t, rounded(call, cos(theta * t)), rounded(call, sin(theta * t))};
}

/* The absolute position of a token, `token` being its place in batch entry `batch`. */
static inline double tnl_position(const tnl_call *call, int positions, int cu_seqlens,
                                  int64_t batch, int64_t token) {
    const int64_t *position = (const int64_t *)call->tensor[positions].data;
    const int32_t *offset = (const int32_t *)call->tensor[cu_seqlens].data;
    int64_t sequence = batch, begin = 0;
    if (offset) {
        sequence = 0;
        while (offset[sequence + 1] <= token)
            sequence++;
        begin = offset[sequence];
    }
    return (double)((position ? position[sequence] : 0) + token - begin);
}

/* The gradient of the element x for those of its swish (without LRPE, rotation NULL: `dcosine`
 * alone) or of its swish times cosine and sine. */
static inline real tnl_activation_gradient(const tnl_call *call, real x,
                                           const tnl_rotation *rotation, real dcosine, real dsine) {
    real dswish = dcosine;
    if (rotation)
        dswish = rounded(call, rounded(call, dcosine * rotation->cosine) +
                                   rounded(call, dsine * rotation->sine));
    return dswish * tnl_swish_slope(x);
}

/* One element's part in theta's gradient: d/dtheta of (x cos(theta t), x sin(theta t)) is
 * t (-x sin(theta t), x cos(theta t)). */
static inline real tnl_theta_gradient(const tnl_call *call, real x, const tnl_rotation *rotation,
                                      real dcosine, real dsine) {
    const real turned = rounded(call, rounded(call, dsine * rotation->cosine) -
                                          rounded(call, dcosine * rotation->sine));
    return (real)rotation->t * rounded(call, rounded(call, tnl_swish(x)) * turned);
}

#endif
