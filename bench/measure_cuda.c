/*
 * Sampling on a CUDA device, by events around one launch on the context's stream.
 *
 * A cold L2: before each sample a buffer larger than it is overwritten, and then another of that
 * size, which is never written to, is read. So the launch finds none of its data in the cache, and
 * no dirty lines to pay for.
 *
 * No host time is in a sample: before all this the device is kept waiting, and it must still be at
 * it, short of the first event, when the host has queued the launch and the second one; otherwise
 * the sample is thrown away, and the wait for the next ones doubled.
 */
#include <cuda_runtime_api.h>

#include "bench/kernels_cuda.h"
#include "bench/measure.h"
#include "core/context.h"
#include "core/graph.h"

enum { TRIES = 12 };

static const size_t least_swept = (size_t)256 << 20;
static const uint64_t least_wait = 50000; /* nanoseconds */

static struct {
    tnl_context *context;
    cudaStream_t stream;
    cudaEvent_t start, stop;
    void *dirty, *clean, *sink;
    size_t bytes; /* of dirty and of clean */
    uint64_t wait;
} meter;

static bool good(cudaError_t error) {
    if (error != cudaSuccess)
        cudaGetLastError();
    return error == cudaSuccess;
}

static void close_cuda(void) {
    if (meter.context)
        tnl_context_set_stream(meter.context, NULL);
    good(cudaFree(meter.dirty));
    good(cudaFree(meter.clean));
    good(cudaFree(meter.sink));
    if (meter.start)
        good(cudaEventDestroy(meter.start));
    if (meter.stop)
        good(cudaEventDestroy(meter.stop));
    if (meter.stream)
        good(cudaStreamDestroy(meter.stream));
    meter.context = NULL;
}

static bool open_cuda(tnl_context *context) {
    int cache = 0;
    meter.context = context;
    meter.bytes = least_swept;
    bool opened = good(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, context->index));
    while (meter.bytes < 2 * (size_t)cache)
        meter.bytes *= 2;
    opened = opened && good(cudaStreamCreateWithFlags(&meter.stream, cudaStreamNonBlocking)) &&
             good(cudaEventCreate(&meter.start)) && good(cudaEventCreate(&meter.stop)) &&
             good(cudaMalloc(&meter.dirty, meter.bytes)) &&
             good(cudaMalloc(&meter.clean, meter.bytes)) && good(cudaMalloc(&meter.sink, 256)) &&
             good(cudaMemset(meter.clean, 0, meter.bytes)) && good(cudaDeviceSynchronize()) &&
             tnl_context_set_stream(context, meter.stream) == TNL_OK;
    if (!opened)
        close_cuda();
    return opened;
}

static tnl_status device_failed(cudaError_t error) {
    return tnl_fail(meter.context, TNL_DEVICE_ERROR, "CUDA reports: %s", cudaGetErrorString(error));
}

static tnl_status warm_up(const bench_work *work) {
    meter.wait = least_wait;
    tnl_status status = work->launch(work->data);
    cudaError_t error = cudaStreamSynchronize(meter.stream);
    return status != TNL_OK || error == cudaSuccess ? status : device_failed(error);
}

/* Keep the device waiting, and then make its cache cold, unless the row is a warm one. */
static cudaError_t queue_preparations(const bench_work *work) {
    cudaError_t error = (cudaError_t)bench_queue_wait(meter.wait, meter.stream);
    if (error != cudaSuccess || work->rounds > 0)
        return error;
    error = cudaMemsetAsync(meter.dirty, 0x5a, meter.bytes, meter.stream);
    if (error == cudaSuccess)
        error = (cudaError_t)bench_queue_read(meter.clean, meter.bytes, meter.sink, meter.stream);
    return error;
}

/* One try. *ahead: all was queued before the device came to it. */
static tnl_status try_sample(const bench_work *work, double *cpu_seconds, bool *ahead) {
    cudaError_t error = queue_preparations(work);
    if (error == cudaSuccess)
        error = cudaEventRecord(meter.start, meter.stream);
    double cpu = measure_cpu_time();
    tnl_status status = error == cudaSuccess ? work->launch(work->data) : device_failed(error);
    *cpu_seconds = measure_cpu_time() - cpu;
    if (status == TNL_OK)
        error = cudaEventRecord(meter.stop, meter.stream);
    *ahead = cudaEventQuery(meter.start) == cudaErrorNotReady;
    cudaGetLastError(); /* that it was not ready */
    cudaError_t finished = cudaStreamSynchronize(meter.stream);
    if (status == TNL_OK && (error != cudaSuccess || finished != cudaSuccess))
        status = device_failed(error != cudaSuccess ? error : finished);
    return status;
}

static tnl_status sample(const bench_work *work, double *seconds, double *cpu_seconds) {
    bool ahead = false;
    for (int i = 0; !ahead && i < TRIES; i++) {
        tnl_status status = try_sample(work, cpu_seconds, &ahead);
        if (status != TNL_OK)
            return status;
        if (!ahead)
            meter.wait *= 2;
    }
    if (!ahead)
        return tnl_fail(meter.context, TNL_DEVICE_ERROR,
                        "the launch waits for the device: its time can't be taken");
    float milliseconds = 0;
    cudaError_t error = cudaEventElapsedTime(&milliseconds, meter.start, meter.stop);
    *seconds = 1e-3 * (double)milliseconds;
    return error == cudaSuccess ? TNL_OK : device_failed(error);
}

static int launches(const bench_work *work) {
    tnl_graph c;
    int kernels = -1;
    if (tnl_graph_begin(&c, meter.context)) {
        tnl_status status = work->launch(work->data);
        if (tnl_graph_end(&c) && status == TNL_OK)
            kernels = tnl_graph_kernels(&c);
    }
    tnl_graph_free(&c);
    return kernels;
}

const bench_meter bench_meter_cuda = {
    .cold_method = "before each sample a buffer of at least 256 MiB and twice the L2 is "
                   "overwritten, then a clean one of that size read",
    .rest = 4,
    .open = open_cuda,
    .close = close_cuda,
    .warm_up = warm_up,
    .sample = sample,
    .launches = launches};
