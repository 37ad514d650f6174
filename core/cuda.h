/* The CUDA side of a context. In a build without CUDA there is no device to open. */
#ifndef TNL_CORE_CUDA_H
#define TNL_CORE_CUDA_H

#include "core/context.h"

/* Open device context->index: its properties and a cuBLAS handle. */
tnl_status tnl_cuda_open(tnl_context *context);
void tnl_cuda_close(tnl_context *context);

#endif
