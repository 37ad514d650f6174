/*
 * Decode by Algorithm 1 (origin): S <- S + (k lambda^-t)^T v, o = (q lambda^t) S, t being the
 * token's position. S holds lambda^-t times what Algorithm 2's holds. The powers are float32, so
 * for t large enough lambda^-t is infinite and lambda^t zero (eq. 17), which is what this is here
 * to show.
 */
#include "core/kernels.h"
#include "kernels/decode/cpu_step.h"
#include "reference/reference.h"

static tnl_status launch(const tnl_call *call) {
    const float *slope = (const float *)call->tensor[DECODE_SLOPE].data;
    const int64_t *positions = (const int64_t *)call->tensor[DECODE_POSITIONS].data;
#pragma omp parallel for collapse(2)
    for (int64_t token = 0; token < call->dim[DIM_B]; token++) {
        for (int64_t head = 0; head < call->dim[DIM_H]; head++) {
            const double exponent = slope[head] * (positions ? (double)positions[token] : 0);
            tnl_decode_head(call, token, head,
                            (tnl_decode_factors){1, (float)exp(exponent), (float)exp(-exponent)});
        }
    }
    return TNL_OK;
}

const tnl_kernel tnl_cpu_decode_origin = {.launch = launch,
                                          .deterministic = true,
                                          .reference = tnl_reference_decode_origin,
                                          .naive = tnl_naive_decode_origin};
