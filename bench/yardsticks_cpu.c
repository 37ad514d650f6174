/*
 * Copies, by the better of the C library's memcpy and our own loop, whose stores go past the cache
 * (memcpy's do so from a size on that it derives from the cache's, too late on some machines), each
 * with all threads; and OpenBLAS's sgemm. Everything is from a cold cache, as the rows are.
 */
#include "bench/yardsticks.h"

#include <cblas.h>
#include <omp.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "core/types.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

/* Not zeros: equal pages might share memory. */
static void fill_words(uint64_t *to, size_t count, uint64_t seed) {
#pragma omp parallel for
    for (size_t i = 0; i < count; i++)
        to[i] = random_bits(seed, 0, i);
}

/* Beyond so many, the same again, of which a copy is made sooner. */
static bool fill(const tnl_context *context, void *memory, tnl_type type, size_t count, float size,
                 uint64_t seed) {
    (void)context;
    (void)type; /* the CPU's rows have only one */
    const size_t most = (size_t)1 << 22, made = count < most ? count : most;
    float *to = memory;
#pragma omp parallel for
    for (size_t i = 0; i < made; i++)
        to[i] = size * (2 * (float)random_uniform(seed, 0, i) - 1);
#pragma omp parallel for
    for (size_t i = most; i < count; i += most)
        memcpy(to + i, to, sizeof *to * (count - i < most ? count - i : most));
    return true;
}

/* ---- copies ------------------------------------------------------------------------------- */

typedef struct copy_task {
    unsigned char *to;
    const unsigned char *from;
    size_t bytes;
} copy_task;

/* This thread's part of a copy, in whole lines. */
static copy_task own_part(const copy_task *whole) {
    const size_t line = 64;
    size_t lines = (whole->bytes + line - 1) / line, threads = (size_t)omp_get_num_threads();
    size_t begin = lines * (size_t)omp_get_thread_num() / threads * line;
    size_t end = lines * ((size_t)omp_get_thread_num() + 1) / threads * line;
    if (end > whole->bytes)
        end = whole->bytes;
    return (copy_task){whole->to + begin, whole->from + begin, end - begin};
}

static tnl_status copy_by_library(void *data) {
#pragma omp parallel
    {
        copy_task part = own_part(data);
        memcpy(part.to, part.from, part.bytes);
    }
    return TNL_OK;
}

static tnl_status copy_past_cache(void *data) {
#pragma omp parallel
    {
        copy_task part = own_part(data);
        size_t i = 0;
#if defined(__AVX__)
        for (; i + 64 <= part.bytes; i += 64) {
            __m256i a = _mm256_load_si256((const __m256i *)(part.from + i));
            __m256i b = _mm256_load_si256((const __m256i *)(part.from + i + 32));
            _mm256_stream_si256((__m256i *)(part.to + i), a);
            _mm256_stream_si256((__m256i *)(part.to + i + 32), b);
        }
        _mm_sfence();
#endif
        memcpy(part.to + i, part.from + i, part.bytes - i);
    }
    return TNL_OK;
}

/* A few samples of each way decide which takes the rest. */
static tnl_status measure_copy(const bench_yardsticks *yardsticks, copy_task *copy,
                               bench_samples *taken) {
    const bench_limits few = {.least = 3, .least_slow = 1};
    bench_samples tried[2] = {{0}, {0}};
    bench_work work = {.launch = copy_by_library,
                       .data = copy,
                       .memory = {{copy->to, copy->bytes}, {copy->from, copy->bytes}},
                       .memory_count = 2};
    measure(&bench_meter_cpu, &work, &few, &tried[0]);
    work.launch = copy_past_cache;
    measure(&bench_meter_cpu, &work, &few, &tried[1]);
    if (summarize(&tried[0]).median < summarize(&tried[1]).median)
        work.launch = copy_by_library;
    return measure(&bench_meter_cpu, &work, &yardsticks->limits, taken);
}

static tnl_status copy_samples(const bench_yardsticks *yardsticks, size_t bytes,
                               bench_samples *taken) {
    copy_task copy = {.bytes = bytes};
    unsigned char *from = tnl_memory_allocate(TNL_CPU, copy.bytes + 1);
    copy.to = tnl_memory_allocate(TNL_CPU, copy.bytes + 1);
    copy.from = from;
    tnl_status status = TNL_OUT_OF_MEMORY;
    if (copy.from && copy.to) {
        fill_words((uint64_t *)from, copy.bytes / 8, yardsticks->seed);
        fill_words((uint64_t *)copy.to, copy.bytes / 8, yardsticks->seed + 1);
        status = measure_copy(yardsticks, &copy, taken);
    }
    tnl_memory_free(TNL_CPU, from);
    tnl_memory_free(TNL_CPU, copy.to);
    return status;
}

/* ---- GEMMs -------------------------------------------------------------------------------- */

typedef struct gemm_task {
    float *a, *b, *c;
    int m, n, k;
} gemm_task;

static tnl_status multiply(void *data) {
    const gemm_task *gemm = data;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, gemm->m, gemm->n, gemm->k, 1, gemm->a,
                gemm->k, gemm->b, gemm->k, 0, gemm->c, gemm->n);
    return TNL_OK;
}

static tnl_status gemm_samples(const bench_yardsticks *yardsticks, const gemm_size *size,
                               bench_samples *taken) {
    size_t a = (size_t)(size->m * size->k) * sizeof(float);
    size_t b = (size_t)(size->n * size->k) * sizeof(float);
    size_t c = (size_t)(size->m * size->n) * sizeof(float);
    gemm_task gemm = {.a = tnl_memory_allocate(TNL_CPU, a),
                      .b = tnl_memory_allocate(TNL_CPU, b),
                      .c = tnl_memory_allocate(TNL_CPU, c),
                      .m = (int)size->m,
                      .n = (int)size->n,
                      .k = (int)size->k};
    tnl_status status = TNL_OUT_OF_MEMORY;
    if (gemm.a && gemm.b && gemm.c) {
        fill(yardsticks->context, gemm.a, TNL_FLOAT32, a / sizeof(float), 0.5f, yardsticks->seed);
        fill(yardsticks->context, gemm.b, TNL_FLOAT32, b / sizeof(float), 0.5f,
             yardsticks->seed + 1);
        bench_work work = {.launch = multiply,
                           .data = &gemm,
                           .memory = {{gemm.a, a}, {gemm.b, b}, {gemm.c, c}},
                           .memory_count = 3};
        status = measure(&bench_meter_cpu, &work, &yardsticks->limits, taken);
    }
    tnl_memory_free(TNL_CPU, gemm.a);
    tnl_memory_free(TNL_CPU, gemm.b);
    tnl_memory_free(TNL_CPU, gemm.c);
    return status;
}

const bench_standards bench_standards_cpu = {.gemm_name = "blas",
                                             .gemm_types = TNL_F32,
                                             .main_type = TNL_FLOAT32,
                                             .copy_rate_bytes = 2048.0 * 1048576,
                                             .gemm_rate_size = 3072,
                                             .fill = fill,
                                             .copy = copy_samples,
                                             .gemm = gemm_samples};
