/*
 * The packed projection (eq. 4) for a few rows, the tokens of a decode step: a kernel that reads W
 * once at the memory's rate, with swish on Q and K, and LRPE (eq. 1) where theta is given, as it
 * writes.
 */
#include "kernels/common/cuda_streaming.cuh"
#include "kernels/projection/cuda_lrpe.cuh"

namespace {

/* y = swish of the product in the first `activated` columns, elsewhere the product;
 * preactivation: those columns before swish, where it is not NULL. */
template <typename T> struct swish_output {
    matrix<T> y, preactivation;
    int activated;

    __device__ void write(int row, int feature, const float (&value)[1]) const {
        const bool activates = feature < activated;
        y.row(row)[feature] = from_float<T>(activates ? swish<T>(value[0]) : value[0]);
        if (activates && preactivation.data)
            preactivation.row(row)[feature] = from_float<T>(value[0]);
    }
};

/* The same with LRPE. */
template <typename T> struct lrpe_output {
    matrix<T> y, preactivation;
    lrpe_columns columns;
    lrpe_source source;

    __device__ void write(int row, int feature, const float (&value)[1]) const {
        T *const to = y.row(row);
        if (feature >= columns.activated) {
            to[columns.plain(feature)] = from_float<T>(value[0]);
            return;
        }
        const float theta = source.theta_of(columns.angle(feature));
        const rotation by = turn(turns_of(theta), source.at.of(0, row));
        const float x = swish<T>(value[0]);
        to[columns.cosine(feature)] = from_float<T>(x * by.cosine);
        to[columns.cosine(feature) + columns.d] = from_float<T>(x * by.sine);
        if (preactivation.data)
            preactivation.row(row)[feature] = from_float<T>(value[0]);
    }
};

const char *rejects(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    return streaming::rejects<1>(call, &tensor[PROJ_X], {&tensor[PROJ_W]});
}

template <typename T> tnl_status project(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor, *x = &tensor[PROJ_X], *w = &tensor[PROJ_W];
    const matrix<T> y = tnl_matrix_of<T>(&tensor[PROJ_Y]);
    const matrix<T> preactivation = tnl_matrix_of<T>(&tensor[PROJ_PREACTIVATION]);
    if (tensor[PROJ_THETA].data)
        return streaming::launch<T, 1>(
            call, x, {w},
            lrpe_output<T>{y, preactivation, lrpe_columns_of(call), lrpe_source_of(call)});
    return streaming::launch<T, 1>(call, x, {w},
                                   swish_output<T>{y, preactivation, (int)call->dim[DIM_QK]});
}

tnl_status forward(const tnl_call *call) {
    return call->type == TNL_FLOAT16 ? project<__half>(call) : project<__nv_bfloat16>(call);
}

} // namespace

const tnl_kernel tnl_cuda_qkvu_projection_forward_streaming = {
    .launch = forward, .rejects = rejects, .deterministic = true};
