/*
 * The packed projection X W^T to Q, K, V and U with the activation of Q and K (eq. 4, eq. 1), and
 * its gradients.
 *
 * Q and K go through the activation's own kernels, as heads of one batch entry. V and U pass by and
 * are projected straight to their place in y. BLAS GEMMs do the rest.
 */
#include "core/kernels.h"
#include "kernels/common/cpu_rows.h"

/* Both passes of an operator have this input in the same place. */
#define SAME_PLACE(op, tensor) ((int)op##_##tensor == (int)op##_BWD_##tensor)
_Static_assert(SAME_PLACE(PROJ, X) && SAME_PLACE(PROJ, W) && SAME_PLACE(PROJ, THETA) &&
                   SAME_PLACE(PROJ, POSITIONS) && SAME_PLACE(PROJ, CU_SEQLENS),
               "one function serves both passes of the projection");
_Static_assert(SAME_PLACE(ACT, THETA) && SAME_PLACE(ACT, POSITIONS) && SAME_PLACE(ACT, CU_SEQLENS),
               "and both of the activation");

/* An activation's call: its dimensions, and the tensors that it takes over. Without theta the
 * heads make no difference, and Q is one. */
static tnl_call activation_call(const tnl_call *call, tnl_operator op) {
    const bool has_theta = call->tensor[PROJ_THETA].data;
    tnl_call inner = {.context = call->context, .op = op, .type = call->type};
    inner.dim[DIM_B] = 1;
    inner.dim[DIM_H] = has_theta ? call->dim[DIM_H] : 1;
    inner.dim[DIM_N] = call->dim[DIM_M];
    inner.dim[DIM_D] = call->dim[DIM_QK] / 2 / inner.dim[DIM_H];
    inner.dim[DIM_F] = inner.dim[DIM_D] * (has_theta ? 2 : 1);
    inner.dim[DIM_S] = call->dim[DIM_S];
    inner.dim[DIM_S1] = call->dim[DIM_S1];
    inner.tensor[ACT_THETA] = call->tensor[PROJ_THETA];
    inner.tensor[ACT_POSITIONS] = call->tensor[PROJ_POSITIONS];
    inner.tensor[ACT_CU_SEQLENS] = call->tensor[PROJ_CU_SEQLENS];
    return inner;
}

/* Fill in Q's tensor and K's, which follows it: heads of `width` columns in rows Q | K | .. */
static void set_heads(tnl_call *inner, int q, tnl_rows rows, int64_t width) {
    const int64_t heads = inner->dim[DIM_H], m = inner->dim[DIM_N];
    for (int i = 0; i < 2; i++)
        inner->tensor[q + i] = (tnl_tensor){.data = rows.data + i * heads * width,
                                            .type = TNL_FLOAT32,
                                            .rank = 4,
                                            .shape = {1, heads, m, width},
                                            .stride = {m * rows.stride, width, rows.stride, 1}};
}

/* Q and K of X W^T, before swish. */
static void project_qk(const tnl_call *call, tnl_rows z) {
    tnl_gemm(TNL_NT, call->dim[DIM_M], call->dim[DIM_QK], call->dim[DIM_HIDDEN],
             tnl_rows_of(&call->tensor[PROJ_X]), tnl_rows_of(&call->tensor[PROJ_W]), false, z);
}

/* Q and K before swish, [m,k/2]: where nobody has room for them. */
static size_t preactivation_bytes(const tnl_call *call) {
    return sizeof(float) * (size_t)call->dim[DIM_M] * (size_t)call->dim[DIM_QK];
}

static size_t forward_workspace(const tnl_call *call) {
    const bool outside = !call->tensor[PROJ_PREACTIVATION].data && call->tensor[PROJ_THETA].data;
    return outside ? preactivation_bytes(call) : 0;
}

static tnl_status forward(const tnl_call *call) {
    const int64_t qk = call->dim[DIM_QK];
    const tnl_tensor *tensor = call->tensor;
    const tnl_rows y = tnl_rows_of(&tensor[PROJ_Y]);
    tnl_rows z = y; /* Q and K before swish: in place unless they are asked for or grow */
    if (tensor[PROJ_PREACTIVATION].data)
        z = tnl_rows_of(&tensor[PROJ_PREACTIVATION]);
    else if (tensor[PROJ_THETA].data)
        z = (tnl_rows){call->workspace, qk};

    project_qk(call, z);
    tnl_gemm(TNL_NT, call->dim[DIM_M], qk, call->dim[DIM_HIDDEN], tnl_rows_of(&tensor[PROJ_X]),
             tnl_skip_rows(tnl_rows_of(&tensor[PROJ_W]), qk), false,
             tnl_skip_columns(y, call->dim[DIM_C] - qk));

    tnl_call inner = activation_call(call, TNL_QKVU_ACTIVATION_FORWARD);
    set_heads(&inner, ACT_Q, z, inner.dim[DIM_D]);
    set_heads(&inner, ACT_Q_OUT, y, inner.dim[DIM_F]);
    return tnl_cpu_qkvu_activation_forward_fused.launch(&inner);
}

/* The gradient's call, without Q and K. Its workspace lies behind Q's and K's gradients. */
static tnl_call gradient_call(const tnl_call *call) {
    const size_t unit = TNL_WORKSPACE_ALIGNMENT, bytes = preactivation_bytes(call);
    tnl_call inner = activation_call(call, TNL_QKVU_ACTIVATION_BACKWARD);
    inner.tensor[ACT_BWD_DTHETA] = call->tensor[PROJ_BWD_DTHETA];
    inner.workspace_bytes = tnl_cpu_qkvu_activation_backward_fused.workspace(&inner);
    if (call->workspace)
        inner.workspace = (char *)call->workspace + (bytes + unit - 1) / unit * unit;
    return inner;
}

static size_t backward_workspace(const tnl_call *call) {
    const size_t unit = TNL_WORKSPACE_ALIGNMENT, bytes = preactivation_bytes(call);
    return (bytes + unit - 1) / unit * unit + gradient_call(call).workspace_bytes;
}

/* The gradient of Q's and K's columns before swish; what they were is made again where the
 * forward pass did not keep it, and then replaced. */
static tnl_status activation_gradient(const tnl_call *call, tnl_rows dz) {
    tnl_rows z = dz;
    if (call->tensor[PROJ_BWD_PREACTIVATION].data)
        z = tnl_rows_of(&call->tensor[PROJ_BWD_PREACTIVATION]);
    else
        project_qk(call, z);
    tnl_call inner = gradient_call(call);
    set_heads(&inner, ACT_BWD_Q, z, inner.dim[DIM_D]);
    set_heads(&inner, ACT_BWD_DQ_OUT, tnl_rows_of(&call->tensor[PROJ_BWD_DY]), inner.dim[DIM_F]);
    set_heads(&inner, ACT_BWD_DQ, dz, inner.dim[DIM_D]);
    return tnl_cpu_qkvu_activation_backward_fused.launch(&inner);
}

static tnl_status backward(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN], qk = call->dim[DIM_QK];
    const tnl_tensor *tensor = call->tensor;
    const tnl_rows x = tnl_rows_of(&tensor[PROJ_BWD_X]), w = tnl_rows_of(&tensor[PROJ_BWD_W]);
    const tnl_rows dx = tnl_rows_of(&tensor[PROJ_BWD_DX]), dw = tnl_rows_of(&tensor[PROJ_BWD_DW]);
    const tnl_rows dz = {call->workspace, qk}; /* of Q and K; that of V and U is in dy */
    const tnl_rows dvu = tnl_skip_columns(tnl_rows_of(&tensor[PROJ_BWD_DY]), call->dim[DIM_C] - qk);

    const tnl_status status = activation_gradient(call, dz);
    tnl_gemm(TNL_NN, m, width, qk, dz, w, false, dx);
    tnl_gemm(TNL_NN, m, width, qk, dvu, tnl_skip_rows(w, qk), true, dx);
    tnl_gemm(TNL_TN, qk, width, m, dz, x, false, dw);
    tnl_gemm(TNL_TN, qk, width, m, dvu, x, false, tnl_skip_rows(dw, qk));
    return status;
}

const tnl_kernel tnl_cpu_qkvu_projection_forward_blas = {.launch = forward,
                                                         .workspace = forward_workspace,
                                                         .rejects = tnl_blas_rejects,
                                                         .deterministic = true};
const tnl_kernel tnl_cpu_qkvu_projection_backward_blas = {.launch = backward,
                                                          .workspace = backward_workspace,
                                                          .rejects = tnl_blas_rejects,
                                                          .deterministic = true};
