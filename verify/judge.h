/*
 * The verdict on a run: outputs against the reference, slice by slice, with the naive computation
 * in the same type as the measure of what can be asked.
 */
#ifndef TNL_VERIFY_JUDGE_H
#define TNL_VERIFY_JUDGE_H

#include "verify/problem.h"

/* The call that a reference gets, from the problem's values before any run (problem_poison):
 * floating-point tensors are contiguous and double, outputs full of NaN. false: out of memory. */
bool judge_make_call(const problem *p, tnl_call *call);
void judge_free_call(tnl_call *call);

/* What the outputs of a problem should be. */
typedef struct expectation {
    tnl_reference *made_by;
    /* NULL for inputs; all bits set where nothing is to be written. */
    double *reference[TNL_MAX_TENSORS];
    /* Rounded to the type that the tensor is stored in. */
    double *naive[TNL_MAX_TENSORS];
    /* Its largest error, in parts of a slice's largest value. */
    double naive_worst[TNL_MAX_TENSORS];
    /* The largest relative error of a slice. */
    double naive_relative[TNL_MAX_TENSORS];
} expectation;

/* Compute it, from the problem's values before any run (problem_poison). In a small problem the
 * naive computation may be right by luck: there its errors are the worst of several seeds. false:
 * out of memory. */
bool judge_expect(const problem *p, tnl_reference *reference, tnl_reference *naive,
                  expectation *expected);
void judge_forget(expectation *expected);

typedef struct verdict {
    bool passed;
    double error; /* the largest relative error of a slice */
    char text[320];
} verdict;

/* Judge the outputs that the problem holds (fetched), and its guards. */
verdict judge(const problem *p, const expectation *expected, double bound);

/* The bound that a row is held to: its own promise, or the operator's. */
double judge_bound(const tnl_variant_row *row, tnl_type type);

#endif
