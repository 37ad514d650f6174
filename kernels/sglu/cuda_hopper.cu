/*
 * SGLU (eq. 5), Y = ((X Wv) * (X Wu)) Wo, on Hopper: the gate's product and then a plain one.
 */
#include "kernels/sglu/cuda_hopper.cuh"

namespace {

const char *rejects_gate(const tnl_call *call) {
    return rejects_tensors(call, SGLU_GATE_U + 1);
}

const char *rejects_down(const tnl_call *call) {
    return rejects_tensors(call, SGLU_DOWN_Y + 1);
}

const char *rejects_forward(const tnl_call *call) {
    return rejects_tensors(call, SGLU_U + 1);
}

tnl_status launch_gate(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    return (tensor[SGLU_GATE_V].data ? gate<true>
                                     : gate<false>)(call, &tensor[SGLU_GATE_X],
                                                    &tensor[SGLU_GATE_WV], &tensor[SGLU_GATE_WU],
                                                    &tensor[SGLU_GATE_P], &tensor[SGLU_GATE_V],
                                                    &tensor[SGLU_GATE_U]);
}

tnl_status launch_down(const tnl_call *call) {
    return down(call, &call->tensor[SGLU_DOWN_P], &call->tensor[SGLU_DOWN_WO],
                &call->tensor[SGLU_DOWN_Y]);
}

size_t forward_workspace(const tnl_call *call) {
    tnl_carver carver = {NULL, 0};
    carver.take<uint16_t>(call->dim[DIM_M] * call->dim[DIM_G]);
    return carver.used;
}

tnl_status launch_forward(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G];
    const tnl_tensor p = {call->workspace, call->type, 2, {m, g}, {g, 1}};
    const tnl_status status =
        (tensor[SGLU_V].data ? gate<true> : gate<false>)(call, &tensor[SGLU_X], &tensor[SGLU_WV],
                                                         &tensor[SGLU_WU], &p, &tensor[SGLU_V],
                                                         &tensor[SGLU_U]);
    return status == TNL_OK ? down(call, &p, &tensor[SGLU_WO], &tensor[SGLU_Y]) : status;
}

} // namespace

const tnl_kernel tnl_cuda_sglu_gate_hopper = {
    .launch = launch_gate, .rejects = rejects_gate, .deterministic = true};
const tnl_kernel tnl_cuda_sglu_down_hopper = {
    .launch = launch_down, .rejects = rejects_down, .deterministic = true};
const tnl_kernel tnl_cuda_sglu_forward_hopper = {.launch = launch_forward,
                                                 .workspace = forward_workspace,
                                                 .rejects = rejects_forward,
                                                 .deterministic = true};
