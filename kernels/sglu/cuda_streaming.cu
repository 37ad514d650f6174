/*
 * SGLU (eq. 5), Y = ((X Wv) * (X Wu)) Wo, for a few rows, the tokens of a decode step: kernels that
 * read the weights once at the memory's rate.
 */
#include "kernels/common/cuda_streaming.cuh"

namespace {

/* p = v u; v and u themselves too where they are not NULL. */
template <typename T> struct gate_output {
    matrix<T> p, v, u;

    __device__ void write(int row, int feature, const float (&value)[2]) const {
        p.row(row)[feature] = from_float<T>(value[0] * value[1]);
        if (v.data) {
            v.row(row)[feature] = from_float<T>(value[0]);
            u.row(row)[feature] = from_float<T>(value[1]);
        }
    }
};

/* y in x's type, or in float32. */
template <typename Y> struct down_output {
    matrix<Y> y;

    __device__ void write(int row, int feature, const float (&value)[1]) const {
        y.row(row)[feature] = from_float<Y>(value[0]);
    }
};

const char *rejects_gate(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    return streaming::rejects<2>(call, &tensor[SGLU_GATE_X],
                                 {&tensor[SGLU_GATE_WV], &tensor[SGLU_GATE_WU]});
}

const char *rejects_down(const tnl_call *call) {
    return streaming::rejects<1>(call, &call->tensor[SGLU_DOWN_P], {&call->tensor[SGLU_DOWN_WO]});
}

/* p in a workspace. */
tnl_tensor make_p(const tnl_call *call, void *workspace) {
    const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G];
    return {workspace, call->type, 2, {m, g}, {g, 1}};
}

const char *rejects_forward(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const tnl_tensor p = make_p(call, NULL);
    const char *why =
        streaming::rejects<2>(call, &tensor[SGLU_X], {&tensor[SGLU_WV], &tensor[SGLU_WU]});
    return why ? why : streaming::rejects<1>(call, &p, {&tensor[SGLU_WO]});
}

template <typename F> tnl_status with_half_type(const tnl_call *call, F f) {
    return call->type == TNL_FLOAT16 ? f(__half()) : f(__nv_bfloat16());
}

tnl_status gate(const tnl_call *call, const tnl_tensor *x, const tnl_tensor *wv,
                const tnl_tensor *wu, const tnl_tensor *p, const tnl_tensor *v,
                const tnl_tensor *u) {
    return with_half_type(call, [&](auto type) {
        using T = decltype(type);
        return streaming::launch<T, 2>(
            call, x, {wv, wu},
            gate_output<T>{tnl_matrix_of<T>(p), tnl_matrix_of<T>(v), tnl_matrix_of<T>(u)});
    });
}

tnl_status down(const tnl_call *call, const tnl_tensor *p, const tnl_tensor *wo,
                const tnl_tensor *y) {
    return with_half_type(call, [&](auto type) {
        using T = decltype(type);
        return y->type == TNL_FLOAT32
                   ? streaming::launch<T, 1>(call, p, {wo},
                                             down_output<float>{tnl_matrix_of<float>(y)})
                   : streaming::launch<T, 1>(call, p, {wo}, down_output<T>{tnl_matrix_of<T>(y)});
    });
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

size_t forward_workspace(const tnl_call *call) {
    tnl_carver carver = {NULL, 0};
    carver.take<uint16_t>(call->dim[DIM_M] * call->dim[DIM_G]);
    return carver.used;
}

tnl_status launch_forward(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const tnl_tensor p = make_p(call, call->workspace);
    const tnl_status status = gate(call, &tensor[SGLU_X], &tensor[SGLU_WV], &tensor[SGLU_WU], &p,
                                   &tensor[SGLU_V], &tensor[SGLU_U]);
    return status == TNL_OK ? down(call, &p, &tensor[SGLU_WO], &tensor[SGLU_Y]) : status;
}

} // namespace

const tnl_kernel tnl_cuda_sglu_gate_streaming = {
    .launch = launch_gate, .rejects = rejects_gate, .deterministic = true};
const tnl_kernel tnl_cuda_sglu_down_streaming = {
    .launch = launch_down, .rejects = rejects_down, .deterministic = true};
const tnl_kernel tnl_cuda_sglu_forward_streaming = {.launch = launch_forward,
                                                    .workspace = forward_workspace,
                                                    .rejects = rejects_forward,
                                                    .deterministic = true};
