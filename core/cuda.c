/*
 * Opening a CUDA device. The runtime is linked statically and finds the driver itself, so the
 * library starts where there is none and says so here.
 */
#include "core/cuda.h"

#ifdef TNL_WITH_CUDA

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <stdbool.h>

/* A failure stays on the runtime's record, where the next kernel launch would find it. */
static bool forget(cudaError_t error) {
    if (error != cudaSuccess)
        cudaGetLastError();
    return error == cudaSuccess;
}

static bool get_attribute(const tnl_context *context, enum cudaDeviceAttr attribute, int *value) {
    return forget(cudaDeviceGetAttribute(value, attribute, context->index));
}

tnl_status tnl_cuda_open(tnl_context *context) {
    int count = 0, previous = 0, major = 0, minor = 0;
    if (!forget(cudaGetDeviceCount(&count)) || context->index >= count)
        return TNL_NO_DEVICE;
    if (tnl_cuda_enter(context, &previous) != TNL_OK)
        return TNL_DEVICE_ERROR;
    cublasHandle_t cublas = NULL;
    const bool opened =
        get_attribute(context, cudaDevAttrComputeCapabilityMajor, &major) &&
        get_attribute(context, cudaDevAttrComputeCapabilityMinor, &minor) &&
        get_attribute(context, cudaDevAttrMultiProcessorCount, &context->multiprocessors) &&
        cublasCreate(&cublas) == CUBLAS_STATUS_SUCCESS;
    context->compute_capability = 10 * major + minor;
    context->cublas = cublas;
    tnl_cuda_leave(context, previous);
    return opened ? TNL_OK : TNL_DEVICE_ERROR;
}

void tnl_cuda_close(tnl_context *context) {
    int previous;
    if (tnl_cuda_enter(context, &previous) != TNL_OK)
        return;
    cublasDestroy(context->cublas);
    tnl_cuda_leave(context, previous);
}

tnl_status tnl_cuda_enter(tnl_context *context, int *previous) {
    cudaError_t error = cudaGetDevice(previous);
    if (error == cudaSuccess && *previous != context->index)
        error = cudaSetDevice(context->index);
    if (forget(error))
        return TNL_OK;
    return tnl_fail(context, TNL_DEVICE_ERROR,
                    "the context's device %d can't be made the current one: %s", context->index,
                    cudaGetErrorString(error));
}

void tnl_cuda_leave(const tnl_context *context, int previous) {
    if (previous != context->index)
        cudaSetDevice(previous);
}

#else

tnl_status tnl_cuda_open(tnl_context *context) {
    (void)context;
    return TNL_NO_DEVICE;
}

void tnl_cuda_close(tnl_context *context) {
    (void)context;
}

tnl_status tnl_cuda_enter(tnl_context *context, int *previous) {
    (void)context;
    *previous = 0;
    return TNL_NO_DEVICE;
}

void tnl_cuda_leave(const tnl_context *context, int previous) {
    (void)context;
    (void)previous;
}

#endif
