/* Order statistics of samples. Quantiles between two samples are interpolated. */
#include "bench/samples.h"

#include <stdlib.h>
#include <string.h>

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int count, double fraction) {
    double place = fraction * (count - 1);
    int below = (int)place, above = below + (below + 1 < count);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

bench_summary summarize(const bench_samples *samples) {
    bench_summary summary = {0};
    int count = samples->count;
    if (count == 0)
        return summary;
    double sorted[SAMPLES_MAX];
    memcpy(sorted, samples->cpu_seconds, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    summary.cpu_median = quantile(sorted, count, 0.5);
    memcpy(sorted, samples->seconds, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    summary.median = quantile(sorted, count, 0.5);
    double range = quantile(sorted, count, 0.75) - quantile(sorted, count, 0.25);
    summary.spread = summary.median > 0 ? range / summary.median : 0;
    return summary;
}
