/* Sampling, as far as it is the same on every device. */
#define _GNU_SOURCE
#include "bench/measure.h"

#include <math.h>
#include <time.h>

static double seconds_of(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double measure_now(void) {
    return seconds_of(CLOCK_MONOTONIC);
}

double measure_cpu_time(void) {
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

tnl_status measure_warm_up(const bench_meter *meter, const bench_work *work) {
    const int most = 3;
    const double enough = 0.05;
    double start = measure_now();
    tnl_status status = meter->warm_up(work);
    for (int i = 1; status == TNL_OK && i < most && measure_now() - start < enough; i++)
        status = meter->warm_up(work);
    return status;
}

bool measure_is_within(const bench_meter *meter, const bench_work *work, double seconds) {
    for (int i = 0; i < 2; i++) {
        const double start = measure_now();
        if (meter->warm_up(work) != TNL_OK || measure_now() - start <= seconds)
            return true;
    }
    return false;
}

bool measure_wants(const bench_limits *limits, const bench_samples *taken, double spent) {
    double sum = 0;
    for (int i = 0; i < taken->count; i++)
        sum += taken->seconds[i];
    int least = sum > taken->count ? limits->least_slow : limits->least;
    return taken->count < SAMPLES_MAX && (taken->count < least || spent < limits->seconds);
}

/* So that the clock does not pay for the power that the launches before have taken. */
static void rest(const bench_meter *meter, const bench_samples *taken) {
    const double most = 0.02;
    double seconds = most;
    if (meter->rest == 0)
        return;
    if (taken->count > 0)
        seconds = fmin(meter->rest * taken->seconds[taken->count - 1], most);
    nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * seconds)}, NULL);
}

tnl_status measure_sample(const bench_meter *meter, const bench_work *work, bench_samples *taken) {
    rest(meter, taken);
    tnl_status status =
        meter->sample(work, &taken->seconds[taken->count], &taken->cpu_seconds[taken->count]);
    taken->count += status == TNL_OK;
    return status;
}

tnl_status measure(const bench_meter *meter, const bench_work *work, const bench_limits *limits,
                   bench_samples *taken) {
    tnl_status status = measure_warm_up(meter, work);
    double start = measure_now();
    while (status == TNL_OK && measure_wants(limits, taken, measure_now() - start))
        status = measure_sample(meter, work, taken);
    return status;
}
