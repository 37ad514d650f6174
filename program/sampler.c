/* Choosing tokens (program/sampler.h): softmax over what top_k and top_p leave, in double. */
#include "program/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "verify/random.h"

typedef struct candidate {
    float logit;
    int32_t token;
} candidate;

bool sampler_open(sampler *s, int64_t count) {
    s->count = count;
    s->ordered = malloc(sizeof *s->ordered * (size_t)count);
    return s->ordered != NULL;
}

void sampler_close(sampler *s) {
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

static double weight(const sampler *s, int64_t i, float largest) {
    return exp(((double)s->ordered[i].logit - (double)largest) / s->temperature);
}

int32_t sampler_choose(sampler *s, const float *logits, uint64_t step) {
    int64_t best = 0, kept = s->count;
    for (int64_t i = 0; i < s->count; i++) {
        if (!isfinite(logits[i]))
            return -1;
        best = logits[i] > logits[best] ? i : best;
        s->ordered[i] = (candidate){logits[i], (int32_t)i};
    }
    if (s->temperature == 0)
        return (int32_t)best;
    const float largest = logits[best];
    if (s->top_k || s->top_p < 1)
        qsort(s->ordered, (size_t)s->count, sizeof *s->ordered, likelier);
    if (s->top_k && s->top_k < kept)
        kept = s->top_k;
    double total = 0, sum = 0;
    for (int64_t i = 0; i < kept; i++)
        total += weight(s, i, largest);
    /* The fewest that reach top_p; at least one. */
    if (s->top_p < 1) {
        int64_t enough = 0;
        while (enough < kept && sum < s->top_p * total)
            sum += weight(s, enough++, largest);
        kept = enough ? enough : 1;
        total = enough ? sum : weight(s, 0, largest);
    }
    const double drawn = random_uniform(s->seed, 0, step) * total;
    sum = 0;
    for (int64_t i = 0; i < kept; i++) {
        sum += weight(s, i, largest);
        if (drawn < sum)
            return s->ordered[i].token;
    }
    return s->ordered[kept - 1].token;
}
