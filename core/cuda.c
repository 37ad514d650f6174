/*
 * Opening a CUDA device. The runtime is linked statically and finds the driver itself, so the
 * library starts where there is none and says so here.
 */
#include "core/cuda.h"

#ifdef TNL_WITH_CUDA

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

tnl_status tnl_cuda_open(tnl_context *context) {
    int count = 0, previous, major, minor;
    if (cudaGetDeviceCount(&count) != cudaSuccess || context->index >= count)
        return TNL_NO_DEVICE;
    if (cudaGetDevice(&previous) != cudaSuccess || cudaSetDevice(context->index) != cudaSuccess)
        return TNL_DEVICE_ERROR;
    cublasHandle_t cublas = NULL;
    tnl_status status = TNL_DEVICE_ERROR;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, context->index) ==
            cudaSuccess &&
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, context->index) ==
            cudaSuccess &&
        cudaDeviceGetAttribute(&context->multiprocessors, cudaDevAttrMultiProcessorCount,
                               context->index) == cudaSuccess &&
        cublasCreate(&cublas) == CUBLAS_STATUS_SUCCESS)
        status = TNL_OK;
    context->compute_capability = 10 * major + minor;
    context->cublas = cublas;
    cudaSetDevice(previous);
    return status;
}

void tnl_cuda_close(tnl_context *context) {
    cublasDestroy(context->cublas);
}

#else

tnl_status tnl_cuda_open(tnl_context *context) {
    (void)context;
    return TNL_NO_DEVICE;
}

void tnl_cuda_close(tnl_context *context) {
    (void)context;
}

#endif
