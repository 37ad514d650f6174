/*
 * The activation of Q and K, alone: swish (eq. 4) and LRPE (eq. 1), forward and backward. The
 * formulas of one element are in activation.h; here are the loops over all of them.
 */
#include "reference/activation.h"
#include "reference/sums.h"

static void activate(const tnl_call *call, int in, int out) {
    const int64_t h = call->dim[DIM_H], n = call->dim[DIM_N], d = call->dim[DIM_D];
    const int64_t f = call->dim[DIM_F];
    const double *theta = tnl_values(call, ACT_THETA);

#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_B] * h * n; row++) {
        const int64_t head = row / n % h;
        const double t = tnl_position(call, ACT_POSITIONS, ACT_CU_SEQLENS, row / n / h, row % n);
        const double *x = tnl_values(call, in) + row * d;
        double *y = tnl_values(call, out) + row * f;
        for (int64_t i = 0; i < d; i++) {
            y[i] = tnl_swish((real)x[i]);
            if (theta) {
                const real swish = rounded(call, y[i]);
                const tnl_rotation rotation = tnl_rotate(call, theta[head * d + i], t);
                y[i] = swish * rotation.cosine;
                y[d + i] = swish * rotation.sine;
            }
        }
    }
}

void REFERENCE(qkvu_activation_forward)(const tnl_call *call) {
    activate(call, ACT_Q, ACT_Q_OUT);
    activate(call, ACT_K, ACT_K_OUT);
}

static void input_gradient(const tnl_call *call, int in, int dout, int din) {
    const int64_t h = call->dim[DIM_H], n = call->dim[DIM_N], d = call->dim[DIM_D];
    const int64_t f = call->dim[DIM_F];
    const double *theta = tnl_values(call, ACT_BWD_THETA);

#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_B] * h * n; row++) {
        const int64_t head = row / n % h;
        const double t =
            tnl_position(call, ACT_BWD_POSITIONS, ACT_BWD_CU_SEQLENS, row / n / h, row % n);
        const double *x = tnl_values(call, in) + row * d;
        const double *dy = tnl_values(call, dout) + row * f;
        double *dx = tnl_values(call, din) + row * d;
        for (int64_t i = 0; i < d; i++) {
            if (theta) {
                const tnl_rotation rotation = tnl_rotate(call, theta[head * d + i], t);
                dx[i] = tnl_activation_gradient(call, (real)x[i], &rotation, (real)dy[i],
                                                (real)dy[d + i]);
            } else {
                dx[i] = tnl_activation_gradient(call, (real)x[i], NULL, (real)dy[i], 0);
            }
        }
    }
}

/* dtheta of one head's element i: a sum over Q, K and every token of the head. */
static real theta_gradient(const tnl_call *call, int64_t head, int64_t i) {
    const int64_t h = call->dim[DIM_H], n = call->dim[DIM_N], d = call->dim[DIM_D];
    const double theta = tnl_values(call, ACT_BWD_THETA)[head * d + i];
    const double *q = tnl_values(call, ACT_BWD_Q), *k = tnl_values(call, ACT_BWD_K);
    const double *dq = tnl_values(call, ACT_BWD_DQ_OUT), *dk = tnl_values(call, ACT_BWD_DK_OUT);

    real sum = 0;
    for (int64_t batch = 0; batch < call->dim[DIM_B]; batch++) {
        for (int64_t token = 0; token < n; token++) {
            const int64_t row = (batch * h + head) * n + token;
            const int64_t at = row * d + i, out = row * 2 * d + i;
            const tnl_rotation rotation =
                tnl_rotate(call, theta,
                           tnl_position(call, ACT_BWD_POSITIONS, ACT_BWD_CU_SEQLENS, batch, token));
            sum +=
                tnl_theta_gradient(call, (real)q[at], &rotation, (real)dq[out], (real)dq[out + d]);
            sum +=
                tnl_theta_gradient(call, (real)k[at], &rotation, (real)dk[out], (real)dk[out + d]);
        }
    }
    return sum;
}

void REFERENCE(qkvu_activation_backward)(const tnl_call *call) {
    const int64_t h = call->dim[DIM_H], d = call->dim[DIM_D];
    double *dtheta = tnl_values(call, ACT_BWD_DTHETA);

    if (dtheta) {
#pragma omp parallel for
        for (int64_t i = 0; i < h * d; i++)
            dtheta[i] = theta_gradient(call, i / d, i % d);
    }
    input_gradient(call, ACT_BWD_Q, ACT_BWD_DQ_OUT, ACT_BWD_DQ);
    input_gradient(call, ACT_BWD_K, ACT_BWD_DK_OUT, ACT_BWD_DK);
}
