/*
 * The rows of the benchmark, in the order in which they run: the yardsticks, and then every
 * variant of the table at the sizes of its operator.
 */
#ifndef TNL_BENCH_SWEEPS_H
#define TNL_BENCH_SWEEPS_H

#include "bench/yardsticks.h"
#include "verify/problem.h"

typedef enum row_kind { ROW_COPY, ROW_GEMM, ROW_EMPTY, ROW_OPERATOR, ROW_MODEL } row_kind;

/* A whole model: a prefill of so many tokens, or a step of decoding at a position. */
typedef struct model_work {
    int size; /* see bench/models.h */
    bool transformer, prefill;
    int64_t batch, tokens; /* tokens: to prefill, or before the one that is decoded */
} model_work;

typedef struct bench_row {
    row_kind kind;
    char name[160];
    double bytes;    /* read once and written once; a copy's: in total */
    double flops;    /* 0: not counted */
    bare_gemms bare; /* what an operator or a prefill is held against; count 0: nothing */

    /* ROW_GEMM, ROW_MODEL */
    tnl_type type;

    /* ROW_GEMM */
    int64_t m, n, k;

    /* ROW_MODEL */
    model_work model;

    /* ROW_OPERATOR */
    problem_spec spec;
    const tnl_variant_row *variant;
    double output_bytes;
    bool warm;   /* launched back to back on one set of tensors after another, see rotation.h */
    int problem; /* rows of the same number have the same spec, and stand together */
    int curve;   /* rows of the same number differ in one size alone, which grows: */
    double size;
} bench_row;

typedef struct row_list {
    bench_row *row;
    int count, capacity;
    int problems, curves;
} row_list;

/* One row more, of zeros; NULL: out of memory. */
bench_row *rows_add(row_list *list);
/* The size of the copy that so many bytes are held against: whole pages, so that a few slopes or
 * angles more don't ask for a copy of their own. */
double copy_size(double bytes);
/* quick: the first sizes of each sweep only. false: out of memory. */
bool rows_make(const tnl_context *context, bool quick, uint64_t seed, row_list *list);
void rows_free(row_list *list);

#endif
