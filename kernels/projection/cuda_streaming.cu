/*
 * The packed projection (eq. 4) for a few rows, the tokens of a decode step: a kernel that reads W
 * once at the memory's rate, with swish on Q and K as it writes.
 */
#include "kernels/common/cuda_activation.cuh"
#include "kernels/common/cuda_streaming.cuh"

namespace {

/* y = swish of the product in the first `activated` columns, elsewhere the product;
 * preactivation: those columns before swish, where it is not NULL. */
template <typename T> struct projection_output {
    matrix<T> y, preactivation;
    int activated;

    __device__ void write(int row, int feature, const float (&value)[1]) const {
        const bool activates = feature < activated;
        y.row(row)[feature] = from_float<T>(activates ? swish<T>(value[0]) : value[0]);
        if (activates && preactivation.data)
            preactivation.row(row)[feature] = from_float<T>(value[0]);
    }
};

const char *rejects(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    if (tensor[PROJ_THETA].data)
        return "has no LRPE";
    return streaming::rejects<1>(call, &tensor[PROJ_X], {&tensor[PROJ_W]});
}

template <typename T> tnl_status project(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    return streaming::launch<T, 1>(
        call, &tensor[PROJ_X], {&tensor[PROJ_W]},
        projection_output<T>{tnl_matrix_of<T>(&tensor[PROJ_Y]),
                             tnl_matrix_of<T>(&tensor[PROJ_PREACTIVATION]),
                             (int)call->dim[DIM_QK]});
}

tnl_status forward(const tnl_call *call) {
    return call->type == TNL_FLOAT16 ? project<__half>(call) : project<__nv_bfloat16>(call);
}

} // namespace

const tnl_kernel tnl_cuda_qkvu_projection_forward_streaming = {
    .launch = forward, .rejects = rejects, .deterministic = true};
