/*
 * tnl-bench: times every row of the table of variants, beside what the machine can do at most, and
 * keeps the times in results/<device>/bench.json.
 */
#define _GNU_SOURCE
#include <cblas.h>
#include <getopt.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/device.h"
#include "bench/results.h"
#include "bench/run.h"
#include "core/memory.h"
#include "core/table.h"
#include "verify/device.h"

typedef struct bench_options {
    const char *results, *device_name, *compare;
    tnl_device device;
    bool device_chosen, quick, print_device;
    int index;
    uint64_t seed;
} bench_options;

static void print_help(void) {
    puts("tnl-bench: time every row, into RESULTS/<device>/bench.json\n"
         "  --benchmark_filter=REGEX  only the rows whose names match; the others' results stay\n"
         "  --compare=OLD.json        say what became faster or slower since\n"
         "  --quick                   few sizes and samples, to see that everything runs\n"
         "  --results=DIR             where results are kept (results)\n"
         "  --device-name=NAME        the folder in there (from the device's model)\n"
         "  --cpu, --cuda=N           where to run (CUDA device 0, the CPU where there is none)\n"
         "  --seed=N                  of the random inputs (1)\n"
         "  --print-device            print the folder's name and stop\n"
         "Google Benchmark's own flags:");
    shim_print_help();
}

/* A number and nothing else. */
static bool parse_number(const char *text, uint64_t *number) {
    char *end;
    *number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0';
}

static bool parse_options(int argc, char **argv, bench_options *options) {
    enum { RESULTS = 1, DEVICE_NAME, COMPARE, CPU, CUDA, SEED, QUICK, PRINT_DEVICE };
    static const struct option known[] = {{"results", required_argument, NULL, RESULTS},
                                          {"device-name", required_argument, NULL, DEVICE_NAME},
                                          {"compare", required_argument, NULL, COMPARE},
                                          {"cpu", no_argument, NULL, CPU},
                                          {"cuda", required_argument, NULL, CUDA},
                                          {"seed", required_argument, NULL, SEED},
                                          {"quick", no_argument, NULL, QUICK},
                                          {"print-device", no_argument, NULL, PRINT_DEVICE},
                                          {NULL, 0, NULL, 0}};
    *options = (bench_options){.results = "results", .seed = 1};
    uint64_t number;
    for (int found; (found = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (found) {
        case RESULTS:
            options->results = optarg;
            break;
        case DEVICE_NAME:
            options->device_name = optarg;
            break;
        case COMPARE:
            options->compare = optarg;
            break;
        case CPU:
        case CUDA:
            options->device_chosen = true;
            options->device = found == CPU ? TNL_CPU : TNL_CUDA;
            if (found == CUDA && (!parse_number(optarg, &number) || number > 1024)) {
                fprintf(stderr, "--cuda=%s: expected a device's number\n", optarg);
                return false;
            }
            options->index = found == CUDA ? (int)number : 0;
            break;
        case SEED:
            if (!parse_number(optarg, &options->seed)) {
                fprintf(stderr, "--seed=%s: expected a number\n", optarg);
                return false;
            }
            break;
        case QUICK:
            options->quick = true;
            break;
        case PRINT_DEVICE:
            options->print_device = true;
            break;
        default:
            return false;
        }
    }
    if (optind < argc)
        fprintf(stderr, "%s: expected no such argument\n", argv[optind]);
    return optind == argc;
}

/* Say how many rows of this build want a CUDA device. */
static void tell_cuda_rows(void) {
    int rows = 0;
    for (int i = 0; i < tnl_variants_count; i++)
        rows += tnl_variants[i].device == TNL_CUDA && tnl_variants[i].kernel;
    if (rows > 0)
        fprintf(stderr, "no CUDA device: %d rows of the table can't be timed\n", rows);
}

/* The device asked for, or CUDA device 0 where there is one, else the CPU. */
static tnl_context *open_context(const bench_options *options) {
    tnl_context *context = NULL;
    tnl_status status;
    if (options->device_chosen) {
        status = tnl_context_create(options->device, options->index, &context);
    } else {
        status = tnl_context_create(TNL_CUDA, 0, &context);
        if (status == TNL_NO_DEVICE) {
            tell_cuda_rows();
            status = tnl_context_create(TNL_CPU, 0, &context);
        }
    }
    if (status == TNL_OK && !tnl_memory_select(context))
        status = TNL_DEVICE_ERROR;
    if (status == TNL_OK)
        return context;
    fprintf(stderr, "no context on the device: %s\n", tnl_status_name(status));
    tnl_context_destroy(context);
    return NULL;
}

/* What every row and the file's context say of this run. */
static json_t *make_stamp(const tnl_context *context, const char *device,
                          const bench_options *options) {
    device_description description;
    device_describe(context, &description);
    char commit[128], date[64];
    describe_commit(commit, sizeof commit);
    time_t now = time(NULL);
    struct tm local;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S%z", localtime_r(&now, &local));
    json_t *stamp = json_pack("{s:s, s:s, s:s, s:I, s:b}", "commit", commit, "date", date, "device",
                              device, "seed", (json_int_t)options->seed, "quick", options->quick);
    if (stamp && context->device == TNL_CUDA) {
        json_object_set_new(stamp, "driver", json_string(description.driver));
        json_object_set_new(stamp, "clock_mhz", json_integer(description.clock_mhz));
        json_object_set_new(stamp, "memory_clock_mhz", json_integer(description.memory_clock_mhz));
    }
    return stamp;
}

/* The rates of the run; gemm_rate is the main type's. */
static void stamp_rates(const bench_runner *runner, json_t *stamp) {
    const bench_yardsticks *rates = &runner->yardsticks;
    const bench_standards *standards = bench_device_of(runner->context)->standards;
    json_object_set_new(stamp, "copy_rate", json_real(rates->copy_rate));
    json_object_set_new(stamp, "gemm_rate", json_real(rates->gemm_rate[standards->main_type]));
    for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++) {
        char name[32];
        snprintf(name, sizeof name, "gemm_rate_%s", tnl_type_name(type));
        if (standards->gemm_types >> type & 1)
            json_object_set_new(stamp, name, json_real(rates->gemm_rate[type]));
    }
}

static void describe_number(const char *key, double number) {
    char text[64];
    snprintf(text, sizeof text, "%.0f", number);
    shim_context(key, text);
}

/* What the file's context says of the machine and of what the numbers mean. */
static void describe_run(const tnl_context *context) {
    device_description device;
    device_describe(context, &device);
    shim_context("model", device.model);
    describe_number("memory_bytes", device.memory);
    if (context->device == TNL_CUDA) {
        describe_number("multiprocessors", device.multiprocessors);
        describe_number("l2_bytes", device.cache);
        shim_context("cuda_runtime", device.runtime);
        describe_number("host_cores", device.cores);
    } else {
        describe_number("cores", device.cores);
        describe_number("omp_threads", omp_get_max_threads());
        shim_context("blas", openblas_get_config());
    }
    shim_context("compiler", "gcc " __VERSION__);
    shim_context("tnl_version", tnl_version());
    shim_context("cold_cache", bench_device_of(context)->meter->cold_method);
    if (bench_device_of(context)->meter->rest > 0) {
        char text[64];
        snprintf(text, sizeof text, "%g times the sample before, 20 ms at most",
                 bench_device_of(context)->meter->rest);
        shim_context("rest_before_a_sample", text);
    }
    shim_context("real_time", "median of the samples, one launch each");
    shim_context("cpu_time", "median of the CPU time that all threads spent in a launch");
    shim_context("spread", "interquartile range of the samples over their median");
    shim_context("gemm_share", "of the GEMM rate in the row's own type");
}

/* Register the rows that the filter lets through; their jobs, or NULL: out of memory. */
static bench_job *register_rows(bench_runner *runner, const row_list *rows) {
    bench_job *jobs = calloc((size_t)rows->count, sizeof *jobs);
    for (int i = 0; jobs && i < rows->count; i++) {
        jobs[i] = (bench_job){runner, &rows->row[i]};
        if (!shim_selects(rows->row[i].name))
            continue;
        shim_register(rows->row[i].name, run_row, &jobs[i]);
        runner->selected++;
    }
    return jobs;
}

/* Keep and show what was measured. */
static bool report(const bench_runner *runner, const char *text, const row_list *rows,
                   const bench_options *options, const char *device, json_t *old) {
    json_t *stamp = make_stamp(runner->context, device, options);
    if (!stamp)
        return false;
    stamp_rates(runner, stamp);
    const double gemm_rate = json_real_value(json_object_get(stamp, "gemm_rate"));
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/bench.json", options->results, device);
    json_t *run = results_parse(text, stamp, rows);
    json_decref(stamp);
    bool kept = run && results_merge(path, run, rows, !shim_filters());
    if (run && !shim_displays())
        results_print(run);
    if (run && old)
        results_compare(run, old);
    if (kept && !shim_displays())
        printf("\n%s: copies %.1f GB/s, GEMMs %.1f GFLOP/s. %d rows timed, %d failed, %d skipped, "
               "in %.0f s: %s\n",
               device, 1e-9 * runner->yardsticks.copy_rate, 1e-9 * gemm_rate,
               runner->selected - runner->failed - runner->skipped, runner->failed, runner->skipped,
               measure_now() - runner->started, path);
    json_decref(run);
    return kept;
}

static bool run_rows(tnl_context *context, const bench_options *options, const char *device,
                     json_t *old) {
    row_list rows;
    bench_runner runner;
    if (!rows_make(context, options->quick, options->seed, &rows))
        return false;
    bench_job *jobs = NULL;
    const bench_meter *meter = bench_device_of(context)->meter;
    if (!meter->open(context)) {
        fprintf(stderr, "no memory or stream to take samples with\n");
        rows_free(&rows);
        return false;
    }
    bool good = runner_open(&runner, context, options->quick, options->seed, rows.curves) &&
                (jobs = register_rows(&runner, &rows)) != NULL;
    if (good && runner.selected == 0) {
        fprintf(stderr, "no row's name matches the filter\n");
        good = false;
    }
    if (good) {
        describe_run(context);
        char *text = shim_run();
        if (text)
            good = report(&runner, text, &rows, options, device, old) && runner.failed == 0;
        free(text);
    }
    runner_close(&runner);
    meter->close();
    free(jobs);
    rows_free(&rows);
    return good;
}

int main(int argc, char **argv) {
    bench_options options;
    if (!shim_initialize(&argc, argv, print_help) || !parse_options(argc, argv, &options))
        return 2;
    json_t *old = options.compare ? results_read(options.compare) : NULL;
    if (options.compare && !old)
        return 2;
    tnl_context *context = open_context(&options);
    if (!context)
        return 2;
    char slug[128];
    device_slug(context, slug, sizeof slug);
    const char *device = options.device_name ? options.device_name : slug;
    bool good = true;
    if (options.print_device)
        puts(device);
    else
        good = run_rows(context, &options, device, old);
    json_decref(old);
    tnl_context_destroy(context);
    return good ? 0 : 1;
}
