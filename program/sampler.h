/* Choosing the next token from its logits. */
#ifndef TNL_PROGRAM_SAMPLER_H
#define TNL_PROGRAM_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct sampler {
    double temperature; /* 0: the likeliest token */
    int64_t top_k;      /* only the k likeliest; 0: all */
    double top_p;       /* of those, the likeliest that together reach this probability; 1: all */
    uint64_t seed;
    int64_t count;             /* of the vocabulary */
    struct candidate *ordered; /* [count] */
} sampler;

/* Room for `count` logits; false: out of memory. */
bool sampler_open(sampler *s, int64_t count);
void sampler_close(sampler *s);
/* The token of step number `step`: the same for the same seed, step and logits. -1: a logit is not
 * a finite number. */
int32_t sampler_choose(sampler *s, const float *logits, uint64_t step);

#endif
