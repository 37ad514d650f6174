/*
 * The gradient of a weight, dW = dZ^T X with dZ [m,out] and X [m,in], where dZ is an intermediate
 * that is rounded to the data type.
 *
 * A number of dZ serves a whole row of dW, [out,in], which is a sum over the m rows: with few of
 * them its roundings have nothing to average out over, however wide the row is. There dZ is kept
 * as two numbers of the data type, the rounded one and what rounding takes from it, one matrix
 * below the other, and X is copied twice below itself, so that one product over 2m rows adds up
 * both. What that costs is little where m is small: writing dW takes longer.
 */
#ifndef TNL_KERNELS_COMMON_WEIGHT_GRADIENT_CUH
#define TNL_KERNELS_COMMON_WEIGHT_GRADIENT_CUH

#include "kernels/common/cublas.cuh"

enum { FEW_ROWS = 64 };

/* Whether a call keeps such intermediates as two numbers. */
static inline bool tnl_splits_gradients(const tnl_call *call) {
    return call->type != TNL_FLOAT32 && call->dim[DIM_M] <= FEW_ROWS;
}

/* The rows of dZ and X as they are multiplied. */
static inline int64_t tnl_gradient_rows(const tnl_call *call) {
    return tnl_splits_gradients(call) ? 2 * call->dim[DIM_M] : call->dim[DIM_M];
}

/* What rounding takes from dZ, or a matrix with data NULL. */
static inline gemm_matrix tnl_rest_of(const tnl_call *call, const gemm_matrix &dz) {
    return tnl_splits_gradients(call) ? tnl_rows_from(dz, call->dim[DIM_M]) : gemm_matrix{};
}

/* X as it is multiplied: itself, or place for two copies of it. */
static inline gemm_matrix tnl_take_rows(tnl_carver *carver, const tnl_call *call,
                                        const tnl_tensor *x) {
    return tnl_splits_gradients(call)
               ? tnl_take_matrix(carver, x->type, tnl_gradient_rows(call), x->shape[1])
               : tnl_gemm_matrix(x);
}

/* Make those copies. */
static inline tnl_status tnl_copy_rows(const tnl_call *call, const tnl_tensor *x,
                                       const gemm_matrix &rows) {
    tnl_status status = TNL_OK;
    const size_t size = tnl_type_size(x->type), row = (size_t)x->shape[1] * size;
    for (int64_t first = 0;
         rows.data != x->data && first < tnl_gradient_rows(call) && status == TNL_OK;
         first += x->shape[0])
        status = tnl_cuda_status(
            call, cudaMemcpy2DAsync(tnl_rows_from(rows, first).data, (size_t)rows.stride * size,
                                    x->data, (size_t)x->stride[0] * size, row, (size_t)x->shape[0],
                                    cudaMemcpyDeviceToDevice, tnl_stream(call)));
    return status;
}

/* dW = dZ^T X, with X as tnl_copy_rows() left it. */
static inline tnl_status tnl_weight_gradient(const tnl_call *call, const gemm_matrix &dz,
                                             const gemm_matrix &x, const tnl_tensor *dw) {
    return tnl_gemm(call, dw->shape[0], dw->shape[1], tnl_gradient_rows(call), tnl_transposed(dz),
                    x, tnl_gemm_matrix(dw));
}

#endif
