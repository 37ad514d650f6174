/*
 * One row: its inputs made from the seed, its workspace, a warm-up, and then the samples, one
 * launch each, through the very function that a user calls. A warm row's launches, and the samples
 * of a small cold one, go through several sets of tensors by turns.
 *
 * A row can be skipped, with the reason in its place: when the memory that it needs is not there,
 * when no variant of that name takes the call, or when it would try one's patience. The last is
 * foreseen from the row's own curve: the last two sizes give the power of the size that the time
 * grows with, and that gives the next. Where a row has none before it, as in a part of a run, its
 * first launches tell, so that the same rows are skipped whichever are selected.
 */
#include "bench/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/device.h"
#include "bench/models.h"
#include "core/memory.h"
#include "verify/device.h"

typedef struct curve_end {
    double size[2], seconds[2]; /* of the last two rows that ran, the later one second */
} curve_end;

enum { NO_PROBLEM = -1 };

bool runner_open(bench_runner *runner, tnl_context *context, bool quick, uint64_t seed,
                 int curves) {
    const bench_device *device = bench_device_of(context);
    *runner = (bench_runner){.context = context,
                             .meter = device->meter,
                             .limits = {.least = 20, .least_slow = 3, .seconds = device->seconds},
                             .patience = device->patience,
                             .problem_number = NO_PROBLEM,
                             .progress = isatty(STDERR_FILENO),
                             .started = measure_now()};
    if (quick)
        runner->limits = (bench_limits){.least = 3, .least_slow = 1, .seconds = 0};
    runner->yardsticks =
        (bench_yardsticks){.context = context, .limits = runner->limits, .seed = seed};
    runner->curve = calloc((size_t)curves, sizeof *runner->curve);
    return runner->curve != NULL;
}

void runner_drop_problem(bench_runner *runner) {
    rotation_free(&runner->rotation);
    if (runner->problem_number != NO_PROBLEM)
        problem_free(&runner->problem);
    runner->problem_number = NO_PROBLEM;
}

void runner_close(bench_runner *runner) {
    models_drop(runner);
    runner_drop_problem(runner);
    yardsticks_free(&runner->yardsticks);
    free(runner->curve);
}

/* ---- why a row has no time ----------------------------------------------------------------- */

void job_skip(const bench_job *job, shim_state *state, const char *reason) {
    char text[1200];
    snprintf(text, sizeof text, "skipped: %s", reason);
    shim_skip(state, text);
    job->runner->skipped++;
}

void job_fail(const bench_job *job, shim_state *state, const char *reason) {
    char text[1200];
    snprintf(text, sizeof text, "failed: %s", reason);
    shim_skip(state, text);
    job->runner->failed++;
}

bool job_fits(const bench_job *job, shim_state *state, double bytes, double needed) {
    double available = device_free_memory(job->runner->context);
    if (bytes <= available)
        return true;
    char text[128];
    snprintf(text, sizeof text, "needs %.0f bytes of memory, %.0f are left for it", needed,
             needed - bytes + available);
    shim_counter(state, "needed_bytes", needed);
    job_skip(job, state, text);
    return false;
}

/* ---- patience ------------------------------------------------------------------------------ */

/* The time that a launch of this size is likely to take; 0 where there is nothing to go by. No
 * operator's grows faster than the square of a size, whatever two disturbed times may say. */
static double foresee(const curve_end *curve, double size) {
    const double *s = curve->size, *t = curve->seconds;
    if (t[1] == 0 || size <= s[1])
        return 0;
    double power = t[0] > 0 ? log(t[1] / t[0]) / log(s[1] / s[0]) : 1;
    return t[1] * pow(size / s[1], fmin(fmax(power, 1), 2));
}

static bool patient(const bench_job *job, shim_state *state) {
    double seconds = foresee(&job->runner->curve[job->row->curve], job->row->size);
    if (seconds <= job->runner->patience)
        return true;
    char text[128];
    snprintf(text, sizeof text,
             "going by the sizes before, one launch would take %.2g s, over %g s", seconds,
             job->runner->patience);
    job_skip(job, state, text);
    return false;
}

bool job_is_within(const bench_job *job, shim_state *state, const bench_work *work,
                   double patience) {
    if (measure_is_within(job->runner->meter, work, patience))
        return true;
    char text[64];
    snprintf(text, sizeof text, "one launch takes over %g s", patience);
    job_skip(job, state, text);
    return false;
}

static void remember(curve_end *curve, double size, double seconds) {
    curve->size[0] = curve->size[1];
    curve->seconds[0] = curve->seconds[1];
    curve->size[1] = size;
    curve->seconds[1] = seconds;
}

/* ---- an operator's row --------------------------------------------------------------------- */

typedef struct row_launch {
    const bench_job *job;
    void *workspace;
    size_t workspace_bytes;
    int sets, turn; /* of tensors; the number of the next one's turn */
} row_launch;

/* A launch on the set whose turn it is; of a warm row, one on each. */
static tnl_status launch_row(void *data) {
    row_launch *launch = data;
    bench_runner *runner = launch->job->runner;
    const bench_row *row = launch->job->row;
    tnl_status status = TNL_OK;
    for (int i = 0; i < (row->warm ? launch->sets : 1) && status == TNL_OK; i++) {
        const int set = launch->turn++ % launch->sets;
        const problem *p = set == 0 ? &runner->problem : &runner->rotation.more[set - 1];
        status = problem_run(p, runner->context, row->variant->name, launch->workspace,
                             launch->workspace_bytes);
    }
    return status;
}

/* Samples of the row and, where `bare` has a launch, by turns of that. */
static bool take_samples(const bench_job *job, shim_state *state, const bench_work *work,
                         const bench_work *bare, bench_samples *bare_taken) {
    bench_samples taken = {0};
    const bench_meter *meter = job->runner->meter;
    tnl_status status = measure_warm_up(meter, work);
    if (status == TNL_OK && bare->launch)
        status = measure_warm_up(meter, bare);
    double start = measure_now();
    while (status == TNL_OK && shim_next(state)) {
        if (!measure_wants(&job->runner->limits, &taken, measure_now() - start))
            continue;
        const int number = taken.count;
        status = measure_sample(meter, work, &taken);
        if (status != TNL_OK)
            break;
        if (work->rounds > 0) {
            taken.seconds[number] /= work->rounds;
            taken.cpu_seconds[number] /= work->rounds;
        }
        shim_sample(state, taken.seconds[number], taken.cpu_seconds[number]);
        if (bare->launch)
            status = measure_sample(meter, bare, bare_taken);
    }
    if (status != TNL_OK)
        job_fail(job, state, tnl_context_error(job->runner->context));
    return status == TNL_OK;
}

/* The GEMMs that the row is held against, as a work; none where there are none, or no memory. */
static bench_work make_bare(const bench_runner *runner, const bench_row *row) {
    const bench_standards *standards = bench_device_of(runner->context)->standards;
    bench_work bare = {.launch = NULL};
    if (row->bare.count > 0 && standards->bare_make &&
        standards->bare_make(&runner->yardsticks, &row->bare, &bare) != TNL_OK)
        bare.launch = NULL;
    return bare;
}

static void count_bare(shim_state *state, const bench_samples *bare, double seconds) {
    if (bare->count == 0)
        return;
    const double median = summarize(bare).median;
    shim_counter(state, "bare_gemms_ms", 1e3 * median);
    shim_counter(state, "bare_gemms_share", median / seconds);
}

/* The times that the row's bytes and operations need by the yardsticks, as shares of its own. A
 * copy of the same size is measured cold, so it is no match for a warm row; a model's bytes are so
 * many that the copy rate says the same. */
static void count_shares(bench_runner *runner, const bench_row *row, double seconds,
                         shim_state *state) {
    const bench_yardsticks *rate = &runner->yardsticks;
    if (rate->copy_rate > 0)
        shim_counter(state, "copy_share", row->bytes / rate->copy_rate / seconds);
    const double gemm_rate =
        rate->gemm_rate[row->kind == ROW_OPERATOR ? row->spec.type : row->type];
    if (gemm_rate > 0 && row->flops > 0)
        shim_counter(state, "gemm_share", row->flops / gemm_rate / seconds);
    const bool alike = !row->warm && row->kind != ROW_MODEL;
    const bench_samples *copy =
        alike ? yardsticks_copy(&runner->yardsticks, copy_size(row->bytes)) : NULL;
    if (copy)
        shim_counter(state, "copy_share_same_size", summarize(copy).median / seconds);
}

bool job_time(const bench_job *job, shim_state *state, const bench_work *work) {
    bench_runner *runner = job->runner;
    bench_samples bare_taken = {0};
    bench_work bare = make_bare(runner, job->row);
    const bool taken = take_samples(job, state, work, &bare, &bare_taken);
    if (bare.launch)
        bench_device_of(runner->context)->standards->bare_free(&bare);
    if (!taken)
        return false;
    const double seconds = shim_summary(state).median;
    count_shares(runner, job->row, seconds, state);
    count_bare(state, &bare_taken, seconds);
    return true;
}

static void time_launch(const bench_job *job, shim_state *state, row_launch *launch) {
    bench_runner *runner = job->runner;
    const bench_row *row = job->row;
    launch->sets = 1 + (row->warm ? runner->rotation.count
                                  : rotation_count(&row->spec, runner->context, false));
    bench_work work = {
        .launch = launch_row, .data = launch, .rounds = row->warm ? launch->sets : 0};
    for (int i = 0; i < tnl_operators[row->spec.op].argument_count; i++) {
        const tnl_tensor *tensor = &runner->problem.tensor[i];
        if (!tensor->data)
            continue;
        work.memory[work.memory_count].start = tensor->data;
        work.memory[work.memory_count++].bytes = (size_t)tnl_tensor_bytes(tensor);
    }
    work.memory[work.memory_count].start = launch->workspace;
    work.memory[work.memory_count++].bytes = launch->workspace_bytes;
    if (!job_is_within(job, state, &work, runner->patience))
        return;
    if (!job_time(job, state, &work))
        return;
    if (!row->warm)
        remember(&runner->curve[row->curve], row->size, shim_summary(state).median);
    const int launches = runner->meter->launches(&work);
    if (launches >= 0)
        shim_counter(state, "launches", launches / (row->warm ? work.rounds : 1));
}

/* The row's problem in runner->problem: the one already there, or a new one. */
static bool have_problem(const bench_job *job, shim_state *state) {
    bench_runner *runner = job->runner;
    if (runner->problem_number == job->row->problem)
        return true;
    runner_drop_problem(runner);
    double bytes = problem_bytes(&job->row->spec);
    if (!job_fits(job, state, bytes, bytes))
        return false;
    if (!problem_make(&job->row->spec, runner->context, &runner->problem)) {
        job_fail(job, state, "out of memory for the tensors");
        return false;
    }
    runner->problem_number = job->row->problem;
    return true;
}

/* The other sets of tensors that a row goes through. */
static bool have_rotation(const bench_job *job, shim_state *state) {
    bench_runner *runner = job->runner;
    const problem_spec *spec = &job->row->spec;
    const int count = rotation_count(spec, runner->context, job->row->warm);
    const double bytes = problem_bytes(spec);
    if (runner->rotation.count < count && !job_fits(job, state, count * bytes, (count + 1) * bytes))
        return false;
    if (!rotation_make(&runner->rotation, spec, count, runner->context)) {
        job_fail(job, state, "out of memory for the tensors");
        return false;
    }
    return true;
}

/* The bytes of workspace, and with them what the row is known to need before it runs. */
static bool have_workspace_size(const bench_job *job, shim_state *state, size_t *bytes) {
    bench_runner *runner = job->runner;
    tnl_status status =
        problem_workspace(&runner->problem, runner->context, job->row->variant->name, bytes);
    if (status != TNL_OK) {
        (status == TNL_UNSUPPORTED ? job_skip : job_fail)(job, state,
                                                          tnl_context_error(runner->context));
        return false;
    }
    shim_counter(state, "bytes", job->row->bytes);
    if (job->row->flops > 0)
        shim_counter(state, "flops", job->row->flops);
    shim_counter(state, "peak_bytes", job->row->output_bytes + (double)*bytes);
    return job_fits(job, state, (double)*bytes, problem_bytes(&job->row->spec) + (double)*bytes);
}

static void run_operator(const bench_job *job, shim_state *state) {
    bench_runner *runner = job->runner;
    row_launch launch = {.job = job};
    /* While there is memory for it: the rates, and the copy that this row is held against. */
    yardsticks_measure_rates(&runner->yardsticks);
    yardsticks_copy(&runner->yardsticks, copy_size(job->row->bytes));
    if (!have_problem(job, state) || !have_rotation(job, state) ||
        !have_workspace_size(job, state, &launch.workspace_bytes) || !patient(job, state))
        return;
    if (launch.workspace_bytes > 0) {
        launch.workspace = tnl_memory_allocate(runner->context->device, launch.workspace_bytes);
        if (!launch.workspace) {
            job_fail(job, state, "out of memory for the workspace");
            return;
        }
    }
    time_launch(job, state, &launch);
    tnl_memory_free(runner->context->device, launch.workspace);
}

/* ---- a yardstick's row --------------------------------------------------------------------- */

static const bench_samples *samples_of(bench_yardsticks *yardsticks, const bench_row *row) {
    switch (row->kind) {
    case ROW_COPY:
        return yardsticks_copy(yardsticks, row->bytes);
    case ROW_GEMM:
        return yardsticks_gemm(yardsticks, row->type, row->m, row->n, row->k);
    default:
        return yardsticks_empty(yardsticks);
    }
}

static void run_yardstick(const bench_job *job, shim_state *state) {
    bench_runner *runner = job->runner;
    const bench_row *row = job->row;
    runner_drop_problem(runner);
    yardsticks_measure_rates(&runner->yardsticks);
    const bench_samples *taken = samples_of(&runner->yardsticks, row);
    if (!taken) {
        shim_counter(state, "needed_bytes", row->bytes);
        job_skip(job, state, "not enough memory");
        return;
    }
    for (int i = 0; shim_next(state); i++)
        if (i < taken->count)
            shim_sample(state, taken->seconds[i], taken->cpu_seconds[i]);
    shim_counter(state, "launches", 1);
    if (row->kind == ROW_EMPTY)
        return;
    count_shares(runner, row, summarize(taken).median, state);
    shim_counter(state, "bytes", row->bytes);
    if (row->flops > 0)
        shim_counter(state, "flops", row->flops);
    shim_counter(state, "peak_bytes",
                 row->kind == ROW_COPY
                     ? row->bytes / 2
                     : (double)tnl_type_size(row->type) * (double)(row->m * row->n));
}

/* ---- progress ------------------------------------------------------------------------------ */

static void show_progress(const bench_runner *runner, const bench_row *row) {
    double spent = measure_now() - runner->started;
    fprintf(stderr, "\r\033[K%d/%d  %d:%02d", runner->done + 1, runner->selected, (int)spent / 60,
            (int)spent % 60);
    if (runner->done > 0) {
        int left = (int)(spent / runner->done * (runner->selected - runner->done));
        fprintf(stderr, ", about %d:%02d left", left / 60, left % 60);
    }
    fprintf(stderr, "  %s", row->name);
    fflush(stderr);
}

void run_row(shim_state *state, void *data) {
    const bench_job *job = data;
    bench_runner *runner = job->runner;
    if (runner->progress)
        show_progress(runner, job->row);
    if (job->row->kind != ROW_MODEL)
        models_drop(runner);
    if (job->row->kind == ROW_OPERATOR)
        run_operator(job, state);
    else if (job->row->kind == ROW_MODEL)
        run_model(job, state);
    else
        run_yardstick(job, state);
    runner->done++;
    if (runner->progress && runner->done == runner->selected)
        fputs("\r\033[K", stderr);
}
