/* What slopes and index tensors must hold. Read on CPU contexts only, where they are at hand. */
#include <math.h>

#include "core/check.h"
#include "core/context.h"
#include "core/table.h"

#define FAIL(call, ...) tnl_fail((call)->context, TNL_INVALID_ARGUMENT, __VA_ARGS__)

static tnl_status check_slopes(const tnl_call *call, const char *name, const tnl_tensor *t) {
    const float *slope = t->data;
    for (int64_t i = 0; i < t->shape[0]; i++)
        if (!(slope[i] >= 0) || isinf(slope[i]))
            return FAIL(call, "%s: %s[%lld] is %g, expected a finite slope, at least 0",
                        tnl_operators[call->op].name, name, (long long)i, slope[i]);
    return TNL_OK;
}

static tnl_status check_positions(const tnl_call *call, const char *name, const tnl_tensor *t) {
    const int64_t *position = t->data;
    for (int64_t i = 0; i < t->shape[0]; i++)
        if (position[i] < 0 || position[i] > TNL_MAX_POSITION)
            return FAIL(call, "%s: %s[%lld] is %lld, expected 0 to 2^52",
                        tnl_operators[call->op].name, name, (long long)i, (long long)position[i]);
    return TNL_OK;
}

static tnl_status check_cu_seqlens(const tnl_call *call, const char *name, const tnl_tensor *t) {
    const char *op = tnl_operators[call->op].name;
    const int32_t *offset = t->data;
    int64_t tokens = call->dim[DIM_N] ? call->dim[DIM_N] : call->dim[DIM_M];
    int64_t last = t->shape[0] - 1;
    if (offset[0] != 0)
        return FAIL(call, "%s: %s[0] is %d, expected 0", op, name, offset[0]);
    for (int64_t i = 1; i <= last; i++)
        if (offset[i] < offset[i - 1])
            return FAIL(call, "%s: %s[%lld] is %d, expected at least %d, the one before", op, name,
                        (long long)i, offset[i], offset[i - 1]);
    if (offset[last] != tokens)
        return FAIL(call, "%s: %s[%lld] is %d, expected %lld, the number of tokens", op, name,
                    (long long)last, offset[last], (long long)tokens);
    return TNL_OK;
}

static tnl_status check_slots(const tnl_call *call, const char *name, const tnl_tensor *t) {
    const char *op = tnl_operators[call->op].name;
    const int32_t *slot = t->data;
    for (int64_t i = 0; i < t->shape[0]; i++) {
        if (slot[i] < -1 || slot[i] >= call->dim[DIM_SLOTS])
            return FAIL(call, "%s: %s[%lld] is %d, expected -1 to %lld", op, name, (long long)i,
                        slot[i], (long long)call->dim[DIM_SLOTS] - 1);
        for (int64_t j = 0; slot[i] != -1 && j < i; j++)
            if (slot[j] == slot[i])
                return FAIL(call, "%s: %s[%lld] is %d, as is %s[%lld], expected no slot twice", op,
                            name, (long long)i, slot[i], name, (long long)j);
    }
    return TNL_OK;
}

tnl_status tnl_check_contents(const tnl_call *call) {
    static tnl_status (*const check[])(const tnl_call *, const char *, const tnl_tensor *) = {
        [CONTENT_SLOPES] = check_slopes,
        [CONTENT_POSITIONS] = check_positions,
        [CONTENT_CU_SEQLENS] = check_cu_seqlens,
        [CONTENT_SLOTS] = check_slots,
    };
    const tnl_operator_row *row = &tnl_operators[call->op];
    tnl_status status = TNL_OK;
    for (int i = 0; i < row->argument_count && status == TNL_OK; i++)
        if (row->argument[i].content != CONTENT_ANY && call->tensor[i].data)
            status = check[row->argument[i].content](call, row->argument[i].name, &call->tensor[i]);
    return status;
}
