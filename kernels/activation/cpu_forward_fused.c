/*
 * Swish on Q and K (eq. 4) and, where theta is given, LRPE (eq. 1): x -> [x cos | x sin] of the
 * angle theta t, in one pass. An angle's cosine and sine are made once for Q and K, and for all
 * batch entries at the same position.
 */
#include "core/kernels.h"
#include "kernels/activation/cpu_tokens.h"

/* y may be x. */
static void swish_row(const float *x, float *y, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = tnl_swish(x[i]);
}

static void swish_lrpe_row(const float *x, const tnl_angles *angles, float *y_cosine, float *y_sine,
                           int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const float swish = tnl_swish(x[i]);
        y_cosine[i] = swish * angles->cosine[i];
        y_sine[i] = swish * angles->sine[i];
    }
}

static void swish_token(const tnl_call *call, int64_t head, int64_t token) {
    const tnl_tensor *tensor = call->tensor;
    for (int64_t batch = 0; batch < call->dim[DIM_B]; batch++)
        for (int i = 0; i < 2; i++)
            swish_row(tnl_token_row(&tensor[ACT_Q + i], batch, head, token),
                      tnl_token_row(&tensor[ACT_Q_OUT + i], batch, head, token), call->dim[DIM_D]);
}

static void swish_lrpe_channels(const tnl_call *call, const tnl_token_channels *at, void *data) {
    const tnl_tensor *tensor = call->tensor;
    (void)data;
    for (int i = 0; i < 2; i++) {
        const float *x = tnl_token_row(&tensor[ACT_Q + i], at->batch, at->head, at->token);
        float *y = tnl_token_row(&tensor[ACT_Q_OUT + i], at->batch, at->head, at->token);
        swish_lrpe_row(x + at->first, at->angles, y + at->first, y + at->first + call->dim[DIM_D],
                       at->count);
    }
}

static void swish_task(const tnl_call *call, tnl_token_task *task) {
    for (int64_t token = task->begin; token < task->end; token++) {
        if (call->tensor[ACT_THETA].data)
            tnl_for_channels(call, ACT_THETA, task, token, swish_lrpe_channels, NULL);
        else
            swish_token(call, task->head, token);
    }
}

static tnl_status launch(const tnl_call *call) {
    tnl_for_token_tasks(call, ACT_POSITIONS, ACT_CU_SEQLENS, swish_task);
    return TNL_OK;
}

const tnl_kernel tnl_cpu_qkvu_activation_forward_fused = {.launch = launch, .deterministic = true};
