/*
 * Matrix products by cuBLAS, for row-major matrices as the suite's tensors are.
 *
 * cuBLAS is column-major: it sees every matrix here transposed, and computes C^T = B^T A^T.
 */
#ifndef TNL_KERNELS_COMMON_CUBLAS_CUH
#define TNL_KERNELS_COMMON_CUBLAS_CUH

#include <cublas_v2.h>

#include "kernels/common/cuda.cuh"

/* What cuBLAS is given for itself, from the caller's workspace, so that it allocates nothing: the
 * size it would take of its own on Hopper. */
#define TNL_CUBLAS_BYTES ((size_t)32 << 20)

static inline tnl_status tnl_cublas_status(const tnl_call *call, cublasStatus_t status) {
    if (status == CUBLAS_STATUS_SUCCESS)
        return TNL_OK;
    return tnl_fail(call->context, TNL_DEVICE_ERROR, "%s: cuBLAS reports: %s, expected success",
                    tnl_operators[call->op].name, cublasGetStatusString(status));
}

static inline cublasHandle_t tnl_cublas(const tnl_call *call) {
    return (cublasHandle_t)call->context->cublas;
}

/* Before a call's first product: the call's stream, TNL_CUBLAS_BYTES of its workspace (in this
 * order, since a new stream resets the workspace), no TF32, and no sums in less than float32. */
static inline tnl_status tnl_cublas_begin(const tnl_call *call, void *workspace) {
    const cublasHandle_t handle = tnl_cublas(call);
    cublasStatus_t status = cublasSetStream(handle, tnl_stream(call));
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasSetWorkspace(handle, workspace, TNL_CUBLAS_BYTES);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasSetMathMode(
            handle,
            (cublasMath_t)(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
    return tnl_cublas_status(call, status);
}

static inline cudaDataType_t tnl_cuda_type(tnl_type type) {
    return type == TNL_FLOAT16 ? CUDA_R_16F : type == TNL_BFLOAT16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* A row-major matrix; transposed: the one meant is the transpose of the one stored. */
struct gemm_matrix {
    void *data;
    tnl_type type;
    int64_t stride;
    bool transposed;
};

static inline gemm_matrix tnl_gemm_matrix(const tnl_tensor *t) {
    return {t->data, t->type, t->stride[0], false};
}

static inline gemm_matrix tnl_transposed(gemm_matrix a) {
    a.transposed = !a.transposed;
    return a;
}

/* Rows [first, ..) of what is stored, or its columns. */
static inline gemm_matrix tnl_rows_from(gemm_matrix a, int64_t first) {
    a.data = (char *)a.data + (size_t)(first * a.stride) * tnl_type_size(a.type);
    return a;
}

static inline gemm_matrix tnl_columns_from(gemm_matrix a, int64_t first) {
    a.data = (char *)a.data + (size_t)first * tnl_type_size(a.type);
    return a;
}

/* A matrix [rows, columns] in a workspace. */
static inline gemm_matrix tnl_take_matrix(tnl_carver *carver, tnl_type type, int64_t rows,
                                          int64_t columns) {
    return {carver->take<char>(rows * columns * (int64_t)tnl_type_size(type)), type, columns,
            false};
}

/* As an elementwise kernel takes it. */
template <typename T> static matrix<T> tnl_matrix_of(const gemm_matrix &a) {
    return {(T *)a.data, a.stride};
}

/* Whether 16-byte accesses work on each of its rows of so many columns. */
static inline bool tnl_allows_16_bytes(const gemm_matrix &a, int64_t columns) {
    const int64_t size = (int64_t)tnl_type_size(a.type);
    return (uintptr_t)a.data % 16 == 0 && a.stride * size % 16 == 0 && columns * size % 16 == 0;
}

/* C = A B, or C += A B: A [rows, inner], B [inner, columns]; sums in float32. */
static inline tnl_status tnl_gemm(const tnl_call *call, int64_t rows, int64_t columns,
                                  int64_t inner, const gemm_matrix &a, const gemm_matrix &b,
                                  const gemm_matrix &c, bool add = false) {
    const float one = 1, keep = add ? 1 : 0;
    const cublasStatus_t status = cublasGemmEx_64(
        tnl_cublas(call), b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
        a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, columns, rows, inner, &one, b.data,
        tnl_cuda_type(b.type), b.stride, a.data, tnl_cuda_type(a.type), a.stride, &keep, c.data,
        tnl_cuda_type(c.type), c.stride, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    return tnl_cublas_status(call, status);
}

#endif
