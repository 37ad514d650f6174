/*
 * What both passes of the activation share: how the tokens are cut into tasks, where a token's
 * row lies, which position it has, and how its channels meet their angles.
 */
#ifndef TNL_ACTIVATION_CPU_TOKENS_H
#define TNL_ACTIVATION_CPU_TOKENS_H

#include "kernels/common/cpu_lrpe.h"

/* A task is a head and this many places in the sequence, those of all batch entries together. */
enum { TNL_TOKENS_PER_TASK = 128 };

static inline int64_t tnl_token_tasks(const tnl_call *call) {
    return (call->dim[DIM_N] + TNL_TOKENS_PER_TASK - 1) / TNL_TOKENS_PER_TASK;
}

static inline float *tnl_token_row(const tnl_tensor *tensor, int64_t batch, int64_t head,
                                   int64_t token) {
    return (float *)tensor->data + batch * tensor->stride[0] + head * tensor->stride[1] +
           token * tensor->stride[2];
}

/* Where positions come from. `sequence` follows the tokens of a packed batch, which are asked for
 * in rising order; start it at 0. */
typedef struct tnl_positions {
    const int64_t *first;
    const int32_t *offset;
    int64_t sequence;
} tnl_positions;

static inline int64_t tnl_position_of(tnl_positions *at, int64_t batch, int64_t token) {
    if (!at->offset)
        return (at->first ? at->first[batch] : 0) + token;
    while (at->offset[at->sequence + 1] <= token)
        at->sequence++;
    return (at->first ? at->first[at->sequence] : 0) + token - at->offset[at->sequence];
}

/* Tokens [begin, end) of a head, and how far the positions have come. */
typedef struct tnl_token_task {
    int64_t head, number, begin, end;
    tnl_positions positions;
} tnl_token_task;

typedef void tnl_task_function(const tnl_call *call, tnl_token_task *task);

/* f of every task; `first` and `offset` are the indices of the positions and of cu_seqlens. */
static inline void tnl_for_token_tasks(const tnl_call *call, int first, int offset,
                                       tnl_task_function *f) {
    const int64_t n = call->dim[DIM_N], tasks = tnl_token_tasks(call);
#pragma omp parallel for collapse(2)
    for (int64_t head = 0; head < call->dim[DIM_H]; head++) {
        for (int64_t number = 0; number < tasks; number++) {
            const int64_t begin = number * TNL_TOKENS_PER_TASK;
            tnl_token_task task = {
                .head = head,
                .number = number,
                .begin = begin,
                .end = n - begin < TNL_TOKENS_PER_TASK ? n : begin + TNL_TOKENS_PER_TASK,
                .positions = {call->tensor[first].data, call->tensor[offset].data, 0}};
            f(call, &task);
        }
    }
}

/* Channels [first, first + count) of a token of a batch entry, its position and their angles. */
typedef struct tnl_token_channels {
    int64_t batch, head, token, first, count, position;
    const tnl_angles *angles;
} tnl_token_channels;

typedef void tnl_channels_function(const tnl_call *call, const tnl_token_channels *at, void *data);

/* f of all channels of a token in all batch entries, some at a time; theta: the index of that
 * tensor. Angles are made once for all entries at the same position. */
static inline void tnl_for_channels(const tnl_call *call, int theta, tnl_token_task *task,
                                    int64_t token, tnl_channels_function *f, void *data) {
    const tnl_tensor *tensor = &call->tensor[theta];
    const float *row = (const float *)tensor->data + task->head * tensor->stride[0];
    const int64_t d = call->dim[DIM_D];
    tnl_angles angles;
    for (int64_t c = 0; c < d; c += TNL_LRPE_BLOCK) {
        const int64_t count = d - c < TNL_LRPE_BLOCK ? d - c : TNL_LRPE_BLOCK;
        int64_t made = -1; /* the position that `angles` holds */
        for (int64_t batch = 0; batch < call->dim[DIM_B]; batch++) {
            const int64_t t = tnl_position_of(&task->positions, batch, token);
            if (t != made)
                tnl_make_angles(row + c, t, count, &angles);
            made = t;
            f(call, &(tnl_token_channels){batch, task->head, token, c, count, t, &angles}, data);
        }
    }
}

#endif
