/*
 * The packed projection (eq. 4) on Hopper: X W^T, with swish on the columns of Q and K while a tile
 * is in registers, so that the activation has no pass over memory of its own. Q and K are rounded
 * to the data type before swish, as they are where `preactivation` holds them.
 */
#include "kernels/common/cuda_activation.cuh"
#include "kernels/common/hopper_gemm.cuh"

namespace {

using namespace hopper_gemm;

/* y = swish of the product in the first `activated` columns, elsewhere the product. */
template <bool KEEPS> struct projection_output {
    static constexpr int PANELS = 2 * HALF / PANEL_COLUMNS;
    CUtensorMap y, preactivation; /* the latter has no columns but those */
    int activated;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void take(const float (&c)[32][4], panel_pairs *kept, writer &, int,
                                         int) const {
#pragma unroll
        for (int panel = 0; panel < PANELS; panel++)
            pack_panel<T>(kept[panel], c, panel * 8);
    }
    template <typename T>
    __device__ __forceinline__ void write(int panel, const panel_pairs &kept, writer &to, int row,
                                          int column) const {
        const int first = 2 * column * HALF + panel * PANEL_COLUMNS;
        if (first >= activated) {
            to.write(&y, row, first, kept);
            return;
        }
        if constexpr (KEEPS)
            to.write(&preactivation, row, first, kept);
        panel_pairs made;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const bool activates = first + 8 * j + (int)threadIdx.x % 4 * 2 < activated;
#pragma unroll
            for (int low = 0; low < 2; low++) {
                const float2 z = unpack_pair<T>(kept[j][low]);
                made[j][low] =
                    activates ? pack_pair<T>(swish<T>(z.x), swish<T>(z.y)) : kept[j][low];
            }
        }
        to.write(&y, row, first, made);
    }
#endif
};

const char *rejects(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    if (tensor[PROJ_THETA].data)
        return "has no LRPE";
    if (wants_k_shared(call, call->dim[DIM_M], call->dim[DIM_K], call->dim[DIM_HIDDEN]))
        return "has too few tiles for so large a D";
    for (const int i : {PROJ_X, PROJ_W, PROJ_Y, PROJ_PREACTIVATION})
        if (tensor[i].data && !tnl_allows_tensor_map(&tensor[i]))
            return "wants rows, strides and pointers of 16 bytes";
    return rejects_device(call);
}

template <bool KEEPS> tnl_status project(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    arguments<projection_output<KEEPS>> at;
    at.output.activated = (int)call->dim[DIM_QK];
    tnl_status status = set_operands(call, &tensor[PROJ_X], {&tensor[PROJ_W], NULL}, &at);
    if (status == TNL_OK)
        status = make_map(call, &tensor[PROJ_Y], WARP_ROWS, &at.output.y);
    if (KEEPS && status == TNL_OK)
        status = make_map(call, &tensor[PROJ_PREACTIVATION], WARP_ROWS, &at.output.preactivation);
    return status == TNL_OK ? launch(call, at) : status;
}

tnl_status forward(const tnl_call *call) {
    return call->tensor[PROJ_PREACTIVATION].data ? project<true>(call) : project<false>(call);
}

} // namespace

const tnl_kernel tnl_cuda_qkvu_projection_forward_hopper = {
    .launch = forward, .rejects = rejects, .deterministic = true};
