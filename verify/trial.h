/*
 * A trial: a good call of an operator, spoilt in one place. It must come back with the right
 * status and a text that names the operator, the argument, its value and what was expected, and
 * every byte must be as it was: inputs, outputs, guards.
 */
#ifndef TNL_VERIFY_TRIAL_H
#define TNL_VERIFY_TRIAL_H

#include "verify/problem.h"
#include "verify/report.h"

typedef struct trial {
    report *report;
    tnl_context *context;
    problem *good;
    const tnl_operator_row *row;
    tnl_tensor tensor[TNL_MAX_TENSORS]; /* the call to be made: good but for what is spoilt, */
    double eps;                         /* contiguous tensors without strides */
    tnl_options options;
    bool run_only;  /* what is spoilt is none of the _workspace function's business */
    int64_t *count; /* trials so far: in a quick run one in ten is made */
} trial;

/* Everything good again, with this workspace. */
void trial_reset(trial *t, void *workspace, size_t bytes);
/*
 * Make the call as it stands, record whether it was refused as it should be, and make it good
 * again. name: what the error text must name; value: what it must say of it, NULL: nothing. The
 * format says what was done to the call.
 */
__attribute__((format(printf, 5, 6))) void trial_judge(trial *t, tnl_status status,
                                                       const char *name, const char *value,
                                                       const char *format, ...);
/* Record whether a call that returned `got` was refused as it should be. name NULL: no text. */
void trial_verdict(trial *t, tnl_status got, tnl_status status, const char *name, const char *value,
                   const char *what);

/* A number or an address as error texts have them; good until the next call. */
__attribute__((format(printf, 1, 2))) const char *trial_text(const char *format, ...);

/* What is done to each tensor, and to pairs of them. */
void trial_tensors(trial *t);
/* What slopes and index tensors hold, eps, and tensors that need each other. */
void trial_contents(trial *t);
/* The public functions that belong to no operator. */
void trial_functions(report *r, tnl_context *context);

#endif
