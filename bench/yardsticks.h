/*
 * The yardsticks: how fast this machine copies memory and multiplies matrices. Each size is
 * measured once, when it is first asked for; samples are NULL where memory is short.
 */
#ifndef TNL_BENCH_YARDSTICKS_H
#define TNL_BENCH_YARDSTICKS_H

#include <stdint.h>

#include "bench/measure.h"

typedef struct bench_yardsticks {
    const tnl_context *context;
    bench_limits limits;
    uint64_t seed;
    double copy_rate; /* bytes read and written a second; 0: not measured yet, or no memory */
    double gemm_rate; /* operations a second */
    struct yardstick *measured;
    int count;
} bench_yardsticks;

/* Measure the two rates, unless that has been done. */
void yardsticks_measure_rates(bench_yardsticks *yardsticks);
/* A copy that moves so many bytes in total, half of them read and half written. */
const bench_samples *yardsticks_copy(bench_yardsticks *yardsticks, double bytes);
/* C = A B^T, [m,n] = [m,k] [n,k]^T, float32. */
const bench_samples *yardsticks_gemm(bench_yardsticks *yardsticks, int64_t m, int64_t n, int64_t k);
void yardsticks_free(bench_yardsticks *yardsticks);

#endif
