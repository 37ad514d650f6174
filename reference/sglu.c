/*
 * The channel mixer SGLU (eq. 5), Y = (V * U) Wo with V = X Wv, U = X Wu, and its gradients:
 *     dP = dY Wo^T,   dV = dP * U,   dU = dP * V,   dX = dV Wv^T + dU Wu^T,
 *     dWv = X^T dV,   dWu = X^T dU,  dWo = P^T dY,
 * with the weights [in,out], as the paper has them. In memory they are [out,in], so that below a
 * row of a weight belongs to one output.
 *
 * V, U and P are never stored whole unless asked for: the gated dimension is worked off in blocks
 * of a few lanes, which are computed again wherever they are needed.
 */
#include "reference/sums.h"

typedef real lanes_of[TNL_LANES];

/* v = x_row . Wv and u = x_row . Wu for the lanes from g0 on. */
static void gate(const tnl_call *call, int x, int wv, int wu, int64_t row, int64_t g0, lanes_of v,
                 lanes_of u) {
    const int64_t width = call->dim[DIM_HIDDEN];
    const int lanes = tnl_lanes(g0, call->dim[DIM_G]);
    const double *from = tnl_values(call, x) + row * width;
    tnl_dots(from, tnl_values(call, wv) + g0 * width, width, lanes, v);
    tnl_dots(from, tnl_values(call, wu) + g0 * width, width, lanes, u);
}

static real product(const tnl_call *call, real v, real u) {
    return rounded(call, v) * rounded(call, u);
}

static void store(double *matrix, int64_t row, int64_t width, int64_t first, const lanes_of value) {
    for (int j = 0; matrix && j < tnl_lanes(first, width); j++)
        matrix[row * width + first + j] = value[j];
}

/* y += p Wo for the lanes of p from g0 on. */
static void add_down(const tnl_call *call, int wo, int64_t g0, const lanes_of p, double *y) {
    const int64_t g = call->dim[DIM_G];
    const int lanes = tnl_lanes(g0, g);
    for (int64_t i = 0; i < call->dim[DIM_HIDDEN]; i++) {
        const double *weight = tnl_values(call, wo) + i * g + g0;
        real sum = (real)y[i];
        for (int j = 0; j < lanes; j++)
            sum += p[j] * (real)weight[j];
        y[i] = sum;
    }
}

void REFERENCE(sglu_gate)(const tnl_call *call) {
    const int64_t g = call->dim[DIM_G];
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        for (int64_t g0 = 0; g0 < g; g0 += TNL_LANES) {
            lanes_of v, u, p;
            gate(call, SGLU_GATE_X, SGLU_GATE_WV, SGLU_GATE_WU, row, g0, v, u);
            for (int j = 0; j < TNL_LANES; j++)
                p[j] = product(call, v[j], u[j]);
            store(tnl_values(call, SGLU_GATE_P), row, g, g0, p);
            store(tnl_values(call, SGLU_GATE_V), row, g, g0, v);
            store(tnl_values(call, SGLU_GATE_U), row, g, g0, u);
        }
    }
}

void REFERENCE(sglu_down)(const tnl_call *call) {
    const int64_t g = call->dim[DIM_G], width = call->dim[DIM_HIDDEN];
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        for (int64_t i = 0; i < width; i += TNL_LANES) {
            lanes_of y;
            tnl_dots(tnl_values(call, SGLU_DOWN_P) + row * g,
                     tnl_values(call, SGLU_DOWN_WO) + i * g, g, tnl_lanes(i, width), y);
            store(tnl_values(call, SGLU_DOWN_Y), row, width, i, y);
        }
    }
}

void REFERENCE(sglu_forward)(const tnl_call *call) {
    const int64_t g = call->dim[DIM_G], width = call->dim[DIM_HIDDEN];
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        double *y = tnl_values(call, SGLU_Y) + row * width;
        tnl_zero(y, width);
        for (int64_t g0 = 0; g0 < g; g0 += TNL_LANES) {
            lanes_of v, u, p;
            gate(call, SGLU_X, SGLU_WV, SGLU_WU, row, g0, v, u);
            for (int j = 0; j < TNL_LANES; j++)
                p[j] = rounded(call, product(call, v[j], u[j]));
            add_down(call, SGLU_WO, g0, p, y);
            store(tnl_values(call, SGLU_V), row, g, g0, v);
            store(tnl_values(call, SGLU_U), row, g, g0, u);
        }
    }
}

/* What the gradients need of a row, for a few lanes of the gated dimension. */
typedef struct gated {
    lanes_of p, dv, du;
} gated;

static gated gate_gradients(const tnl_call *call, int64_t row, int64_t g0) {
    const int64_t g = call->dim[DIM_G], width = call->dim[DIM_HIDDEN];
    const int lanes = tnl_lanes(g0, g);
    const double *v_saved = tnl_values(call, SGLU_BWD_V), *u_saved = tnl_values(call, SGLU_BWD_U);
    lanes_of v = {0}, u = {0}, dp = {0};

    if (v_saved) {
        for (int j = 0; j < lanes; j++) {
            v[j] = (real)v_saved[row * g + g0 + j];
            u[j] = (real)u_saved[row * g + g0 + j];
        }
    } else {
        gate(call, SGLU_BWD_X, SGLU_BWD_WV, SGLU_BWD_WU, row, g0, v, u);
    }

    for (int64_t i = 0; i < width; i++) {
        const real dy = (real)tnl_values(call, SGLU_BWD_DY)[row * width + i];
        const double *weight = tnl_values(call, SGLU_BWD_WO) + i * g + g0;
        for (int j = 0; j < lanes; j++)
            dp[j] += dy * (real)weight[j];
    }

    gated result;
    for (int j = 0; j < TNL_LANES; j++) {
        result.p[j] = rounded(call, product(call, v[j], u[j]));
        result.dv[j] = rounded(call, product(call, dp[j], u[j]));
        result.du[j] = rounded(call, product(call, dp[j], v[j]));
    }
    return result;
}

/* dX: a row at a time. */
static void input_gradient(const tnl_call *call, int64_t row) {
    const int64_t g = call->dim[DIM_G], width = call->dim[DIM_HIDDEN];
    double *dx = tnl_values(call, SGLU_BWD_DX) + row * width;
    tnl_zero(dx, width);
    for (int64_t g0 = 0; g0 < g; g0 += TNL_LANES) {
        const gated part = gate_gradients(call, row, g0);
        for (int j = 0; j < tnl_lanes(g0, g); j++) {
            const int64_t at = (g0 + j) * width;
            tnl_add_scaled(dx, part.dv[j], tnl_values(call, SGLU_BWD_WV) + at, width);
            tnl_add_scaled(dx, part.du[j], tnl_values(call, SGLU_BWD_WU) + at, width);
        }
    }
}

/* dWv, dWu and dWo: a few lanes of the gated dimension at a time, summed over the rows. */
static void weight_gradients(const tnl_call *call, int64_t g0) {
    const int64_t g = call->dim[DIM_G], width = call->dim[DIM_HIDDEN];
    const int lanes = tnl_lanes(g0, g);
    double *dwv = tnl_values(call, SGLU_BWD_DWV) + g0 * width;
    double *dwu = tnl_values(call, SGLU_BWD_DWU) + g0 * width;
    double *dwo = tnl_values(call, SGLU_BWD_DWO) + g0;

    tnl_zero(dwv, lanes * width);
    tnl_zero(dwu, lanes * width);
    for (int64_t i = 0; i < width; i++)
        tnl_zero(dwo + i * g, lanes);

    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        const double *x = tnl_values(call, SGLU_BWD_X) + row * width;
        const double *dy = tnl_values(call, SGLU_BWD_DY) + row * width;
        const gated part = gate_gradients(call, row, g0);
        for (int j = 0; j < lanes; j++) {
            tnl_add_scaled(dwv + j * width, part.dv[j], x, width);
            tnl_add_scaled(dwu + j * width, part.du[j], x, width);
        }
        for (int64_t i = 0; i < width; i++)
            for (int j = 0; j < lanes; j++)
                dwo[i * g + j] = (real)dwo[i * g + j] + (real)dy[i] * part.p[j];
    }
}

void REFERENCE(sglu_backward)(const tnl_call *call) {
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++)
        input_gradient(call, row);
#pragma omp parallel for
    for (int64_t g0 = 0; g0 < call->dim[DIM_G]; g0 += TNL_LANES)
        weight_gradients(call, g0);
}
