/*
 * The gradients of swish (eq. 4) and LRPE (eq. 1) on Q and K, in one pass. With s = swish(x) and
 * the angle a = theta t, the forward pass gave (s cos a, s sin a); for its gradients (c, z)
 *     dx      = (c cos a + z sin a) swish'(x)
 *     dtheta += t s (z cos a - c sin a), over all tokens, Q and K.
 * A task (a head and some tokens) sums its part of dtheta in double into a row of its own in the
 * workspace. The rows are then added in their order, whatever thread made them.
 */
#include "core/kernels.h"
#include "kernels/activation/cpu_tokens.h"

/* dx may be dy, and may be x. */
static void swish_row(const float *x, const float *dy, float *dx, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        dx[i] = (float)((double)dy[i] * tnl_swish_with_slope(x[i]).slope);
}

/* dx may be x. */
static void swish_lrpe_row(const float *x, const tnl_angles *angles, const float *dy_cosine,
                           const float *dy_sine, float *dx, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const double cosine = angles->cosine[i], sine = angles->sine[i];
        const double c = dy_cosine[i], z = dy_sine[i];
        dx[i] = (float)((c * cosine + z * sine) * tnl_swish_with_slope(x[i]).slope);
    }
}

/* The same, and dtheta's part added to sum. */
static void swish_lrpe_theta_row(const float *x, const tnl_angles *angles, const float *dy_cosine,
                                 const float *dy_sine, double t, float *dx, double *sum,
                                 int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const tnl_swish_pair swish = tnl_swish_with_slope(x[i]);
        const double cosine = angles->cosine[i], sine = angles->sine[i];
        const double c = dy_cosine[i], z = dy_sine[i];
        dx[i] = (float)((c * cosine + z * sine) * swish.slope);
        sum[i] += t * swish.value * (z * cosine - c * sine);
    }
}

static void swish_token(const tnl_call *call, int64_t head, int64_t token) {
    const tnl_tensor *tensor = call->tensor;
    for (int64_t batch = 0; batch < call->dim[DIM_B]; batch++)
        for (int i = 0; i < 2; i++)
            swish_row(tnl_token_row(&tensor[ACT_BWD_Q + i], batch, head, token),
                      tnl_token_row(&tensor[ACT_BWD_DQ_OUT + i], batch, head, token),
                      tnl_token_row(&tensor[ACT_BWD_DQ + i], batch, head, token), call->dim[DIM_D]);
}

/* sum: d doubles, or NULL where dtheta is not asked for. */
static void swish_lrpe_channels(const tnl_call *call, const tnl_token_channels *at, void *sum) {
    const tnl_tensor *tensor = call->tensor;
    const int64_t d = call->dim[DIM_D], c = at->first;
    for (int i = 0; i < 2; i++) {
        const float *x = tnl_token_row(&tensor[ACT_BWD_Q + i], at->batch, at->head, at->token) + c;
        const float *dy =
            tnl_token_row(&tensor[ACT_BWD_DQ_OUT + i], at->batch, at->head, at->token) + c;
        float *dx = tnl_token_row(&tensor[ACT_BWD_DQ + i], at->batch, at->head, at->token) + c;
        if (sum)
            swish_lrpe_theta_row(x, at->angles, dy, dy + d, (double)at->position, dx,
                                 (double *)sum + c, at->count);
        else
            swish_lrpe_row(x, at->angles, dy, dy + d, dx, at->count);
    }
}

static size_t workspace(const tnl_call *call) {
    if (!call->tensor[ACT_BWD_DTHETA].data)
        return 0;
    return sizeof(double) * (size_t)(call->dim[DIM_H] * tnl_token_tasks(call) * call->dim[DIM_D]);
}

/* dtheta: the sums of a head's tasks, added up. */
static void add_task_sums(const tnl_call *call) {
    const int64_t d = call->dim[DIM_D], tasks = tnl_token_tasks(call);
    const tnl_tensor *dtheta = &call->tensor[ACT_BWD_DTHETA];
#pragma omp parallel for
    for (int64_t head = 0; head < call->dim[DIM_H]; head++) {
        double *sum = (double *)call->workspace + head * tasks * d;
        for (int64_t task = 1; task < tasks; task++)
#pragma omp simd
            for (int64_t i = 0; i < d; i++)
                sum[i] += sum[task * d + i];
        float *row = (float *)dtheta->data + head * dtheta->stride[0];
        for (int64_t i = 0; i < d; i++)
            row[i] = (float)sum[i];
    }
}

static void swish_task(const tnl_call *call, tnl_token_task *task) {
    const int64_t d = call->dim[DIM_D], row = task->head * tnl_token_tasks(call) + task->number;
    double *sum = call->tensor[ACT_BWD_DTHETA].data ? (double *)call->workspace + row * d : NULL;
    for (int64_t i = 0; sum && i < d; i++)
        sum[i] = 0;
    for (int64_t token = task->begin; token < task->end; token++) {
        if (call->tensor[ACT_BWD_THETA].data)
            tnl_for_channels(call, ACT_BWD_THETA, task, token, swish_lrpe_channels, sum);
        else
            swish_token(call, task->head, token);
    }
}

static tnl_status launch(const tnl_call *call) {
    tnl_for_token_tasks(call, ACT_BWD_POSITIONS, ACT_BWD_CU_SEQLENS, swish_task);
    if (call->tensor[ACT_BWD_DTHETA].data)
        add_task_sums(call);
    return TNL_OK;
}

const tnl_kernel tnl_cpu_qkvu_activation_backward_fused = {
    .launch = launch, .workspace = workspace, .deterministic = true};
