/*
 * The yardsticks: how fast this device copies memory and multiplies matrices. Each size is
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
    double gemm_rate[TNL_BFLOAT16 + 1]; /* operations a second, by type; 0 likewise */
    struct yardstick *measured;
    int count;
} bench_yardsticks;

/* C = A B^T, [m,n] = [m,k] [n,k]^T, sums in float32. */
typedef struct gemm_size {
    tnl_type type;
    int64_t m, n, k;
} gemm_size;

/* The GEMMs that an operator is made of, bare, launched one after another. `product`: with the
 * elementwise product of the first two's results, in its own kernel, as the third's left operand.
 */
enum { BARE_GEMMS_MAX = 6 };
typedef struct bare_gemms {
    gemm_size gemm[BARE_GEMMS_MAX];
    int count;
    bool product;
    int repeats; /* all of them so many times, one layer of a model after another; 0: once */
} bare_gemms;

/* How one kind of device does what is measured, and at which size the rates are taken. */
typedef struct bench_standards {
    const char *gemm_name;
    unsigned gemm_types; /* bits of the types that there are GEMMs for */
    tnl_type main_type;  /* the one whose rate stands for the device */
    double copy_rate_bytes;
    int64_t gemm_rate_size; /* m = n = k */
    /* Random numbers, even from -size to size, into the device's memory. */
    bool (*fill)(const tnl_context *, void *memory, tnl_type, size_t count, float size,
                 uint64_t seed);
    /* The better of two ways to copy so many bytes. */
    tnl_status (*copy)(const bench_yardsticks *, size_t bytes, bench_samples *);
    tnl_status (*gemm)(const bench_yardsticks *, const gemm_size *, bench_samples *);
    /* Make them one work, to be sampled by turns with a row; and free it. NULL: rows are not held
     * against GEMMs so. */
    tnl_status (*bare_make)(const bench_yardsticks *, const bare_gemms *, bench_work *);
    void (*bare_free)(bench_work *);
    /* A kernel that does nothing; NULL: the device launches none. */
    tnl_status (*empty)(const bench_yardsticks *, bench_samples *);
} bench_standards;

extern const bench_standards bench_standards_cpu, bench_standards_cuda;

/* Measure the rates, unless that has been done. */
void yardsticks_measure_rates(bench_yardsticks *yardsticks);
/* A copy that moves so many bytes in total, half of them read and half written. */
const bench_samples *yardsticks_copy(bench_yardsticks *yardsticks, double bytes);
const bench_samples *yardsticks_gemm(bench_yardsticks *yardsticks, tnl_type type, int64_t m,
                                     int64_t n, int64_t k);
const bench_samples *yardsticks_empty(bench_yardsticks *yardsticks);
void yardsticks_free(bench_yardsticks *yardsticks);

#endif
