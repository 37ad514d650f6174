/*
 * Sampling on the CPU, by the monotonic clock.
 *
 * A cold cache: before each sample every line of the memory that the launch works on is written
 * back and thrown out of all caches, by address. So the launch finds none of its data in a cache
 * and no dirty lines to pay for, however large the last-level cache is and whoever shares it; to
 * sweep that much memory through a cache of hundreds of megabytes would take far longer than most
 * samples. All threads take part, so that none is asleep when the launch begins.
 */
#define _GNU_SOURCE
#include "bench/measure.h"

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static double seconds_of(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double measure_now(void) {
    return seconds_of(CLOCK_MONOTONIC);
}

/* ---- the cold cache ------------------------------------------------------------------------ */

enum { LINE = 64 };

#if defined(__x86_64__)

const char *measure_cold_method(void) {
    return "clflush of every line of tensors and workspace before each sample";
}

static void flush_lines(const char *start, const char *end) {
    for (const char *line = start; line < end; line += LINE)
        _mm_clflush(line);
    _mm_mfence();
}

__attribute__((target("clflushopt"))) static void flush_lines_fast(const char *start,
                                                                   const char *end) {
    for (const char *line = start; line < end; line += LINE)
        _mm_clflushopt((void *)(uintptr_t)line);
    _mm_mfence();
}

static void flush(const char *start, const char *end) {
    if (__builtin_cpu_supports("clflushopt"))
        flush_lines_fast(start, end);
    else
        flush_lines(start, end);
}

#elif defined(__aarch64__)

const char *measure_cold_method(void) {
    return "dc civac of every line of tensors and workspace before each sample";
}

static void flush(const char *start, const char *end) {
    for (const char *line = start; line < end; line += LINE)
        __asm__ volatile("dc civac, %0" ::"r"(line) : "memory");
    __asm__ volatile("dsb sy" ::: "memory");
}

#else

const char *measure_cold_method(void) {
    return "none: this architecture has no way to flush a line, caches are warm";
}

static void flush(const char *start, const char *end) {
    (void)start;
    (void)end;
}

#endif

static void make_cold(const bench_work *work) {
    const intptr_t piece = 1 << 20;
    for (int i = 0; i < work->memory_count; i++) {
        const char *start = work->memory[i].start;
        const char *end = start + work->memory[i].bytes;
#pragma omp parallel for schedule(static)
        for (intptr_t offset = 0; offset < end - start; offset += piece)
            flush(start + offset, end - start - offset < piece ? end : start + offset + piece);
    }
}

/* ---- samples ------------------------------------------------------------------------------ */

tnl_status measure_warm_up(const bench_work *work) {
    const int most = 3;
    const double enough = 0.05;
    double start = measure_now();
    tnl_status status = work->launch(work->data);
    for (int i = 1; status == TNL_OK && i < most && measure_now() - start < enough; i++)
        status = work->launch(work->data);
    return status;
}

bool measure_wants(const bench_limits *limits, const bench_samples *taken, double spent) {
    double sum = 0;
    for (int i = 0; i < taken->count; i++)
        sum += taken->seconds[i];
    int least = sum > taken->count ? limits->least_slow : limits->least;
    return taken->count < SAMPLES_MAX && (taken->count < least || spent < limits->seconds);
}

tnl_status measure_sample(const bench_work *work, double *seconds, double *cpu_seconds) {
    make_cold(work);
    double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    double start = measure_now();
    tnl_status status = work->launch(work->data);
    *seconds = measure_now() - start;
    *cpu_seconds = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    return status;
}

tnl_status measure(const bench_work *work, const bench_limits *limits, bench_samples *taken) {
    tnl_status status = measure_warm_up(work);
    double start = measure_now();
    while (status == TNL_OK && measure_wants(limits, taken, measure_now() - start)) {
        status =
            measure_sample(work, &taken->seconds[taken->count], &taken->cpu_seconds[taken->count]);
        taken->count += status == TNL_OK;
    }
    return status;
}
