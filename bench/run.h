/* Running rows: what a body does for an operator, a copy and a GEMM, and the progress display. */
#ifndef TNL_BENCH_RUN_H
#define TNL_BENCH_RUN_H

#include "bench/rotation.h"
#include "bench/shim.h"
#include "bench/sweeps.h"
#include "bench/yardsticks.h"

typedef struct bench_runner {
    tnl_context *context;
    const bench_meter *meter;
    bench_limits limits;
    double patience; /* seconds: a row whose launch is foreseen to take longer is skipped */
    bench_yardsticks yardsticks;

    problem problem; /* the one that the last row left, for the next to use again */
    int problem_number;
    bench_rotation rotation;   /* more of the same, once a row has asked for them */
    struct curve_end *curve;   /* by number */
    struct bench_model *model; /* the one that the last row left; NULL: none */

    int selected, done, failed, skipped;
    bool progress;
    double started;
} bench_runner;

/* A row and what runs it: what a body is given. */
typedef struct bench_job {
    bench_runner *runner;
    const bench_row *row;
} bench_job;

/* false: out of memory. */
bool runner_open(bench_runner *runner, tnl_context *context, bool quick, uint64_t seed, int curves);
void runner_close(bench_runner *runner);

/* What the bodies of rows share. Why a row has no time: it was not to have any, or something is
 * wrong. */
void job_skip(const bench_job *job, shim_state *state, const char *reason);
void job_fail(const bench_job *job, shim_state *state, const char *reason);
/* Whether there is memory for so many bytes more, of `needed` in all; false: skipped. */
bool job_fits(const bench_job *job, shim_state *state, double bytes, double needed);
/* Whether a launch, tried, takes no longer than so many seconds; false: skipped. */
bool job_is_within(const bench_job *job, shim_state *state, const bench_work *work,
                   double patience);
/* All samples of the work and, by turns, of the GEMMs that the row is held against; the row's
 * shares of what the yardsticks say. false: failed. */
bool job_time(const bench_job *job, shim_state *state, const bench_work *work);
/* Let go of the tensors that operators' rows have left. */
void runner_drop_problem(bench_runner *runner);

/* The body of every row; data is its job. */
void run_row(shim_state *state, void *data);

#endif
