/*
 * The channel mixer SGLU (eq. 5), Y = ((X Wv) * (X Wu)) Wo, forward: a BLAS GEMM for each
 * projection, and the product of the two branches elementwise. Weights are [out, in].
 */
#include "core/kernels.h"
#include "kernels/common/cpu_rows.h"

/* p = (X Wv) * (X Wu). v may be p. */
static void gated_product(const tnl_call *call, tnl_rows x, tnl_rows wv, tnl_rows wu, tnl_rows v,
                          tnl_rows u, tnl_rows p) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN], g = call->dim[DIM_G];
    tnl_gemm(TNL_NT, m, g, width, x, wv, false, v);
    tnl_gemm(TNL_NT, m, g, width, x, wu, false, u);
    tnl_multiply(m, g, v, u, p);
}

static size_t gated_bytes(const tnl_call *call) {
    return sizeof(float) * (size_t)call->dim[DIM_M] * (size_t)call->dim[DIM_G];
}

/* u, where it is not wanted as an output; v is then made in p's place. */
static size_t gate_workspace(const tnl_call *call) {
    return call->tensor[SGLU_GATE_V].data ? 0 : gated_bytes(call);
}

static tnl_status gate(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const bool kept = tensor[SGLU_GATE_V].data;
    const tnl_rows p = tnl_rows_of(&tensor[SGLU_GATE_P]);
    const tnl_rows spare = {call->workspace, call->dim[DIM_G]};
    gated_product(call, tnl_rows_of(&tensor[SGLU_GATE_X]), tnl_rows_of(&tensor[SGLU_GATE_WV]),
                  tnl_rows_of(&tensor[SGLU_GATE_WU]), kept ? tnl_rows_of(&tensor[SGLU_GATE_V]) : p,
                  kept ? tnl_rows_of(&tensor[SGLU_GATE_U]) : spare, p);
    return TNL_OK;
}

static tnl_status down(const tnl_call *call) {
    tnl_gemm(TNL_NT, call->dim[DIM_M], call->dim[DIM_HIDDEN], call->dim[DIM_G],
             tnl_rows_of(&call->tensor[SGLU_DOWN_P]), tnl_rows_of(&call->tensor[SGLU_DOWN_WO]),
             false, tnl_rows_of(&call->tensor[SGLU_DOWN_Y]));
    return TNL_OK;
}

/* p, and u as above. */
static size_t forward_workspace(const tnl_call *call) {
    return gated_bytes(call) * (call->tensor[SGLU_V].data ? 1 : 2);
}

static tnl_status forward(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN], g = call->dim[DIM_G];
    const tnl_tensor *tensor = call->tensor;
    const bool kept = tensor[SGLU_V].data;
    const tnl_rows p = {call->workspace, g}, spare = tnl_skip_rows(p, m);
    gated_product(call, tnl_rows_of(&tensor[SGLU_X]), tnl_rows_of(&tensor[SGLU_WV]),
                  tnl_rows_of(&tensor[SGLU_WU]), kept ? tnl_rows_of(&tensor[SGLU_V]) : p,
                  kept ? tnl_rows_of(&tensor[SGLU_U]) : spare, p);
    tnl_gemm(TNL_NT, m, width, g, p, tnl_rows_of(&tensor[SGLU_WO]), false,
             tnl_rows_of(&tensor[SGLU_Y]));
    return TNL_OK;
}

const tnl_kernel tnl_cpu_sglu_gate_blas = {.launch = gate,
                                           .workspace = gate_workspace,
                                           .rejects = tnl_blas_rejects,
                                           .deterministic = true};
const tnl_kernel tnl_cpu_sglu_down_blas = {
    .launch = down, .rejects = tnl_blas_rejects, .deterministic = true};
const tnl_kernel tnl_cpu_sglu_forward_blas = {.launch = forward,
                                              .workspace = forward_workspace,
                                              .rejects = tnl_blas_rejects,
                                              .deterministic = true};
