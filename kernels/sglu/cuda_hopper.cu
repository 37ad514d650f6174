/*
 * SGLU (eq. 5), Y = ((X Wv) * (X Wu)) Wo, on Hopper: the gate's product and then a plain one, which
 * is cuBLAS's where few tiles would leave most of the device idle.
 */
#include "kernels/common/cublas.cuh"
#include "kernels/sglu/cuda_hopper.cuh"

namespace {

const char *rejects_gate(const tnl_call *call) {
    return rejects_tensors(call, SGLU_GATE_U + 1);
}

bool down_wants_k_shared(const tnl_call *call) {
    return wants_k_shared(call, call->dim[DIM_M], call->dim[DIM_HIDDEN], call->dim[DIM_G]);
}

const char *rejects_down(const tnl_call *call) {
    if (call->tensor[SGLU_DOWN_Y].type != call->type)
        return "gives y in p's type";
    return down_wants_k_shared(call) ? "has too few tiles for so large a g"
                                     : rejects_tensors(call, SGLU_DOWN_Y + 1);
}

const char *rejects_forward(const tnl_call *call) {
    return rejects_tensors(call, SGLU_U + 1);
}

tnl_status launch_gate(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    return gate(call, &tensor[SGLU_GATE_X], &tensor[SGLU_GATE_WV], &tensor[SGLU_GATE_WU],
                &tensor[SGLU_GATE_P], &tensor[SGLU_GATE_V], &tensor[SGLU_GATE_U]);
}

tnl_status launch_down(const tnl_call *call) {
    return down(call, &call->tensor[SGLU_DOWN_P], &call->tensor[SGLU_DOWN_WO],
                &call->tensor[SGLU_DOWN_Y]);
}

struct forward_workspace {
    tnl_tensor p;
    void *cublas;
    size_t bytes;

    forward_workspace(const tnl_call *call, void *workspace) {
        tnl_carver carver = {(char *)workspace, 0};
        p = take_gated(call, &carver);
        cublas = down_wants_k_shared(call) ? carver.take<char>(TNL_CUBLAS_BYTES) : NULL;
        bytes = carver.used;
    }
};

size_t workspace(const tnl_call *call) {
    return forward_workspace(call, NULL).bytes;
}

tnl_status down_by_cublas(const tnl_call *call, const forward_workspace &at) {
    const tnl_status status = tnl_cublas_begin(call, at.cublas);
    return status != TNL_OK ? status
                            : tnl_gemm(call, call->dim[DIM_M], call->dim[DIM_HIDDEN],
                                       call->dim[DIM_G], tnl_gemm_matrix(&at.p),
                                       tnl_transposed(tnl_gemm_matrix(&call->tensor[SGLU_WO])),
                                       tnl_gemm_matrix(&call->tensor[SGLU_Y]));
}

tnl_status launch_forward(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const forward_workspace at(call, call->workspace);
    const tnl_status status = gate(call, &tensor[SGLU_X], &tensor[SGLU_WV], &tensor[SGLU_WU], &at.p,
                                   &tensor[SGLU_V], &tensor[SGLU_U]);
    if (status != TNL_OK)
        return status;
    return at.cublas ? down_by_cublas(call, at)
                     : down(call, &at.p, &tensor[SGLU_WO], &tensor[SGLU_Y]);
}

} // namespace

const tnl_kernel tnl_cuda_sglu_gate_hopper = {
    .launch = launch_gate, .rejects = rejects_gate, .deterministic = true};
const tnl_kernel tnl_cuda_sglu_down_hopper = {
    .launch = launch_down, .rejects = rejects_down, .deterministic = true};
const tnl_kernel tnl_cuda_sglu_forward_hopper = {.launch = launch_forward,
                                                 .workspace = workspace,
                                                 .rejects = rejects_forward,
                                                 .deterministic = true};
