/* The yardsticks, each measured once; how, its device knows. */
#include "bench/yardsticks.h"

#include <stdlib.h>

#include "bench/device.h"
#include "verify/device.h"

/* A copy of m bytes where there is no n; nothing at all where there is no m. */
typedef struct yardstick {
    gemm_size size;
    bench_samples *samples;
} yardstick;

static bool same_size(const gemm_size *a, const gemm_size *b) {
    return a->type == b->type && a->m == b->m && a->n == b->n && a->k == b->k;
}

static double bytes_needed(const gemm_size *size) {
    double m = (double)size->m, n = (double)size->n, k = (double)size->k;
    return n > 0 ? (double)tnl_type_size(size->type) * (m * k + n * k + m * n) : 2 * m;
}

static tnl_status measure_size(const bench_yardsticks *yardsticks, const gemm_size *size,
                               bench_samples *taken) {
    const bench_standards *standards = bench_device_of(yardsticks->context)->standards;
    if (device_free_memory(yardsticks->context) < bytes_needed(size))
        return TNL_OUT_OF_MEMORY;
    if (size->n)
        return standards->gemm(yardsticks, size, taken);
    return size->m ? standards->copy(yardsticks, (size_t)size->m, taken)
                   : standards->empty(yardsticks, taken);
}

static const bench_samples *find_or_measure(bench_yardsticks *yardsticks, gemm_size size) {
    for (int i = 0; i < yardsticks->count; i++)
        if (same_size(&yardsticks->measured[i].size, &size))
            return yardsticks->measured[i].samples;
    size_t count = (size_t)yardsticks->count + 1;
    yardstick *grown = realloc(yardsticks->measured, count * sizeof *grown);
    if (!grown)
        return NULL;
    yardsticks->measured = grown;
    bench_samples *samples = calloc(1, sizeof *samples);
    if (!samples)
        return NULL;
    if (measure_size(yardsticks, &size, samples) != TNL_OK) {
        free(samples);
        samples = NULL;
    }
    grown[yardsticks->count++] = (yardstick){size, samples};
    return samples;
}

const bench_samples *yardsticks_copy(bench_yardsticks *yardsticks, double bytes) {
    return find_or_measure(yardsticks, (gemm_size){.m = (int64_t)(bytes / 2)});
}

const bench_samples *yardsticks_gemm(bench_yardsticks *yardsticks, tnl_type type, int64_t m,
                                     int64_t n, int64_t k) {
    return find_or_measure(yardsticks, (gemm_size){type, m, n, k});
}

const bench_samples *yardsticks_empty(bench_yardsticks *yardsticks) {
    return find_or_measure(yardsticks, (gemm_size){.m = 0});
}

void yardsticks_measure_rates(bench_yardsticks *yardsticks) {
    const bench_standards *standards = bench_device_of(yardsticks->context)->standards;
    const double bytes = standards->copy_rate_bytes, size = (double)standards->gemm_rate_size;
    const bench_samples *copy = yardsticks_copy(yardsticks, bytes);
    yardsticks->copy_rate = copy ? bytes / summarize(copy).median : 0;
    for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++) {
        const int64_t n = standards->gemm_types >> type & 1 ? standards->gemm_rate_size : 0;
        const bench_samples *gemm = n ? yardsticks_gemm(yardsticks, type, n, n, n) : NULL;
        yardsticks->gemm_rate[type] = gemm ? 2 * size * size * size / summarize(gemm).median : 0;
    }
}

void yardsticks_free(bench_yardsticks *yardsticks) {
    for (int i = 0; i < yardsticks->count; i++)
        free(yardsticks->measured[i].samples);
    free(yardsticks->measured);
    yardsticks->measured = NULL;
    yardsticks->count = 0;
}
