/*
 * A sample: the time of one launch, from a cold cache. How a device's time is taken and its cache
 * made cold is known here alone.
 */
#ifndef TNL_BENCH_MEASURE_H
#define TNL_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/samples.h"
#include "core/call.h"

/* What is timed, and the memory that it works on. */
typedef struct bench_work {
    tnl_status (*launch)(void *data);
    void *data;
    struct {
        const void *start;
        size_t bytes;
    } memory[TNL_MAX_TENSORS + 1];
    int memory_count;
} bench_work;

/* How many samples a row takes. */
typedef struct bench_limits {
    int least;      /* at least so many, */
    int least_slow; /* or so many where one takes over a second, */
    double seconds; /* and as many more as fit into this time */
} bench_limits;

/* How caches are made cold, in words. */
const char *measure_cold_method(void);

/* Run it a few times without taking its time. */
tnl_status measure_warm_up(const bench_work *work);
/* Whether another sample is to be taken, `spent` seconds after the first began. */
bool measure_wants(const bench_limits *limits, const bench_samples *taken, double spent);
tnl_status measure_sample(const bench_work *work, double *seconds, double *cpu_seconds);
/* Warm up and take all samples. */
tnl_status measure(const bench_work *work, const bench_limits *limits, bench_samples *taken);

/* Seconds on a clock that only moves forwards. */
double measure_now(void);

#endif
