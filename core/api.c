/*
 * The typed functions of tnl.h. An args struct is an array of tensors whose elements have names,
 * followed by eps in some, so each function is one line.
 */
#include "core/api.h"

#include <string.h>

#include "core/dispatch.h"

#define OPERATOR(name, NAME)                                                                       \
    tnl_status tnl_##name(tnl_context *context, const tnl_##name##_args *args,                     \
                          const tnl_options *options) {                                            \
        return tnl_run(context, TNL_##NAME, args, options);                                        \
    }                                                                                              \
    tnl_status tnl_##name##_workspace(tnl_context *context, const tnl_##name##_args *args,         \
                                      const tnl_options *options, size_t *bytes) {                 \
        return tnl_workspace(context, TNL_##NAME, args, options, bytes);                           \
    }                                                                                              \
    static tnl_status run_##name(tnl_context *context, const void *args,                           \
                                 const tnl_options *options) {                                     \
        return tnl_##name(context, args, options);                                                 \
    }                                                                                              \
    static tnl_status workspace_##name(tnl_context *context, const void *args,                     \
                                       const tnl_options *options, size_t *bytes) {                \
        return tnl_##name##_workspace(context, args, options, bytes);                              \
    }
#include "core/operators.h"
#undef OPERATOR

const tnl_typed tnl_typed_functions[TNL_OPERATOR_COUNT] = {
#define OPERATOR(name, NAME) [TNL_##NAME] = {run_##name, workspace_##name},
#include "core/operators.h"
#undef OPERATOR
};

/* The structs agree with the enums of core/call.h: the last tensor is where its index says. */
#define LAST(name, member, index)                                                                  \
    _Static_assert(offsetof(tnl_##name##_args, member) == sizeof(tnl_tensor) * (index),            \
                   "the tensors of " #name)
LAST(srmsnorm_forward, y, NORM_Y);
LAST(srmsnorm_backward, dx, NORM_BWD_DX);
LAST(srmsnorm_residual_forward, y, RES_Y);
LAST(srmsnorm_residual_backward, dx, RES_BWD_DX);
LAST(srmsnorm_gate_forward, y, GATE_Y);
LAST(srmsnorm_gate_backward, du, GATE_BWD_DU);
LAST(qkvu_activation_forward, k_out, ACT_K_OUT);
LAST(qkvu_activation_backward, dtheta, ACT_BWD_DTHETA);
LAST(attention_forward, final_state, ATT_FINAL_STATE);
LAST(attention_backward, dinitial_state, ATT_BWD_DINITIAL_STATE);
LAST(attention_forward_backward, dv, ATT_FB_DV);
LAST(sglu_gate, u, SGLU_GATE_U);
LAST(sglu_down, y, SGLU_DOWN_Y);
LAST(sglu_forward, u, SGLU_U);
LAST(sglu_backward, dwo, SGLU_BWD_DWO);
LAST(qkvu_projection_forward, preactivation, PROJ_PREACTIVATION);
LAST(qkvu_projection_backward, dtheta, PROJ_BWD_DTHETA);
LAST(decode, o, DECODE_O);

tnl_any_args tnl_make_args(tnl_operator op, const tnl_tensor *tensor, double eps) {
    tnl_any_args args = {0};
    size_t count = (size_t)tnl_operators[op].argument_count;
    memcpy(args.tensor, tensor, sizeof *tensor * count);
    memcpy(args.tensor + count, &eps, sizeof eps);
    return args;
}
