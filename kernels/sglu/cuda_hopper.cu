/*
 * SGLU (eq. 5), Y = ((X Wv) * (X Wu)) Wo, on Hopper. The gate, P = (X Wv) * (X Wu), is one matrix
 * product: a tile's left half is of Wv, its right half of Wu, and so a thread holds v and u of the
 * same elements of P, in float32, and only P goes to memory. Then Y = P Wo, a plain product.
 */
#include "kernels/common/hopper_gemm.cuh"

namespace {

using namespace hopper_gemm;

/* p = v u; v and u themselves too where they are asked for. */
template <bool KEEPS> struct gate_output {
    CUtensorMap p, v, u;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void write(const float (&c)[32][4], writer<T> &to, int row,
                                          int column) const {
#pragma unroll
        for (int panel = 0; panel < HALF / PANEL_COLUMNS; panel++) {
            const int first = column * HALF + panel * PANEL_COLUMNS;
            to.write(&p, row, first, [&](int j, float(&value)[4]) {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    value[i] = c[panel * 8 + j][i] * c[16 + panel * 8 + j][i];
            });
            if constexpr (KEEPS) {
                to.write(&v, row, first, c, panel * 8);
                to.write(&u, row, first, c, 16 + panel * 8);
            }
        }
    }
#endif
};

/* y is the product itself. */
struct down_output {
    CUtensorMap y;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void write(const float (&c)[32][4], writer<T> &to, int row,
                                          int column) const {
#pragma unroll
        for (int panel = 0; panel < 2 * HALF / PANEL_COLUMNS; panel++)
            to.write(&y, row, 2 * column * HALF + panel * PANEL_COLUMNS, c, panel * 8);
    }
#endif
};

/* Of the call's first `count` tensors. */
const char *rejects_tensors(const tnl_call *call, int count) {
    for (int i = 0; i < count; i++)
        if (call->tensor[i].data && !tnl_allows_tensor_map(&call->tensor[i]))
            return "wants rows, strides and pointers of 16 bytes";
    return rejects_device(call);
}

const char *rejects_gate(const tnl_call *call) {
    return rejects_tensors(call, SGLU_GATE_U + 1);
}

const char *rejects_down(const tnl_call *call) {
    return rejects_tensors(call, SGLU_DOWN_Y + 1);
}

const char *rejects_forward(const tnl_call *call) {
    if (call->dim[DIM_G] % 8)
        return "wants g a multiple of 8";
    return rejects_tensors(call, SGLU_U + 1);
}

template <typename Output> tnl_status launch_type(const tnl_call *call, const Output &at) {
    return call->type == TNL_FLOAT16 ? launch<__half>(call, at) : launch<__nv_bfloat16>(call, at);
}

/* v and u: NULL where they are not kept. */
template <bool KEEPS>
tnl_status gate(const tnl_call *call, const tnl_tensor *x, const tnl_tensor *wv,
                const tnl_tensor *wu, const tnl_tensor *p, const tnl_tensor *v,
                const tnl_tensor *u) {
    arguments<gate_output<KEEPS>> at;
    tnl_status status = set_operands(call, x, {wv, wu}, &at);
    if (status == TNL_OK)
        status = make_map(call, p, WARP_ROWS, &at.output.p);
    if (KEEPS && status == TNL_OK)
        status = make_map(call, v, WARP_ROWS, &at.output.v);
    if (KEEPS && status == TNL_OK)
        status = make_map(call, u, WARP_ROWS, &at.output.u);
    return status == TNL_OK ? launch_type(call, at) : status;
}

tnl_status down(const tnl_call *call, const tnl_tensor *p, const tnl_tensor *wo,
                const tnl_tensor *y) {
    arguments<down_output> at;
    tnl_status status = set_operands(call, p, {wo, NULL}, &at);
    if (status == TNL_OK)
        status = make_map(call, y, WARP_ROWS, &at.output.y);
    return status == TNL_OK ? launch_type(call, at) : status;
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
