/* A state being fed (verify/fed.h). */
#include "verify/fed.h"

#include <math.h>

#include "core/random.h"

double fed_error(const float *x, const float *y, int64_t rows, int64_t columns) {
    double worst = 0;
    for (int64_t i = 0; i < rows; i++) {
        double error = 0, norm = 0;
        for (int64_t j = i * columns; j < (i + 1) * columns; j++) {
            const double off = (double)x[j] - (double)y[j];
            error += off * off;
            norm += (double)y[j] * (double)y[j];
        }
        const double relative = error == 0 ? 0 : sqrt(error / norm);
        if (!(relative <= worst))
            worst = relative;
        if (isnan(worst))
            return worst;
    }
    return worst;
}

int32_t fed_argmax(const float *logits, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

bool fed_prefill(tnl_state *state, int slot, const int32_t *tokens, int64_t count, int64_t most,
                 uint64_t seed, float *logits) {
    for (int64_t done = 0, piece = 0, some; done < count; done += some, piece++) {
        some =
            seed
                ? 1 + (int64_t)(random_bits(seed, (uint64_t)slot, (uint64_t)piece) % (uint64_t)most)
                : most;
        some = some < count - done ? some : count - done;
        const tnl_piece fed = {slot, tokens + done, some};
        tnl_tensor made;
        if (tnl_state_prefill(state, 1, &fed, logits ? TNL_ALL_LOGITS : TNL_NO_LOGITS) != TNL_OK)
            return false;
        if (logits && (tnl_state_logits(state, &made) != TNL_OK ||
                       tnl_state_read_logits(state, logits + done * made.shape[1]) != TNL_OK))
            return false;
    }
    return true;
}

bool fed_decode(tnl_state *state, int count, const int32_t *slots, const int32_t *tokens,
                float *logits) {
    return tnl_state_decode(state, count, slots, tokens) == TNL_OK &&
           tnl_state_read_logits(state, logits) == TNL_OK;
}
