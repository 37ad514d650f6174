/*
 * Decode by Algorithm 1, to show where it overflows: S <- S + k lambda^-t v^T, o = q lambda^t S,
 * so that its state is lambda^-t times that of Algorithm 2.
 */
#include "kernels/decode/cuda_step.cuh"
#include "reference/reference.h"

const tnl_kernel tnl_cuda_decode_origin = {.launch = launch_step<true>,
                                           .rejects = rejects_step,
                                           .deterministic = true,
                                           .reference = tnl_reference_decode_origin,
                                           .naive = tnl_naive_decode_origin};
