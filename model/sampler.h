/* Choosing tokens from their logits: on the host here, on CUDA in sampler_cuda.cu. */
#ifndef TNL_MODEL_SAMPLER_H
#define TNL_MODEL_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/context.h"
#include "core/random.h"
#include "tnl_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is chosen in place of a token. */
enum { TNL_TOKEN_NONE = -1, TNL_TOKEN_NOT_FINITE = -2 };

/* The number in [0, 1) that decides for row `row` of step `step`. */
TNL_RANDOM double tnl_draw(const tnl_sampling *sampling, uint64_t row, uint64_t step) {
    return random_uniform(sampling->seed, row, step);
}

typedef struct tnl_sampler {
    int64_t count;             /* of the vocabulary */
    struct candidate *ordered; /* [count] */
} tnl_sampler;

/* Room for `count` logits; false: out of memory. */
bool tnl_sampler_open(tnl_sampler *s, int64_t count);
void tnl_sampler_close(tnl_sampler *s);
/* The token that a number in [0, 1) chooses; TNL_TOKEN_NOT_FINITE: a logit is none. */
int32_t tnl_sampler_choose(tnl_sampler *s, const tnl_sampling *sampling, const float *logits,
                           double drawn);

/* A step's choice on the device. Slot -1: no token is chosen, and TNL_TOKEN_NONE made. */
typedef struct tnl_cuda_choice {
    tnl_tensor logits; /* [rows,vocab] */
    tnl_sampling sampling;
    uint64_t step;
    int32_t stop;       /* a slot becomes -1 when this token has been chosen for it */
    bool fed;           /* tokens were fed since the last choice: positions move on */
    int64_t *positions; /* [rows] */
    int32_t *slots;     /* [rows] */
    int32_t *tokens;    /* [rows]: to be fed; 0 where none was chosen */
    int32_t *made;      /* [rows]: what was chosen, in memory of the host */
} tnl_cuda_choice;

/*
 * What tnl_sampler_choose chooses, but that a token's weight is float32, as good as the device's
 * power of two, and rounded to 2^-31 of the likeliest one's: a draw that falls so near to the edge
 * of a token's share may choose its neighbour. Sums are of integers, so that two runs agree.
 */
tnl_status tnl_cuda_choose(tnl_context *context, const tnl_cuda_choice *choice);

#ifdef __cplusplus
}
#endif

#endif
