/*
 * The rows of a bench.json: Google Benchmark's JSON, read with jansson.
 *
 * A row's name says what it is: operator/variant/type/shape, where the shape is the rest of the
 * name, such as b:1/h:16/n:1024/d:128/e:128/decay:released. Nothing here knows which operators or
 * variants there are: what is in the file is what is drawn.
 */
#ifndef TNL_PLOTS_ROWS_H
#define TNL_PLOTS_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct row {
    const char *name;
    char *parts; /* the name, cut at its slashes; the next four point into it */
    const char *operator_name, *variant, *type, *shape;
    double time;                   /* milliseconds; 0: skipped, and error says why */
    double copy_share, gemm_share; /* 0 where the row has none */
    double bytes, peak_bytes;
    double flops, bare_gemms_share; /* likewise */
    const char *commit, *error;
    bool quick;                  /* of a run that took few samples */
    bool only_named;             /* of a variant that the table never chooses */
    double copy_share_same_size; /* 0 where the row has none */
};

struct results {
    json_t *root; /* owns the strings */
    char *directory;
    char *device;                /* as a title has it */
    double copy_rate, gemm_rate; /* bytes and operations a second; 0 where not given */
    struct row *row;
    size_t count;
};

/* Print "tnl-extract: ..." and exit with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
void *allocate(size_t count, size_t size);

/* Read a bench.json; what is wrong with it ends the program. */
struct results read_results(const char *path);
void free_results(struct results *results);

static inline bool is_measured(const struct row *row) {
    return row->time > 0;
}
/* A row of the hardware's own limits, and not of an operator. */
bool is_yardstick(const struct row *row);
/* The limit's time over the time taken. The limit is what takes longer: the row's bytes at the
 * copy rate, or its operations at the GEMM rate. */
double limit_share(const struct row *row);

#endif
