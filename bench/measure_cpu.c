/*
 * Sampling on the CPU, by the monotonic clock.
 *
 * A cold cache: before each sample every line of the memory that the launch works on is written
 * back and thrown out of all caches, by address. So the launch finds none of its data in a cache
 * and no dirty lines to pay for, however large the last-level cache is and whoever shares it; to
 * sweep that much memory through a cache of hundreds of megabytes would take far longer than most
 * samples. All threads take part, so that none is asleep when the launch begins.
 */
#include "bench/measure.h"

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { LINE = 64 };

#if defined(__x86_64__)

static const char cold_method[] =
    "clflush of every line of tensors and workspace before each sample";

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

static const char cold_method[] =
    "dc civac of every line of tensors and workspace before each sample";

static void flush(const char *start, const char *end) {
    for (const char *line = start; line < end; line += LINE)
        __asm__ volatile("dc civac, %0" ::"r"(line) : "memory");
    __asm__ volatile("dsb sy" ::: "memory");
}

#else

static const char cold_method[] =
    "none: this architecture has no way to flush a line, caches are warm";

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

/* ---- the meter ----------------------------------------------------------------------------- */

/* Nothing is needed beforehand. */
static bool open_cpu(tnl_context *context) {
    (void)context;
    return true;
}

static void close_cpu(void) {}

static tnl_status warm_up(const bench_work *work) {
    return work->launch(work->data);
}

static tnl_status sample(const bench_work *work, double *seconds, double *cpu_seconds) {
    make_cold(work);
    double cpu = measure_cpu_time();
    double start = measure_now();
    tnl_status status = work->launch(work->data);
    *seconds = measure_now() - start;
    *cpu_seconds = measure_cpu_time() - cpu;
    return status;
}

static int launches(const bench_work *work) {
    (void)work;
    return 1;
}

const bench_meter bench_meter_cpu = {.cold_method = cold_method,
                                     .open = open_cpu,
                                     .close = close_cpu,
                                     .warm_up = warm_up,
                                     .sample = sample,
                                     .launches = launches};
