/*
 * The packed projection of the token mixer (eq. 4): X W^T, whose k features are Q, K, V and U, k/4
 * of each, with swish and LRPE (activation.h) on Q and K; and its gradients
 *     dZ = the activation's gradient of dY,   dX = dZ W,   dW = dZ^T X.
 *
 * Features go in blocks of a few lanes, computed again wherever they are needed, so that nothing
 * but the outputs is stored.
 */
#include "reference/activation.h"
#include "reference/sums.h"

/* Where feature c of the projection goes in a row of y: its column, and for Q and K with LRPE the
 * column of its sine part and the index of its angle in theta [h,d]. */
typedef struct place {
    bool activated, rotated;
    int64_t column, sine_column, angle;
} place;

static place find_place(const tnl_call *call, bool has_theta, int64_t c) {
    const int64_t segment = call->dim[DIM_K] / 4; /* features of Q; of K, V and U as many */
    if (c >= 2 * segment)
        return (place){.column = has_theta ? c + 2 * segment : c};
    if (!has_theta)
        return (place){.activated = true, .column = c};
    const int64_t d = call->dim[DIM_D], angle = c % segment;
    const int64_t column = c / segment * 2 * segment + angle / d * 2 * d + angle % d;
    return (place){true, true, column, column + d, angle};
}

/* The features from c on of a row of X W^T. */
static void project(const tnl_call *call, int x, int w, int64_t row, int64_t c,
                    real feature[TNL_LANES]) {
    const int64_t width = call->dim[DIM_HIDDEN];
    tnl_dots(tnl_values(call, x) + row * width, tnl_values(call, w) + c * width, width,
             tnl_lanes(c, call->dim[DIM_K]), feature);
}

/* One feature, before its activation, to its place or places in the row y. */
static void put_feature(const tnl_call *call, int64_t c, real feature, double t, double *y) {
    const double *theta = tnl_values(call, PROJ_THETA);
    const place at = find_place(call, theta, c);
    if (!at.activated) {
        y[at.column] = feature;
        return;
    }
    y[at.column] = tnl_swish(rounded(call, feature));
    if (at.rotated) {
        const real swish = rounded(call, y[at.column]);
        const tnl_rotation rotation = tnl_rotate(call, theta[at.angle], t);
        y[at.column] = swish * rotation.cosine;
        y[at.sine_column] = swish * rotation.sine;
    }
}

void REFERENCE(qkvu_projection_forward)(const tnl_call *call) {
    const int64_t k = call->dim[DIM_K], qk = call->dim[DIM_QK];
    double *preactivation = tnl_values(call, PROJ_PREACTIVATION);

#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        const double t = tnl_position(call, PROJ_POSITIONS, PROJ_CU_SEQLENS, 0, row);
        double *y = tnl_values(call, PROJ_Y) + row * call->dim[DIM_C];
        for (int64_t c = 0; c < k; c += TNL_LANES) {
            real feature[TNL_LANES];
            project(call, PROJ_X, PROJ_W, row, c, feature);
            for (int j = 0; j < tnl_lanes(c, k); j++) {
                put_feature(call, c + j, feature[j], t, y);
                if (preactivation && c + j < qk)
                    preactivation[row * qk + c + j] = feature[j];
            }
        }
    }
}

/* What a row gives for the features from c on: their gradients before the activation, and their
 * parts in theta's gradient (0 for features without an angle). */
typedef struct features {
    real dz[TNL_LANES], dtheta[TNL_LANES];
} features;

static features feature_gradients(const tnl_call *call, int64_t row, int64_t c) {
    const int64_t k = call->dim[DIM_K], qk = call->dim[DIM_QK];
    const double *preactivation = tnl_values(call, PROJ_BWD_PREACTIVATION);
    const double *theta = tnl_values(call, PROJ_BWD_THETA);
    const double *dy = tnl_values(call, PROJ_BWD_DY) + row * call->dim[DIM_C];
    const double t = tnl_position(call, PROJ_BWD_POSITIONS, PROJ_BWD_CU_SEQLENS, 0, row);

    features result = {{0}, {0}};
    real feature[TNL_LANES];
    if (!preactivation && c < qk)
        project(call, PROJ_BWD_X, PROJ_BWD_W, row, c, feature);
    for (int j = 0; j < tnl_lanes(c, k); j++) {
        const place at = find_place(call, theta, c + j);
        const real dcosine = (real)dy[at.column];
        if (!at.activated) {
            result.dz[j] = dcosine;
            continue;
        }
        const real z = preactivation ? (real)preactivation[row * qk + c + j] : feature[j];
        const real x = rounded(call, z);
        if (at.rotated) {
            const real dsine = (real)dy[at.sine_column];
            const tnl_rotation rotation = tnl_rotate(call, theta[at.angle], t);
            result.dz[j] =
                rounded(call, tnl_activation_gradient(call, x, &rotation, dcosine, dsine));
            result.dtheta[j] = tnl_theta_gradient(call, x, &rotation, dcosine, dsine);
        } else {
            result.dz[j] = rounded(call, tnl_activation_gradient(call, x, NULL, dcosine, 0));
        }
    }
    return result;
}

/* dX: a row at a time. */
static void input_gradient(const tnl_call *call, int64_t row) {
    const int64_t k = call->dim[DIM_K], width = call->dim[DIM_HIDDEN];
    double *dx = tnl_values(call, PROJ_BWD_DX) + row * width;
    tnl_zero(dx, width);
    for (int64_t c = 0; c < k; c += TNL_LANES) {
        const features part = feature_gradients(call, row, c);
        for (int j = 0; j < tnl_lanes(c, k); j++)
            tnl_add_scaled(dx, part.dz[j], tnl_values(call, PROJ_BWD_W) + (c + j) * width, width);
    }
}

/* dW: a few features at a time, summed over the rows. */
static void weight_gradient(const tnl_call *call, int64_t c) {
    const int64_t width = call->dim[DIM_HIDDEN];
    const int lanes = tnl_lanes(c, call->dim[DIM_K]);
    double *dw = tnl_values(call, PROJ_BWD_DW) + c * width;
    tnl_zero(dw, lanes * width);
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        const double *x = tnl_values(call, PROJ_BWD_X) + row * width;
        const features part = feature_gradients(call, row, c);
        for (int j = 0; j < lanes; j++)
            tnl_add_scaled(dw + j * width, part.dz[j], x, width);
    }
}

/* dtheta: a few angles at a time, Q's and K's features that share them summed over the rows. */
static void theta_gradient(const tnl_call *call, int64_t angle) {
    const int64_t segment = call->dim[DIM_K] / 4;
    const int lanes = tnl_lanes(angle, segment);
    double *dtheta = tnl_values(call, PROJ_BWD_DTHETA) + angle;
    tnl_zero(dtheta, lanes);
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        const features q = feature_gradients(call, row, angle);
        const features k = feature_gradients(call, row, segment + angle);
        for (int j = 0; j < lanes; j++)
            dtheta[j] = (real)dtheta[j] + q.dtheta[j] + k.dtheta[j];
    }
}

void REFERENCE(qkvu_projection_backward)(const tnl_call *call) {
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++)
        input_gradient(call, row);
#pragma omp parallel for
    for (int64_t c = 0; c < call->dim[DIM_K]; c += TNL_LANES)
        weight_gradient(call, c);
    if (tnl_values(call, PROJ_BWD_DTHETA)) {
#pragma omp parallel for
        for (int64_t angle = 0; angle < call->dim[DIM_K] / 4; angle += TNL_LANES)
            theta_gradient(call, angle);
    }
}
