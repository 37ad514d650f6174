/*
 * Google Benchmark from C. It gives the command line (--benchmark_filter and the rest), the loop
 * and the output formats; what a row's time is, is decided here: the row is the median of the
 * samples that its body hands over, not the mean of the loop.
 *
 *     static void body(shim_state *state, void *row) {
 *         while (shim_next(state))                  // an iteration: one launch
 *             if (more samples are wanted)
 *                 shim_sample(state, seconds, cpu_seconds);
 *         shim_counter(state, "bytes", bytes);
 *     }
 */
#ifndef TNL_BENCH_SHIM_H
#define TNL_BENCH_SHIM_H

#include <stdbool.h>

#include "bench/samples.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shim_state shim_state;
typedef void shim_body(shim_state *state, void *row);

/* Take the library's flags out of the command line; --help calls `help` and exits. false: a flag
 * is wrong (said on stderr). */
bool shim_initialize(int *argc, char **argv, void (*help)(void));
/* The library's part of the help. */
void shim_print_help(void);
/* Whether --benchmark_filter lets this name through. Names are as shown: without suffixes. */
bool shim_selects(const char *name);
/* Whether there is a filter at all. */
bool shim_filters(void);
/* Whether the user asked the library for its own display, by --benchmark_format, or for a list
 * of names, so that nothing else belongs on the screen. */
bool shim_displays(void);

/* A line of the description that the output opens with. */
void shim_context(const char *key, const char *value);
/* A row: at most SAMPLES_MAX iterations of its body's loop. Names must differ. */
void shim_register(const char *name, shim_body *body, void *row);
/* Run what was registered. The rows as JSON, for the caller to free; NULL where nothing ran. */
char *shim_run(void);

/* For bodies. */
bool shim_next(shim_state *state);
void shim_sample(shim_state *state, double seconds, double cpu_seconds);
bench_summary shim_summary(const shim_state *state);
void shim_counter(shim_state *state, const char *name, double value);
/* The row has no time, for this reason; shim_next is false from here on. */
void shim_skip(shim_state *state, const char *reason);

#ifdef __cplusplus
}
#endif

#endif
