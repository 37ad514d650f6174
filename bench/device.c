/* The table of devices. In a build without CUDA there is one kind only. */
#include "bench/device.h"

#include "core/context.h"

const bench_device *bench_device_of(const tnl_context *context) {
    static const bench_device cpu = {&bench_meter_cpu, &bench_standards_cpu, bench_sizes_cpu,
                                     .patience = 10,   .model_patience = 10, .seconds = 0.3};
#ifdef TNL_WITH_CUDA
    static const bench_device cuda = {&bench_meter_cuda, &bench_standards_cuda, bench_sizes_cuda,
                                      .patience = 0.15,  .model_patience = 1,   .seconds = 0.1};
    if (context->device == TNL_CUDA)
        return &cuda;
#endif
    (void)context;
    return &cpu;
}
