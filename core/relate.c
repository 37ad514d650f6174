/* What an operator's arguments must satisfy beyond their shapes. */
#include "core/relate.h"

#include "core/context.h"
#include "core/table.h"

#define FAIL(call, ...) tnl_fail((call)->context, TNL_INVALID_ARGUMENT, __VA_ARGS__)

static const char *name_of(const tnl_call *call) {
    return tnl_operators[call->op].name;
}

/* Whether the call has the tensor of that name, if its operator knows one. */
static bool has(const tnl_call *call, const char *name) {
    int i = tnl_find_argument(call->op, name);
    return i >= 0 && call->tensor[i].data;
}

/* s: from cu_seqlens where the batch is packed, otherwise `batch`. */
static tnl_status relate_sequences(tnl_call *call, int64_t batch) {
    int64_t *dim = call->dim;
    if (!has(call, "cu_seqlens")) {
        dim[DIM_S] = batch;
        return TNL_OK;
    }
    if (dim[DIM_S1] < 2)
        return FAIL(call, "%s: cu_seqlens.shape[0] is %lld, expected s + 1, at least 2",
                    name_of(call), (long long)dim[DIM_S1]);
    if (batch != 1)
        return FAIL(call, "%s: q.shape[0] is %lld, expected b = 1 where cu_seqlens is given",
                    name_of(call), (long long)batch);
    dim[DIM_S] = dim[DIM_S1] - 1;
    return TNL_OK;
}

/* dtheta makes sense with theta only. */
static tnl_status relate_dtheta(tnl_call *call) {
    if (has(call, "dtheta") && !has(call, "theta"))
        return FAIL(call, "%s: theta is NULL, expected float32 data where dtheta is given",
                    name_of(call));
    return TNL_OK;
}

tnl_status tnl_relate_activation(tnl_call *call) {
    call->dim[DIM_F] = call->dim[DIM_D] * (has(call, "theta") ? 2 : 1);
    tnl_status status = relate_dtheta(call);
    return status != TNL_OK ? status : relate_sequences(call, call->dim[DIM_B]);
}

tnl_status tnl_relate_attention(tnl_call *call) {
    return relate_sequences(call, call->dim[DIM_B]);
}

/* The residual stream keeps its type. */
tnl_status tnl_relate_residual(tnl_call *call) {
    const tnl_type in = call->tensor[RES_RESIDUAL].type, out = call->tensor[RES_RESIDUAL_OUT].type;
    if (in != out)
        return FAIL(call, "%s: residual_out.type is %s (%d), expected %s as in residual",
                    name_of(call), tnl_type_name(out), (int)out, tnl_type_name(in));
    return TNL_OK;
}

tnl_status tnl_relate_sglu(tnl_call *call) {
    bool v = has(call, "v"), u = has(call, "u");
    if (v != u)
        return FAIL(call, "%s: %s is NULL, expected data where %s is given (both or neither)",
                    name_of(call), v ? "u" : "v", v ? "v" : "u");
    return TNL_OK;
}

tnl_status tnl_relate_projection(tnl_call *call) {
    int64_t *dim = call->dim;
    bool theta = has(call, "theta");
    if (dim[DIM_K] % 4 != 0)
        return FAIL(call, "%s: w.shape[0] is %lld, expected k, a multiple of 4", name_of(call),
                    (long long)dim[DIM_K]);
    if (theta && 4 * dim[DIM_H] * dim[DIM_D] != dim[DIM_K])
        return FAIL(call, "%s: theta.shape is [%lld,%lld], expected [h,d] with 4 h d = k = %lld",
                    name_of(call), (long long)dim[DIM_H], (long long)dim[DIM_D],
                    (long long)dim[DIM_K]);
    dim[DIM_QK] = dim[DIM_K] / 2;
    dim[DIM_C] = dim[DIM_K] + (theta ? dim[DIM_QK] : 0);
    tnl_status status = relate_dtheta(call);
    return status != TNL_OK ? status : relate_sequences(call, 1);
}

tnl_status tnl_relate_decode(tnl_call *call) {
    int64_t *dim = call->dim;
    dim[DIM_F] = dim[DIM_D] * (has(call, "theta") ? 2 : 1);
    if (!has(call, "slots") && dim[DIM_SLOTS] < dim[DIM_B])
        return FAIL(call,
                    "%s: state.shape[0] is %lld, expected at least b = %lld where slots is absent",
                    name_of(call), (long long)dim[DIM_SLOTS], (long long)dim[DIM_B]);
    return TNL_OK;
}
