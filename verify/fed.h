/* A model's state being fed, for checks that compare logits: everything in host memory, float32. */
#ifndef TNL_VERIFY_FED_H
#define TNL_VERIFY_FED_H

#include <stdbool.h>
#include <stddef.h>

#include "tnl_model.h"

/* The largest relative error of a row, |x - y| / |y| in the Euclidean norm; NaN where x has one. */
double fed_error(const float *x, const float *y, int64_t rows, int64_t columns);
/* The index of the largest logit, the first where several are. */
int32_t fed_argmax(const float *logits, int64_t count);

/* Feed count tokens to a slot, in pieces of at most `most` tokens (whose lengths a seed chooses
 * where it is not 0, else all of them `most`), and have the logits of all of them (NULL:
 * of none). false: the context's error says why. */
bool fed_prefill(tnl_state *state, int slot, const int32_t *tokens, int64_t count, int64_t most,
                 uint64_t seed, float *logits);
/* One token to each of `count` slots; their logits. */
bool fed_decode(tnl_state *state, int count, const int32_t *slots, const int32_t *tokens,
                float *logits);

#endif
