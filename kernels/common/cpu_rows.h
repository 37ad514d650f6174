/*
 * Matrices of float32 rows, and the two products that the operators are made of: the BLAS's and
 * the elementwise one.
 */
#ifndef TNL_COMMON_CPU_ROWS_H
#define TNL_COMMON_CPU_ROWS_H

#include <cblas.h>
#include <stdbool.h>

#include "core/table.h"

/* Rows in the caller's memory or the workspace, `stride` elements apart. */
typedef struct tnl_rows {
    float *data;
    int64_t stride;
} tnl_rows;

static inline tnl_rows tnl_rows_of(const tnl_tensor *tensor) {
    return (tnl_rows){(float *)tensor->data, tensor->stride[0]};
}

/* The same rows from a column on. */
static inline tnl_rows tnl_skip_columns(tnl_rows a, int64_t column) {
    return (tnl_rows){a.data + column, a.stride};
}

/* The rows from one of them on. */
static inline tnl_rows tnl_skip_rows(tnl_rows a, int64_t row) {
    return (tnl_rows){a.data + row * a.stride, a.stride};
}

/* A rejects function: BLAS counts in int, and the workspace's matrices, which may be larger than
 * any tensor, must have a size. */
static inline const char *tnl_blas_rejects(const tnl_call *call) {
    const int64_t *dim = call->dim;
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        const tnl_tensor *tensor = &call->tensor[i];
        if (tensor->data && tensor->rank == 2 && tensor->stride[0] > INT32_MAX)
            return "it takes row strides up to 2^31 - 1";
    }
    if ((double)dim[DIM_M] * (double)(dim[DIM_G] + dim[DIM_QK]) > 0x1p58)
        return "its workspace would not fit the address space";
    return NULL;
}

typedef enum tnl_orientation {
    TNL_NT, /* C[m,n] = A[m,k] B[n,k]^T */
    TNL_NN, /* C[m,n] = A[m,k] B[k,n] */
    TNL_TN  /* C[m,n] = A[k,m]^T B[k,n] */
} tnl_orientation;

/* C = A B, or with `add` C += A B, in the orientation given. A GEMM copies B into a form of its own
 * first, which pays off over many rows of A: a single one is faster as a matrix times a vector. */
static inline void tnl_gemm(tnl_orientation orientation, int64_t m, int64_t n, int64_t k,
                            tnl_rows a, tnl_rows b, bool add, tnl_rows c) {
    if (orientation == TNL_NT && m == 1) {
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)n, (int)k, 1, b.data, (int)b.stride, a.data,
                    1, add ? 1.0f : 0.0f, c.data, 1);
        return;
    }
    cblas_sgemm(CblasRowMajor, orientation == TNL_TN ? CblasTrans : CblasNoTrans,
                orientation == TNL_NT ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1,
                a.data, (int)a.stride, b.data, (int)b.stride, add ? 1.0f : 0.0f, c.data,
                (int)c.stride);
}

/* out = a * b, elementwise; out may be a or b. */
static inline void tnl_multiply(int64_t rows, int64_t width, tnl_rows a, tnl_rows b, tnl_rows out) {
#pragma omp parallel for
    for (int64_t row = 0; row < rows; row++) {
        const float *x = a.data + row * a.stride, *y = b.data + row * b.stride;
        float *z = out.data + row * out.stride;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            z[i] = x[i] * y[i];
    }
}

#endif
