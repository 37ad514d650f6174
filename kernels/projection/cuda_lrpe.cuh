/*
 * LRPE (eq. 1) in the epilogue of the packed projection: where the features of Q and K go in a row
 * of y, and their angles.
 */
#ifndef TNL_PROJECTION_CUDA_LRPE_CUH
#define TNL_PROJECTION_CUDA_LRPE_CUH

#include "kernels/common/cuda_activation.cuh"
#include "kernels/common/cuda_launch.cuh"

/* The columns of y. Of the product's, the first `activated` are Q's and K's, in heads of d; with
 * LRPE a head of y has 2d, first the cosine parts and then the sine parts. */
struct lrpe_columns {
    int activated, d;

    /* Of the cosine part of Q's and K's feature c; the sine part is d further. */
    __device__ __forceinline__ int cosine(int c) const {
        return c + c / d * d;
    }
    /* Of V's and U's feature c. */
    __device__ __forceinline__ int plain(int c) const {
        return c + activated;
    }
    /* Which of the angles feature c has, of activated / 2. */
    __device__ __forceinline__ int angle(int c) const {
        return c < activated / 2 ? c : c - activated / 2;
    }
};

static inline lrpe_columns lrpe_columns_of(const tnl_call *call) {
    return {(int)call->dim[DIM_QK], (int)call->dim[DIM_D]};
}

/* theta [h,d] and where positions come from. */
struct lrpe_source {
    matrix<const float> theta;
    positions at;
    int d;

    __device__ __forceinline__ float theta_of(int angle) const {
        return theta.row(angle / d)[angle % d];
    }
};

static inline lrpe_source lrpe_source_of(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    return {tnl_matrix_of<const float>(&tensor[PROJ_THETA]),
            {(const int64_t *)tensor[PROJ_POSITIONS].data,
             (const int32_t *)tensor[PROJ_CU_SEQLENS].data, (int)call->dim[DIM_S]},
            (int)call->dim[DIM_D]};
}

#endif
