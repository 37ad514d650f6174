/* Likelihood of a text (program/likelihood.h), from logits in float32, summed in double. */
#include "program/likelihood.h"

#include <math.h>
#include <stdlib.h>

/* -log softmax(logits)[token]. */
static double surprise(const float *logits, int64_t count, int32_t token) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    double others = 0;
    for (int64_t i = 0; i < count; i++)
        others += i == best ? 0 : exp((double)logits[i] - (double)logits[best]);
    return log1p(others) + (double)logits[best] - (double)logits[token];
}

bool likelihood_sum(tnl_state *state, const int32_t *tokens, int64_t count, int64_t piece,
                    int64_t vocab, void (*progress)(int64_t done, int64_t count, double sum),
                    double *sum) {
    float *logits = malloc(sizeof *logits * (size_t)(piece * vocab));
    bool good = logits && tnl_state_reset(state, 0) == TNL_OK;
    *sum = 0;
    for (int64_t done = 0, some; good && done + 1 < count; done += some) {
        some = count - 1 - done < piece ? count - 1 - done : piece;
        const tnl_piece fed = {0, tokens + done, some};
        good = tnl_state_prefill(state, 1, &fed, TNL_ALL_LOGITS) == TNL_OK &&
               tnl_state_read_logits(state, logits) == TNL_OK;
        double part = 0;
#pragma omp parallel for reduction(+ : part)
        for (int64_t i = 0; i < some; i++)
            part += surprise(logits + i * vocab, vocab, tokens[done + i + 1]);
        *sum += part;
        if (good && progress)
            progress(done + some + 1, count, *sum);
    }
    free(logits);
    return good;
}
