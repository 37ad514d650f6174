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
    bench_rotation rotation; /* more of the same, once a warm row has asked for them */
    struct curve_end *curve; /* by number */

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

/* The body of every row; data is its job. */
void run_row(shim_state *state, void *data);

#endif
