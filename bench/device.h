/* What differs between benchmarks on the CPU and on CUDA devices. */
#ifndef TNL_BENCH_DEVICE_H
#define TNL_BENCH_DEVICE_H

#include "bench/measure.h"
#include "bench/sizes.h"
#include "bench/yardsticks.h"

typedef struct bench_device {
    const bench_meter *meter;
    const bench_standards *standards;
    const size_sweep *sweeps;
    double patience;       /* seconds: a row whose launch is foreseen to take longer is skipped */
    double model_patience; /* the same of a whole model's launch */
    double seconds;        /* of samples for a row that has its 20 */
} bench_device;

/* A device that there can be a context for. */
const bench_device *bench_device_of(const tnl_context *context);

#endif
