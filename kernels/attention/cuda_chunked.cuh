/* The chunked rows' sweep with float32 rows, which cuda_chunked_float.cu defines. */
#ifndef TNL_KERNELS_ATTENTION_CUDA_CHUNKED_CUH
#define TNL_KERNELS_ATTENTION_CUDA_CHUNKED_CUH

#include "kernels/attention/cuda_sweep.cuh"

tnl_status tnl_sweep_float(const tnl_call *call, const sweep &args, bool outputs);
/* The shared memory that a block of it needs. */
size_t tnl_sweep_float_shared_bytes(int inner, bool outputs);

#endif
