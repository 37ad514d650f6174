/* Decode by Algorithm 2, the robust one: S <- lambda S + k^T v, o = q S. */
#include "kernels/decode/cuda_step.cuh"

const tnl_kernel tnl_cuda_decode_recurrent = {
    .launch = launch_step<false>, .rejects = rejects_step, .deterministic = true};
