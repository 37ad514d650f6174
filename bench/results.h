/* Results: results/<device>/bench.json, in Google Benchmark's JSON. */
#ifndef TNL_BENCH_RESULTS_H
#define TNL_BENCH_RESULTS_H

#include <jansson.h>
#include <stdbool.h>

#include "bench/sweeps.h"

/* The rows that `text`, a run's JSON, holds, each with the keys of `stamp` added, and with
 * "only_named" where it is of a variant that runs only when named, or of the Transformer; NULL: it
 * is not JSON (said on stderr). The stamp says where a row comes from, since a file may hold rows
 * of several runs. */
json_t *results_parse(const char *text, json_t *stamp, const row_list *rows);
/* Put a run into the file at `path`: as a whole where `all`, else each row in the place of the old
 * one of its name, or where the order of `rows` has it. Folders are made. false: could not be
 * written (said on stderr). */
bool results_merge(const char *path, json_t *run, const row_list *rows, bool all);
/* Read a file of results; NULL: could not (said on stderr). */
json_t *results_read(const char *path);

/* A row's fields. */
const char *results_name(const json_t *row);
double results_number(const json_t *row, const char *key); /* NAN: not there */

/* The rows of a run as a table on the screen. */
void results_print(const json_t *run);
/* At how many of a run's sizes the row that the table of variants chooses, the last that takes the
 * call, is within 5 % of the fastest; and a line for each where it is not. Returns their number. */
int results_print_choices(const json_t *run);
/* The rows of a run beside the same ones of an older one: what became faster or slower by more
 * than the spread of either. */
void results_compare(const json_t *run, const json_t *old);

#endif
