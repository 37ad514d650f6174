/*
 * What both passes of the activation share: how the tokens are cut into tasks, where a token's
 * row lies, and which position it has.
 */
#ifndef TNL_ACTIVATION_CPU_TOKENS_H
#define TNL_ACTIVATION_CPU_TOKENS_H

#include "core/call.h"

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

#endif
