/*
 * Swish on Q and K (eq. 4) and, where theta is given, LRPE (eq. 1): x -> [x cos | x sin] of the
 * angle theta t, in one pass. An angle's cosine and sine are made once for Q and K, and for all
 * batch entries at the same position.
 */
#include "core/kernels.h"
#include "kernels/activation/cpu_tokens.h"
#include "kernels/common/cpu_lrpe.h"

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

static void swish_lrpe_token(const tnl_call *call, int64_t head, int64_t token,
                             tnl_positions *positions) {
    const tnl_tensor *tensor = call->tensor;
    const int64_t d = call->dim[DIM_D];
    const float *theta = (const float *)tensor[ACT_THETA].data + head * tensor[ACT_THETA].stride[0];
    tnl_angles angles;

    for (int64_t c = 0; c < d; c += TNL_LRPE_BLOCK) {
        const int64_t count = d - c < TNL_LRPE_BLOCK ? d - c : TNL_LRPE_BLOCK;
        int64_t made = -1; /* the position that `angles` holds */
        for (int64_t batch = 0; batch < call->dim[DIM_B]; batch++) {
            const int64_t t = tnl_position_of(positions, batch, token);
            if (t != made)
                tnl_make_angles(theta + c, t, count, &angles);
            made = t;
            for (int i = 0; i < 2; i++) {
                const float *x = tnl_token_row(&tensor[ACT_Q + i], batch, head, token) + c;
                float *y = tnl_token_row(&tensor[ACT_Q_OUT + i], batch, head, token) + c;
                swish_lrpe_row(x, &angles, y, y + d, count);
            }
        }
    }
}

static tnl_status launch(const tnl_call *call) {
    const int64_t n = call->dim[DIM_N], tasks = tnl_token_tasks(call);
#pragma omp parallel for collapse(2)
    for (int64_t head = 0; head < call->dim[DIM_H]; head++) {
        for (int64_t task = 0; task < tasks; task++) {
            const int64_t begin = task * TNL_TOKENS_PER_TASK;
            const int64_t end = n - begin < TNL_TOKENS_PER_TASK ? n : begin + TNL_TOKENS_PER_TASK;
            tnl_positions positions = {call->tensor[ACT_POSITIONS].data,
                                       call->tensor[ACT_CU_SEQLENS].data, 0};
            for (int64_t token = begin; token < end; token++) {
                if (call->tensor[ACT_THETA].data)
                    swish_lrpe_token(call, head, token, &positions);
                else
                    swish_token(call, head, token);
            }
        }
    }
    return TNL_OK;
}

const tnl_kernel tnl_cpu_qkvu_activation_forward_fused = {.launch = launch, .deterministic = true};
