/*
 * The packed projection X W^T (eq. 4) by cuBLAS, then the activation's own CUDA row on Q and K, as
 * views of the product; and its gradients,
 *     dZ = the activation's gradient of dY,   dX = dZ W,   dW = dZ^T X.
 *
 * V and U go straight to their place in Y, Q and K by way of `preactivation`, or of the workspace
 * where that is not asked for and they stay float32, in backward as well; where there are few rows
 * backward keeps dZ in two parts (weight_gradient.cuh).
 */
#include "kernels/activation/cuda_rest.cuh"
#include "kernels/common/weight_gradient.cuh"

namespace {

/* How a row is laid out: Q and K have `features` each, in heads of d; after the activation `width`
 * each. V and U, `features` each, follow them. */
struct packing {
    int64_t features, h, d, width;
};

/* Without theta nothing says where heads begin, and nothing asks. */
packing packing_of(const tnl_call *call, int theta) {
    const int64_t features = call->dim[DIM_K] / 4;
    if (!call->tensor[theta].data)
        return {features, 1, features, features};
    return {features, call->dim[DIM_H], call->dim[DIM_D], 2 * features};
}

/* The activation's call: one batch entry of m tokens. Its tensors are for the caller to fill in. */
tnl_call activation_call(const tnl_call *call, const packing &row) {
    tnl_call inner = {};
    inner.context = call->context;
    inner.op = call->op; /* for error texts */
    inner.type = call->type;
    inner.dim[DIM_B] = 1;
    inner.dim[DIM_H] = row.h;
    inner.dim[DIM_N] = call->dim[DIM_M];
    inner.dim[DIM_D] = row.d;
    inner.dim[DIM_S] = call->dim[DIM_S];
    return inner;
}

/* The columns of a matrix from `first` on as a tensor [1,h,m,d], heads side by side. */
tnl_tensor heads_of(const tnl_call *call, const packing &row, const gemm_matrix &a, int64_t first,
                    int64_t d) {
    const int64_t m = call->dim[DIM_M];
    return {tnl_columns_from(a, first).data, a.type, 4, {1, row.h, m, d}, {0, d, a.stride, 1}};
}

/* ---- forward ------------------------------------------------------------------------------------
 */

size_t forward_workspace(const tnl_call *call) {
    tnl_carver carver = {nullptr, TNL_CUBLAS_BYTES};
    if (!call->tensor[PROJ_PREACTIVATION].data)
        tnl_take_matrix(&carver, TNL_FLOAT32, call->dim[DIM_M], call->dim[DIM_QK]);
    return carver.used;
}

tnl_status activate(const tnl_call *call, const packing &row, const gemm_matrix &z,
                    const gemm_matrix &y) {
    const int64_t out = row.width / row.h; /* d of a head of y */
    tnl_call inner = activation_call(call, row);
    inner.tensor[ACT_Q] = heads_of(call, row, z, 0, row.d);
    inner.tensor[ACT_K] = heads_of(call, row, z, row.features, row.d);
    inner.tensor[ACT_THETA] = call->tensor[PROJ_THETA];
    inner.tensor[ACT_POSITIONS] = call->tensor[PROJ_POSITIONS];
    inner.tensor[ACT_CU_SEQLENS] = call->tensor[PROJ_CU_SEQLENS];
    inner.tensor[ACT_Q_OUT] = heads_of(call, row, y, 0, out);
    inner.tensor[ACT_K_OUT] = heads_of(call, row, y, row.width, out);
    return tnl_cuda_qkvu_activation_forward_fused.launch(&inner);
}

tnl_status forward(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN], qk = call->dim[DIM_QK];
    const tnl_tensor *tensor = call->tensor, *preactivation = &tensor[PROJ_PREACTIVATION];
    const packing row = packing_of(call, PROJ_THETA);
    const gemm_matrix x = tnl_gemm_matrix(&tensor[PROJ_X]), y = tnl_gemm_matrix(&tensor[PROJ_Y]);
    const gemm_matrix w = tnl_gemm_matrix(&tensor[PROJ_W]);
    tnl_carver carver = {(char *)call->workspace, TNL_CUBLAS_BYTES};
    const gemm_matrix z = preactivation->data ? tnl_gemm_matrix(preactivation)
                                              : tnl_take_matrix(&carver, TNL_FLOAT32, m, qk);

    tnl_status status = tnl_cublas_begin(call, call->workspace);
    if (status == TNL_OK)
        status = tnl_gemm(call, m, qk, width, x, tnl_transposed(w), z);
    if (status == TNL_OK)
        status = tnl_gemm(call, m, qk, width, x, tnl_transposed(tnl_rows_from(w, qk)),
                          tnl_columns_from(y, 2 * row.width));
    if (status == TNL_OK)
        status = activate(call, row, z, y);
    return status;
}

/* ---- backward -----------------------------------------------------------------------------------
 */

/* The activation's backward call: z before the activation, dz its gradient. */
tnl_call gradient_call(const tnl_call *call, const packing &row, const gemm_matrix &z,
                       const gemm_matrix &dz) {
    const gemm_matrix dy = tnl_gemm_matrix(&call->tensor[PROJ_BWD_DY]);
    const int64_t out = row.width / row.h;
    tnl_call inner = activation_call(call, row);
    inner.tensor[ACT_BWD_Q] = heads_of(call, row, z, 0, row.d);
    inner.tensor[ACT_BWD_K] = heads_of(call, row, z, row.features, row.d);
    inner.tensor[ACT_BWD_THETA] = call->tensor[PROJ_BWD_THETA];
    inner.tensor[ACT_BWD_POSITIONS] = call->tensor[PROJ_BWD_POSITIONS];
    inner.tensor[ACT_BWD_CU_SEQLENS] = call->tensor[PROJ_BWD_CU_SEQLENS];
    inner.tensor[ACT_BWD_DQ_OUT] = heads_of(call, row, dy, 0, out);
    inner.tensor[ACT_BWD_DK_OUT] = heads_of(call, row, dy, row.width, out);
    inner.tensor[ACT_BWD_DQ] = heads_of(call, row, dz, 0, row.d);
    inner.tensor[ACT_BWD_DK] = heads_of(call, row, dz, row.features, row.d);
    if (tnl_splits_gradients(call)) {
        const gemm_matrix rest = tnl_rest_of(call, dz);
        inner.tensor[ACT_BWD_DQ_REST] = heads_of(call, row, rest, 0, row.d);
        inner.tensor[ACT_BWD_DK_REST] = heads_of(call, row, rest, row.features, row.d);
    }
    inner.tensor[ACT_BWD_DTHETA] = call->tensor[PROJ_BWD_DTHETA];
    return inner;
}

struct backward_workspace {
    void *cublas;
    gemm_matrix z;     /* [m,k/2] */
    gemm_matrix dz, x; /* with the rows that the weight's gradient is made of */
    tnl_call activation;
    size_t bytes;

    backward_workspace(const tnl_call *call, void *workspace) {
        const int64_t m = call->dim[DIM_M], k = call->dim[DIM_K], qk = call->dim[DIM_QK];
        const tnl_tensor *preactivation = &call->tensor[PROJ_BWD_PREACTIVATION];
        tnl_carver carver = {(char *)workspace, 0};
        cublas = carver.take<char>(TNL_CUBLAS_BYTES);
        z = preactivation->data ? tnl_gemm_matrix(preactivation)
                                : tnl_take_matrix(&carver, TNL_FLOAT32, m, qk);
        dz = tnl_take_matrix(&carver, call->type, tnl_gradient_rows(call), k);
        x = tnl_take_rows(&carver, call, &call->tensor[PROJ_BWD_X]);
        activation = gradient_call(call, packing_of(call, PROJ_BWD_THETA), z, dz);
        activation.workspace_bytes = tnl_cuda_qkvu_activation_backward_fused.workspace(&activation);
        activation.workspace = carver.take<char>((int64_t)activation.workspace_bytes);
        bytes = carver.used;
    }
};

size_t gradients_workspace(const tnl_call *call) {
    return backward_workspace(call, nullptr).bytes;
}

/* V's and U's columns of dz, which are those of dy: rounding takes nothing from them. */
tnl_status copy_unactivated(const tnl_call *call, const packing &row, const gemm_matrix &dz) {
    const gemm_matrix dy = tnl_gemm_matrix(&call->tensor[PROJ_BWD_DY]);
    const gemm_matrix rest = tnl_rest_of(call, dz);
    const size_t size = tnl_type_size(call->type), width = 2 * (size_t)row.features * size;
    const size_t m = (size_t)call->dim[DIM_M];
    cudaError_t error =
        cudaMemcpy2DAsync(tnl_columns_from(dz, 2 * row.features).data, (size_t)dz.stride * size,
                          tnl_columns_from(dy, 2 * row.width).data, (size_t)dy.stride * size, width,
                          m, cudaMemcpyDeviceToDevice, tnl_stream(call));
    if (error == cudaSuccess && rest.data)
        error = cudaMemset2DAsync(tnl_columns_from(rest, 2 * row.features).data,
                                  (size_t)rest.stride * size, 0, width, m, tnl_stream(call));
    return tnl_cuda_status(call, error);
}

tnl_status backward(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN], k = call->dim[DIM_K];
    const tnl_tensor *tensor = call->tensor;
    const gemm_matrix w = tnl_gemm_matrix(&tensor[PROJ_BWD_W]);
    const backward_workspace at(call, call->workspace);

    tnl_status status = tnl_cublas_begin(call, at.cublas);
    if (status == TNL_OK && !tensor[PROJ_BWD_PREACTIVATION].data)
        status = tnl_gemm(call, m, call->dim[DIM_QK], width, tnl_gemm_matrix(&tensor[PROJ_BWD_X]),
                          tnl_transposed(w), at.z);
    if (status == TNL_OK)
        status = tnl_cuda_qkvu_activation_backward_fused.launch(&at.activation);
    if (status == TNL_OK)
        status = copy_unactivated(call, packing_of(call, PROJ_BWD_THETA), at.dz);
    if (status == TNL_OK)
        status = tnl_gemm(call, m, width, k, at.dz, w, tnl_gemm_matrix(&tensor[PROJ_BWD_DX]));
    if (status == TNL_OK)
        status = tnl_copy_rows(call, &tensor[PROJ_BWD_X], at.x);
    if (status == TNL_OK)
        status = tnl_weight_gradient(call, at.dz, at.x, &tensor[PROJ_BWD_DW]);
    return status;
}

} // namespace

const tnl_kernel tnl_cuda_qkvu_projection_forward_cublas = {
    .launch = forward, .workspace = forward_workspace, .deterministic = true};
const tnl_kernel tnl_cuda_qkvu_projection_backward_cublas = {
    .launch = backward, .workspace = gradients_workspace, .deterministic = true};
