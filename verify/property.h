/*
 * Properties: what must hold of a row whatever the reference says. A property makes problems,
 * runs the row on them, and compares what comes out.
 */
#ifndef TNL_VERIFY_PROPERTY_H
#define TNL_VERIFY_PROPERTY_H

#include "verify/problem.h"
#include "verify/report.h"
#include "verify/run.h"
#include "verify/sweep.h"

/* The row that is tried, and the property. */
typedef struct subject {
    report *report;
    tnl_context *context;
    const tnl_variant_row *row;
    tnl_type type;
    double bound;
    const char *property;
} subject;

/* A problem of moderate size for the row's operator, with every optional tensor but cu_seqlens
 * and those named in `without` (their bits); with none of them where the row does not take that. */
problem_spec property_spec(const subject *s, unsigned without);
/* property_make makes it; the caller may then change its values (problem_set); property_run runs
 * the subject's row on it, or `row` where that is not NULL. false: recorded as failed (or as
 * skipped, where the row does not take it), and the problem is freed. */
bool property_make(const subject *s, const problem_spec *spec, problem *p);
bool property_run(const subject *s, const tnl_variant_row *row, problem *p);
/* The row that the table would choose for an operator in the subject's type, NULL: none. */
const tnl_variant_row *property_chosen(const subject *s, tnl_operator op);

/* Record whether the property held: error under bound; bound 0: error 0. */
void property_record(const subject *s, const problem_spec *spec, double error, double bound,
                     const char *what);

/* The coordinate of element `index` of a tensor along a dimension; -1: it has no such one. */
int64_t property_coordinate(const problem *p, int tensor, int64_t index, enum tnl_dim dim);
bool property_is_output(const problem *p, int tensor);

/* Whether both have left an output's element as it was, as decode does where a slot is -1. */
bool property_unwritten(const problem *a, const problem *b, int tensor, int64_t index);
/* How far two problems of one shape are apart: the largest relative difference of a slice, over
 * all outputs; infinite where one is not finite. */
double property_distance(const problem *a, const problem *b);

/*
 * A part of a problem: tokens [begin, end) of its sequence `sequence` (counted in the whole's
 * tokens), with all inputs copied that number tokens, sequences or neither. property_part_distance
 * compares the outputs in `tensors` (bits) that number tokens or sequences.
 */
bool property_part(const subject *s, const problem *whole, int64_t sequence, int64_t begin,
                   int64_t end, problem *part);
double property_part_distance(const problem *whole, const problem *part, int64_t sequence,
                              int64_t begin, unsigned tensors);
/* Copy all elements of a tensor into one of another problem with as many. */
void property_copy(const problem *from, int source, problem *to, int target);

/* The properties that belong to attention and decode, in attention_properties.c. */
void property_attention(subject *s);
void property_decode(subject *s);

#endif
