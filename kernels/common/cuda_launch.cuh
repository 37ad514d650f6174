/*
 * Kernels that follow one another without a gap. From Hopper on, a kernel launched here may be
 * brought onto the device while the one before it on the stream still runs, and where that one let
 * it in before waiting itself, while those before still run, too: what a kernel does before
 * wait_for_kernel_before() runs beside any of them. So no thread of a kernel launched here touches
 * memory that another kernel may write to, or read what it writes, before it has waited or got its
 * data from a thread that has; and every block has a thread that waits.
 */
#ifndef TNL_KERNELS_COMMON_CUDA_LAUNCH_CUH
#define TNL_KERNELS_COMMON_CUDA_LAUNCH_CUH

#include "kernels/common/cuda.cuh"

/* Let the next kernel be brought in, as soon as every block of this one has come here. */
static __device__ __forceinline__ void allow_next_kernel() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* Wait until the kernels before this one have ended and their stores are seen. */
static __device__ __forceinline__ void wait_for_kernel_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* The usual order. A kernel lets the next one in before it waits where that one has something to
 * do meanwhile, and room beside the blocks of this one. */
static __device__ __forceinline__ void await_previous() {
    wait_for_kernel_before();
    allow_next_kernel();
}

/* Launch a kernel, in clusters of so many blocks (from Hopper on; 1 elsewhere); (overlaps) it may
 * be brought in early. */
template <typename... Parameters>
static tnl_status tnl_launch_as(const tnl_call *call, void (*kernel)(Parameters...), dim3 grid,
                                dim3 block, size_t shared, bool overlaps, unsigned cluster,
                                Parameters... arguments) {
    cudaLaunchAttribute attributes[2];
    unsigned count = 0;
    if (overlaps) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 1) {
        attributes[count].id = cudaLaunchAttributeClusterDimension;
        attributes[count++].val.clusterDim = {cluster, 1, 1};
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = tnl_stream(call);
    config.attrs = attributes;
    config.numAttrs = count;
    return tnl_cuda_status(call, cudaLaunchKernelEx(&config, kernel, arguments...));
}

/* Launch a kernel that waits for those before it, in clusters of so many blocks. */
template <typename... Parameters>
static tnl_status tnl_launch_clusters(const tnl_call *call, void (*kernel)(Parameters...),
                                      unsigned cluster, dim3 grid, dim3 block, size_t shared,
                                      Parameters... arguments) {
#ifdef TNL_BUILT_FOR_90 /* elsewhere no kernel waits */
    const bool overlaps = call->context->compute_capability >= 90;
#else
    const bool overlaps = false;
#endif
    return tnl_launch_as(call, kernel, grid, block, shared, overlaps, overlaps ? cluster : 1,
                         arguments...);
}

/* The same without clusters. */
template <typename... Parameters>
static tnl_status tnl_launch(const tnl_call *call, void (*kernel)(Parameters...), dim3 grid,
                             dim3 block, size_t shared, Parameters... arguments) {
    return tnl_launch_clusters(call, kernel, 1, grid, block, shared, arguments...);
}

#endif
