/*
 * The gate's two products, V = X Wv and U = X Wu (eq. 5), which forward and backward make alike.
 */
#ifndef TNL_SGLU_CUDA_GATE_CUH
#define TNL_SGLU_CUDA_GATE_CUH

#include "kernels/common/cublas.cuh"
#include "kernels/common/cuda_elementwise.cuh"

/* v = x Wv, u = x Wu; x, wv and wu are indices of the call's tensors. */
static inline tnl_status multiply_by_gates(const tnl_call *call, int x, int wv, int wu,
                                           const gemm_matrix &v, const gemm_matrix &u) {
    const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G], width = call->dim[DIM_HIDDEN];
    const tnl_tensor *tensor = call->tensor;
    const gemm_matrix input = tnl_gemm_matrix(&tensor[x]);
    const tnl_status status =
        tnl_gemm(call, m, g, width, input, tnl_transposed(tnl_gemm_matrix(&tensor[wv])), v);
    return status != TNL_OK ? status
                            : tnl_gemm(call, m, g, width, input,
                                       tnl_transposed(tnl_gemm_matrix(&tensor[wu])), u);
}

#endif
