/*
 * Copies, by the better of cudaMemcpy and our own kernel, and a kernel that does nothing; cuBLAS's
 * GEMMs are in gemms_cuda.c. Everything is from a cold cache, as the rows are.
 */
#include <cuda_runtime_api.h>

#include "bench/gemms_cuda.h"
#include "bench/kernels_cuda.h"
#include "bench/rotation.h"
#include "bench/yardsticks.h"
#include "core/context.h"
#include "core/memory.h"
#include "core/types.h"

static tnl_status status_of(int error) {
    return error == cudaSuccess ? TNL_OK : TNL_DEVICE_ERROR;
}

static bool fill(const tnl_context *context, void *memory, tnl_type type, size_t count, float size,
                 uint64_t seed) {
    return bench_queue_fill(memory, type, count, size, seed, context->stream) == cudaSuccess &&
           tnl_memory_synchronize(context);
}

/* ---- copies ------------------------------------------------------------------------------- */

/* By turns between so many places. */
typedef struct copy_task {
    void *to[ROTATION_PLACES], *from[ROTATION_PLACES], *stream;
    size_t bytes;
    int places, turn;
} copy_task;

static tnl_status copy_by_runtime(void *data) {
    copy_task *copy = data;
    const int at = copy->turn++ % copy->places;
    return status_of(cudaMemcpyAsync(copy->to[at], copy->from[at], copy->bytes,
                                     cudaMemcpyDeviceToDevice, copy->stream));
}

static tnl_status copy_by_kernel(void *data) {
    copy_task *copy = data;
    const int at = copy->turn++ % copy->places;
    return status_of(bench_queue_copy(copy->to[at], copy->from[at], copy->bytes, copy->stream));
}

/* A few samples of each way decide which takes the rest. */
static tnl_status measure_copy(const bench_yardsticks *yardsticks, copy_task *copy,
                               bench_samples *taken) {
    const bench_limits few = {.least = 5, .least_slow = 1};
    bench_samples tried[2] = {{0}, {0}};
    bench_work work = {.launch = copy_by_runtime, .data = copy};
    tnl_status status = measure(&bench_meter_cuda, &work, &few, &tried[0]);
    work.launch = copy_by_kernel;
    if (status == TNL_OK)
        status = measure(&bench_meter_cuda, &work, &few, &tried[1]);
    if (summarize(&tried[0]).median < summarize(&tried[1]).median)
        work.launch = copy_by_runtime;
    return status == TNL_OK ? measure(&bench_meter_cuda, &work, &yardsticks->limits, taken)
                            : status;
}

static tnl_status copy_samples(const bench_yardsticks *yardsticks, size_t bytes,
                               bench_samples *taken) {
    copy_task copy = {.stream = yardsticks->context->stream,
                      .bytes = bytes,
                      .places = rotation_places(yardsticks->context, 2 * (double)bytes)};
    bool made = true;
    for (int i = 0; i < copy.places && made; i++) {
        copy.to[i] = tnl_memory_allocate(TNL_CUDA, bytes);
        copy.from[i] = tnl_memory_allocate(TNL_CUDA, bytes);
        made = copy.to[i] && copy.from[i] &&
               fill(yardsticks->context, copy.from[i], TNL_FLOAT32, bytes / sizeof(float), 0.5f,
                    yardsticks->seed);
    }
    const tnl_status status = made ? measure_copy(yardsticks, &copy, taken) : TNL_OUT_OF_MEMORY;
    for (int i = 0; i < copy.places; i++) {
        tnl_memory_free(TNL_CUDA, copy.to[i]);
        tnl_memory_free(TNL_CUDA, copy.from[i]);
    }
    return status;
}

/* ---- nothing ------------------------------------------------------------------------------ */

static tnl_status launch_empty(void *stream) {
    return status_of(bench_queue_empty(stream));
}

static tnl_status empty_samples(const bench_yardsticks *yardsticks, bench_samples *taken) {
    const bench_work work = {.launch = launch_empty, .data = yardsticks->context->stream};
    return measure(&bench_meter_cuda, &work, &yardsticks->limits, taken);
}

const bench_standards bench_standards_cuda = {.gemm_name = "cublas",
                                              .gemm_types = TNL_ALL_FLOATS,
                                              .main_type = TNL_BFLOAT16,
                                              .copy_rate_bytes = 8192.0 * 1048576,
                                              .gemm_rate_size = 8192,
                                              .fill = fill,
                                              .copy = copy_samples,
                                              .gemm = gemms_cuda_samples,
                                              .bare_make = gemms_cuda_make,
                                              .bare_free = gemms_cuda_free,
                                              .empty = empty_samples};
