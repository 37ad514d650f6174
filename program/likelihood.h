/* How likely a text is to a model. */
#ifndef TNL_PROGRAM_LIKELIHOOD_H
#define TNL_PROGRAM_LIKELIHOOD_H

#include <stdbool.h>

#include "tnl_model.h"

/*
 * The sum over tokens 1 .. count-1 of -log p(token | those before it), the text being fed to slot 0
 * from its beginning, in pieces of at most `piece` tokens, for which the state has rows of logits.
 * progress may be NULL. false: the context's error says why, or there is no memory.
 */
bool likelihood_sum(tnl_state *state, const int32_t *tokens, int64_t count, int64_t piece,
                    int64_t vocab, void (*progress)(int64_t done, int64_t count, double sum),
                    double *sum);

#endif
