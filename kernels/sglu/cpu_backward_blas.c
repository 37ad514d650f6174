/*
 * The gradients of SGLU (eq. 5). With v = X Wv, u = X Wu and p = v * u (weights [out, in]):
 *     dwo = dY^T p        dp = dY Wo       dv = dp * u     du = dp * v
 *     dwv = dv^T X        dwu = du^T X     dX = dv Wv + du Wu
 * BLAS GEMMs, and between them the products elementwise.
 */
#include "core/kernels.h"
#include "kernels/common/cpu_rows.h"

/* What is [m,g]: the branches, their product, which dp then replaces, and their gradients. */
typedef struct branches {
    tnl_rows v, u, p, dv, du;
} branches;

/* Where v and u are given, dv and du have room of their own, and p and dp are made in du's.
 * Otherwise v and u are made again, and dv and du replace them. */
static branches place(const tnl_call *call) {
    const tnl_rows first = {call->workspace, call->dim[DIM_G]};
    const tnl_rows second = tnl_skip_rows(first, call->dim[DIM_M]);
    const tnl_rows third = tnl_skip_rows(second, call->dim[DIM_M]);
    if (call->tensor[SGLU_BWD_V].data)
        return (branches){tnl_rows_of(&call->tensor[SGLU_BWD_V]),
                          tnl_rows_of(&call->tensor[SGLU_BWD_U]), second, first, second};
    return (branches){first, second, third, first, second};
}

static size_t workspace(const tnl_call *call) {
    const size_t matrices = call->tensor[SGLU_BWD_V].data ? 2 : 3;
    return sizeof(float) * matrices * (size_t)call->dim[DIM_M] * (size_t)call->dim[DIM_G];
}

/* dv = dp * u and du = dp * v. */
static void branch_gradients(const tnl_call *call, const branches *at, tnl_rows dp) {
    const int64_t g = call->dim[DIM_G];
#pragma omp parallel for
    for (int64_t row = 0; row < call->dim[DIM_M]; row++) {
        const float *product = dp.data + row * dp.stride;
        const float *v = at->v.data + row * at->v.stride, *u = at->u.data + row * at->u.stride;
        float *dv = at->dv.data + row * at->dv.stride, *du = at->du.data + row * at->du.stride;
#pragma omp simd
        for (int64_t i = 0; i < g; i++) {
            const float gradient = product[i], by_v = gradient * u[i], by_u = gradient * v[i];
            dv[i] = by_v;
            du[i] = by_u;
        }
    }
}

static tnl_status launch(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN], g = call->dim[DIM_G];
    const tnl_tensor *tensor = call->tensor;
    const tnl_rows x = tnl_rows_of(&tensor[SGLU_BWD_X]);
    const tnl_rows dy = tnl_rows_of(&tensor[SGLU_BWD_DY]);
    const tnl_rows wv = tnl_rows_of(&tensor[SGLU_BWD_WV]);
    const tnl_rows wu = tnl_rows_of(&tensor[SGLU_BWD_WU]);
    const tnl_rows dx = tnl_rows_of(&tensor[SGLU_BWD_DX]);
    const branches at = place(call);

    if (!tensor[SGLU_BWD_V].data) {
        tnl_gemm(TNL_NT, m, g, width, x, wv, false, at.v);
        tnl_gemm(TNL_NT, m, g, width, x, wu, false, at.u);
    }
    tnl_multiply(m, g, at.v, at.u, at.p);
    tnl_gemm(TNL_TN, width, g, m, dy, at.p, false, tnl_rows_of(&tensor[SGLU_BWD_DWO]));
    tnl_gemm(TNL_NN, m, g, width, dy, tnl_rows_of(&tensor[SGLU_BWD_WO]), false, at.p);
    branch_gradients(call, &at, at.p);
    tnl_gemm(TNL_TN, g, width, m, at.dv, x, false, tnl_rows_of(&tensor[SGLU_BWD_DWV]));
    tnl_gemm(TNL_TN, g, width, m, at.du, x, false, tnl_rows_of(&tensor[SGLU_BWD_DWU]));
    tnl_gemm(TNL_NN, m, width, g, at.dv, wv, false, dx);
    tnl_gemm(TNL_NN, m, width, g, at.du, wu, true, dx);
    return TNL_OK;
}

const tnl_kernel tnl_cpu_sglu_backward_blas = {
    .launch = launch, .workspace = workspace, .rejects = tnl_blas_rejects, .deterministic = true};
