/* What golden.safetensors has of a model: logits and greedy continuations of texts, by length. */
#ifndef TNL_VERIFY_GOLDEN_LENGTHS_H
#define TNL_VERIFY_GOLDEN_LENGTHS_H

#include "model/safetensors.h"

/* The tensors of one length N: ids [B,N], logits [B,N,V], greedy [B,M], greedy_logits [B,M,V]. */
typedef struct golden_length {
    int64_t n, batch, more;
    const int32_t *ids, *greedy;
    const float *logits, *greedy_logits;
} golden_length;

/* Every length for which the file has an nN.ids, at most `most`. Returns how many, or 0: a tensor
 * is missing or misshapen, and the text says which. */
int golden_find_lengths(const tnl_safetensors *file, int64_t vocab, golden_length *found, int most,
                        char *text, size_t size);

#endif
