/*
 * A sample: the time of one launch, from a cold cache. How a device's time is taken and its cache
 * made cold is known to its meter alone.
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

/* How one kind of device is measured. */
typedef struct bench_meter {
    const char *cold_method; /* how caches are made cold, in words */
    /* A sample waits for so many times what the one before took, 20 ms at most, and the first for
     * 20 ms. A GPU that multiplies matrices without a pause exceeds its power limit before long and
     * lowers its clock by a tenth, at no certain moment; rested it keeps its full clock. */
    double rest;
    /* What samples on the context's device need, made once; false: it could not be had. */
    bool (*open)(tnl_context *context);
    void (*close)(void);
    tnl_status (*warm_up)(const bench_work *work); /* one launch, and wait for it */
    tnl_status (*sample)(const bench_work *work, double *seconds, double *cpu_seconds);
    int (*launches)(const bench_work *work); /* kernels in a launch; -1: unknown */
} bench_meter;

extern const bench_meter bench_meter_cpu, bench_meter_cuda;

/* Run it a few times without taking its time. */
tnl_status measure_warm_up(const bench_meter *meter, const bench_work *work);
/* Whether one launch takes no longer than so many seconds. Of two, since what the first does may be
 * more than the work; a failed one is left for others to find. */
bool measure_is_within(const bench_meter *meter, const bench_work *work, double seconds);
/* Whether another sample is to be taken, `spent` seconds after the first began. */
bool measure_wants(const bench_limits *limits, const bench_samples *taken, double spent);
/* Take one sample more, after a rest. */
tnl_status measure_sample(const bench_meter *meter, const bench_work *work, bench_samples *taken);
/* Warm up and take all samples. */
tnl_status measure(const bench_meter *meter, const bench_work *work, const bench_limits *limits,
                   bench_samples *taken);

/* Seconds on a clock that only moves forwards, and of CPU time that all threads have spent. */
double measure_now(void);
double measure_cpu_time(void);

#endif
