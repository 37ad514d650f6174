/* The samples of a row, and what is said of them: their median and their spread. */
#ifndef TNL_BENCH_SAMPLES_H
#define TNL_BENCH_SAMPLES_H

#ifdef __cplusplus
extern "C" {
#endif

enum { SAMPLES_MAX = 100 };

typedef struct bench_samples {
    int count;
    double seconds[SAMPLES_MAX];     /* of one launch */
    double cpu_seconds[SAMPLES_MAX]; /* that all threads of this process spent in it */
} bench_samples;

typedef struct bench_summary {
    double median, cpu_median;
    double spread; /* the interquartile range over the median */
} bench_summary;

/* All zero where there are no samples. */
bench_summary summarize(const bench_samples *samples);

#ifdef __cplusplus
}
#endif

#endif
