/* The CUDA side of a context. In a build without CUDA there is no device to open. */
#ifndef TNL_CORE_CUDA_H
#define TNL_CORE_CUDA_H

#include <stdbool.h>

#include "core/context.h"

#ifdef TNL_WITH_CUDA

#include <cuda_runtime_api.h>

/* Whether a call of the runtime succeeded. A failure stays on the runtime's record, where the next
 * kernel launch would find it: it is taken off. */
static inline bool tnl_cuda_good(cudaError_t error) {
    if (error != cudaSuccess)
        cudaGetLastError();
    return error == cudaSuccess;
}

#endif

/* Open device context->index: its properties and a cuBLAS handle. */
tnl_status tnl_cuda_open(tnl_context *context);
void tnl_cuda_close(tnl_context *context);

/* Make the context's device the calling thread's current one, and give back the one that was.
 * Where they are the same this is one look into the runtime's thread state. */
tnl_status tnl_cuda_enter(tnl_context *context, int *previous);
void tnl_cuda_leave(const tnl_context *context, int previous);

/* The same for a context of either kind: on the CPU there is nothing to do. */
static inline tnl_status tnl_enter_device(tnl_context *context, int *previous) {
    *previous = context->index;
    return context->device == TNL_CPU ? TNL_OK : tnl_cuda_enter(context, previous);
}
static inline void tnl_leave_device(const tnl_context *context, int previous) {
    if (context->device != TNL_CPU)
        tnl_cuda_leave(context, previous);
}

#endif
