/*
 * Decode by Algorithm 2 (robust inference): S <- lambda S + k^T v, o = q S, the state in place.
 * Heads of tokens are independent and go to the threads.
 */
#include "core/kernels.h"
#include "kernels/decode/cpu_step.h"

static tnl_status launch(const tnl_call *call) {
    const float *slope = (const float *)call->tensor[DECODE_SLOPE].data;
#pragma omp parallel for collapse(2)
    for (int64_t token = 0; token < call->dim[DIM_B]; token++)
        for (int64_t head = 0; head < call->dim[DIM_H]; head++)
            tnl_decode_head(call, token, head,
                            (tnl_decode_factors){(float)exp(-(double)slope[head]), 1, 1});
    return TNL_OK;
}

const tnl_kernel tnl_cpu_decode_recurrent = {.launch = launch, .deterministic = true};
