/* Memory: on the CPU the C library's, on a CUDA device the runtime's. */
#include "core/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/context.h"
#include "core/cuda.h"

enum { PAGE = 4096 };

#ifdef TNL_WITH_CUDA

#include <cuda_runtime_api.h>

static void *cuda_allocate(size_t bytes) {
    void *memory = NULL;
    return tnl_cuda_good(cudaMalloc(&memory, bytes)) ? memory : NULL;
}

static void cuda_free(void *memory) {
    tnl_cuda_good(cudaFree(memory));
}

/* From pageable memory the runtime's copy returns when it has the bytes, not when the device has:
 * a launch on another stream would not wait for it. */
static bool cuda_copy(void *to, const void *from, size_t bytes) {
    return tnl_cuda_good(cudaMemcpy(to, from, bytes, cudaMemcpyDefault)) &&
           tnl_cuda_good(cudaDeviceSynchronize());
}

static bool cuda_queue_copy(const tnl_context *context, void *to, const void *from, size_t bytes) {
    return tnl_cuda_good(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, context->stream));
}

static bool cuda_queue_zero(const tnl_context *context, void *to, size_t bytes) {
    return tnl_cuda_good(cudaMemsetAsync(to, 0, bytes, context->stream));
}

static bool cuda_select(const tnl_context *context) {
    return tnl_cuda_good(cudaSetDevice(context->index));
}

static void *cuda_allocate_shared(size_t bytes) {
    void *memory = NULL;
    return tnl_cuda_good(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable))
               ? memory
               : NULL;
}

static void cuda_free_shared(void *memory) {
    tnl_cuda_good(cudaFreeHost(memory));
}

static bool cuda_mark_create(void **mark) {
    cudaEvent_t event = NULL;
    const bool made = tnl_cuda_good(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    *mark = event;
    return made;
}

static bool cuda_mark_set(const tnl_context *context, void *mark) {
    return tnl_cuda_good(cudaEventRecord(mark, context->stream));
}

static bool cuda_mark_wait(void *mark) {
    return tnl_cuda_good(cudaEventSynchronize(mark));
}

static void cuda_mark_destroy(void *mark) {
    tnl_cuda_good(cudaEventDestroy(mark));
}

static bool cuda_wait(const tnl_context *context) {
    return tnl_cuda_good(cudaStreamSynchronize(context->stream)) &&
           tnl_cuda_good(cudaGetLastError());
}

#else

static void *cuda_allocate(size_t bytes) {
    (void)bytes;
    return NULL;
}

static void cuda_free(void *memory) {
    (void)memory;
}

static bool cuda_copy(void *to, const void *from, size_t bytes) {
    (void)to;
    (void)from;
    (void)bytes;
    return false;
}

static bool cuda_queue_copy(const tnl_context *context, void *to, const void *from, size_t bytes) {
    (void)context;
    return cuda_copy(to, from, bytes);
}

static bool cuda_queue_zero(const tnl_context *context, void *to, size_t bytes) {
    (void)context;
    (void)to;
    (void)bytes;
    return false;
}

static bool cuda_select(const tnl_context *context) {
    (void)context;
    return false;
}

static void *cuda_allocate_shared(size_t bytes) {
    (void)bytes;
    return NULL;
}

static void cuda_free_shared(void *memory) {
    (void)memory;
}

static bool cuda_mark_create(void **mark) {
    *mark = NULL;
    return false;
}

static bool cuda_mark_set(const tnl_context *context, void *mark) {
    (void)context;
    (void)mark;
    return false;
}

static bool cuda_mark_wait(void *mark) {
    (void)mark;
    return false;
}

static void cuda_mark_destroy(void *mark) {
    (void)mark;
}

static bool cuda_wait(const tnl_context *context) {
    (void)context;
    return false;
}

#endif

void *tnl_memory_allocate(tnl_device device, size_t bytes) {
    if (device == TNL_CUDA)
        return cuda_allocate(bytes);
    if (bytes > SIZE_MAX - PAGE)
        return NULL;
    return aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
}

void tnl_memory_free(tnl_device device, void *memory) {
    if (device == TNL_CPU)
        free(memory);
    else if (memory)
        cuda_free(memory);
}

bool tnl_memory_to_device(tnl_device device, void *to, const void *from, size_t bytes) {
    if (device == TNL_CUDA)
        return cuda_copy(to, from, bytes);
    if (to != from)
        memcpy(to, from, bytes);
    return true;
}

bool tnl_memory_from_device(tnl_device device, void *to, const void *from, size_t bytes) {
    return tnl_memory_to_device(device, to, from, bytes);
}

bool tnl_memory_repeat(tnl_device device, void *to, size_t bytes, const void *piece,
                       size_t piece_bytes) {
    size_t done = piece_bytes < bytes ? piece_bytes : bytes;
    bool copied = tnl_memory_to_device(device, to, piece, done);
    while (copied && done < bytes) {
        size_t more = done < bytes - done ? done : bytes - done;
        copied = tnl_memory_to_device(device, (char *)to + done, to, more);
        done += more;
    }
    return copied;
}

bool tnl_memory_queue_copy(const tnl_context *context, void *to, const void *from, size_t bytes) {
    if (context->device == TNL_CUDA)
        return cuda_queue_copy(context, to, from, bytes);
    return tnl_memory_to_device(TNL_CPU, to, from, bytes);
}

bool tnl_memory_queue_zero(const tnl_context *context, void *to, size_t bytes) {
    if (context->device == TNL_CUDA)
        return cuda_queue_zero(context, to, bytes);
    memset(to, 0, bytes);
    return true;
}

bool tnl_memory_select(const tnl_context *context) {
    return context->device == TNL_CPU || cuda_select(context);
}

void *tnl_memory_allocate_shared(const tnl_context *context, size_t bytes) {
    return context->device == TNL_CPU ? malloc(bytes) : cuda_allocate_shared(bytes);
}

void tnl_memory_free_shared(const tnl_context *context, void *memory) {
    if (context->device == TNL_CPU)
        free(memory);
    else if (memory)
        cuda_free_shared(memory);
}

bool tnl_mark_create(const tnl_context *context, void **mark) {
    *mark = NULL;
    return context->device == TNL_CPU || cuda_mark_create(mark);
}

bool tnl_mark_set(const tnl_context *context, void *mark) {
    return context->device == TNL_CPU || cuda_mark_set(context, mark);
}

bool tnl_mark_wait(const tnl_context *context, void *mark) {
    return context->device == TNL_CPU || cuda_mark_wait(mark);
}

void tnl_mark_destroy(const tnl_context *context, void *mark) {
    if (context->device != TNL_CPU && mark)
        cuda_mark_destroy(mark);
}

/* A call on a CPU context has finished when it returns. */
bool tnl_memory_synchronize(const tnl_context *context) {
    return context->device == TNL_CPU || cuda_wait(context);
}
