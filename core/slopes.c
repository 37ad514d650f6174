/* The decay slopes of a layer's heads: equation 2, and the published checkpoints' rule. */
#include <math.h>

#include "tnl.h"

static int valid(int heads, int layers, int layer, const float *slopes) {
    return heads >= 1 && layers >= 1 && layer >= 0 && layer < layers && slopes;
}

tnl_status tnl_slopes_paper(int heads, int layers, int layer, float *slopes) {
    if (!valid(heads, layers, layer, slopes))
        return TNL_INVALID_ARGUMENT;
    for (int i = 0; i < heads; i++)
        slopes[i] = (float)(8.0 * (i + 1) / heads * (1 - (layer + 1.0) / layers));
    return TNL_OK;
}

/* ALiBi's slope of head i. With p the largest power of two up to `heads`: the first p heads have
 * those of p heads, head p + j has slope 2j of 2p heads. */
static double alibi_slope(int heads, int i) {
    int p = 1;
    while (p <= heads / 2)
        p *= 2;
    return i < p ? exp2(-8.0 * (i + 1) / p) : exp2(-8.0 * (2.0 * (i - p) + 1) / (2.0 * p));
}

tnl_status tnl_slopes_released(int heads, int layers, int layer, float *slopes) {
    if (!valid(heads, layers, layer, slopes))
        return TNL_INVALID_ARGUMENT;
    double factor = 1 - (layers > 1 ? (double)layer / (layers - 1) : 0) + 1e-5;
    for (int i = 0; i < heads; i++)
        slopes[i] = (float)(alibi_slope(heads, i) * factor);
    return TNL_OK;
}
