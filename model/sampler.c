/* Choosing tokens (model/sampler.h): softmax over what top_k and top_p leave, in double. */
#include "model/sampler.h"

#include <math.h>
#include <stdlib.h>

typedef struct candidate {
    float logit;
    int32_t token;
} candidate;

bool tnl_sampler_open(tnl_sampler *s, int64_t count) {
    s->count = count;
    s->ordered = malloc(sizeof *s->ordered * (size_t)count);
    return s->ordered != NULL;
}

void tnl_sampler_close(tnl_sampler *s) {
    free(s->ordered);
    s->ordered = NULL;
}

/* The likeliest first; of equal ones the first of the vocabulary. */
static int likelier(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return (a->token > b->token) - (a->token < b->token);
}

/* Token i's, the largest logit's being 1. */
static double weight(const tnl_sampler *s, const tnl_sampling *how, int64_t i, float largest) {
    return exp(((double)s->ordered[i].logit - (double)largest) / how->temperature);
}

/* Of the first *kept the fewest that reach top_p, at least one; returns their weight. */
static double cut(const tnl_sampler *s, const tnl_sampling *how, float largest, double total,
                  int64_t *kept) {
    int64_t enough = 0;
    double sum = 0;
    while (enough < *kept && sum < how->top_p * total)
        sum += weight(s, how, enough++, largest);
    *kept = enough ? enough : 1;
    return enough ? sum : weight(s, how, 0, largest);
}

int32_t tnl_sampler_choose(tnl_sampler *s, const tnl_sampling *how, const float *logits,
                           double drawn) {
    int64_t best = 0, kept = s->count;
    for (int64_t i = 0; i < s->count; i++) {
        if (!isfinite(logits[i]))
            return TNL_TOKEN_NOT_FINITE;
        best = logits[i] > logits[best] ? i : best;
        s->ordered[i] = (candidate){logits[i], (int32_t)i};
    }
    if (how->temperature == 0)
        return (int32_t)best;
    const float largest = logits[best];
    if (how->top_k || how->top_p < 1)
        qsort(s->ordered, (size_t)s->count, sizeof *s->ordered, likelier);
    if (how->top_k && how->top_k < kept)
        kept = how->top_k;
    double total = 0, sum = 0;
    for (int64_t i = 0; i < kept; i++)
        total += weight(s, how, i, largest);
    if (how->top_p < 1)
        total = cut(s, how, largest, total, &kept);
    for (int64_t i = 0; i < kept; i++) {
        sum += weight(s, how, i, largest);
        if (drawn * total < sum)
            return s->ordered[i].token;
    }
    return s->ordered[kept - 1].token;
}
