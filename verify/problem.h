/*
 * A problem: an operator, its sizes and how its tensors lie in memory, made into tensors from a
 * seed. verify judges problems and bench times them; both make them here.
 */
#ifndef TNL_VERIFY_PROBLEM_H
#define TNL_VERIFY_PROBLEM_H

#include <stdbool.h>

#include "core/api.h"
#include "core/context.h"
#include "core/table.h"
#include "core/types.h"

typedef enum layout {
    LAYOUT_CONTIGUOUS, /* as the shape says */
    LAYOUT_SWAPPED,    /* heads inside the sequence, [b,n,h,d]; other shapes: as padded */
    LAYOUT_PACKED,     /* tensors with the same leading dimensions are slices of one buffer */
    LAYOUT_PADDED      /* every row is followed by a gap */
} layout;

typedef enum slopes {
    SLOPES_RELEASED, /* the released rule, first of 24 layers: "decay:released" */
    SLOPES_NONE,     /* every slope 0: "decay:none" */
    SLOPES_MIDDLE,   /* released, a layer in the middle */
    SLOPES_LAST,     /* released, the last layer */
    SLOPES_PAPER,    /* eq. 2, first layer */
    SLOPES_STEEP     /* so steep that only the diagonal is left */
} slopes;

typedef enum values {
    VALUES_NORMAL,    /* standard normal; weights scaled by 1/sqrt(fan in) */
    VALUES_POSITIVE,  /* in [0.5, 1.5), so that no sum cancels; weights scaled */
    VALUES_LARGE,     /* normal, times what a product of three or four leaves room for */
    VALUES_ZERO_ROWS, /* normal, but every other row of the data tensors is zero */
    VALUES_OVERFLOW   /* all in [1.2, 2), but one row of the first or second tensor nearly the
                         type's largest: whatever it is multiplied with overflows, however it is
                         summed. Not with theta, not with a decay. */
} values;

/* What is asked for. */
typedef struct problem_spec {
    tnl_operator op;
    tnl_type type;
    int64_t dim[DIM_COUNT]; /* those the operator names (its row's `named`); the rest follow */
    unsigned present;       /* bit i: optional tensor i is given */
    layout layout;
    slopes slopes;
    values values;
    const int32_t *cu_seqlens; /* with DIM_S sequences, where that tensor is present */
    int64_t position;          /* of each sequence's first token, where positions are present; the
                                  i-th sequence starts at position + 3 i */
    bool in_place;             /* outputs that may be an input are */
    unsigned float32;          /* bit i: tensor i, which may be float32 whatever the type, is */
    bool timed;                /* to be run, not judged: on a CUDA device the values of a large
                                  tensor repeat after some millions, and the host keeps none */
    uint64_t seed;
} problem_spec;

/* What is made of it. Every tensor stands in a block of its own (packed slices: one block for
 * those that share it) with a guard zone on both sides. */
typedef struct problem {
    problem_spec spec;
    tnl_tensor tensor[TNL_MAX_TENSORS]; /* on the context's device */
    double eps;
    struct problem_plan *plan; /* the memory behind them */
    tnl_device device;
} problem;

/*
 * Fill in the dimensions that follow from the named ones, with what is present: s, s+1, f, slots,
 * k/2, c. Those of them that are free and not zero stay: s with cu_seqlens, slots with slots (else
 * b + 3), the heads of a projection with theta (else of at most 128 features each).
 */
void problem_complete(problem_spec *spec);
/* Make it, outputs full of NaN (unless it is timed on a CUDA device). false: out of memory, and *p
 * is empty. */
bool problem_make(const problem_spec *spec, const tnl_context *context, problem *p);
void problem_free(problem *p);
/* Bytes that problem_make would take. */
double problem_bytes(const problem_spec *spec);

/*
 * For a program that judges: remember what the memory holds, the first time, and restore it, every
 * later time: inputs, in-out and in-place tensors to their values, other outputs to NaN (all bits
 * set), guards and gaps to their pattern. Before any run. false: out of memory.
 */
bool problem_poison(problem *p);
/* NULL where every byte that is not an output's still is what problem_poison left, else the name
 * of the first tensor of the block where one is not: a guard or a gap was written to, or an
 * input. */
const char *problem_guard_broken(const problem *p);
/* Get the tensors from the device, for the two functions above and below; false: it failed. */
bool problem_fetch(problem *p);
/* Element (linear index over the shape) of a tensor, widened. */
double problem_get(const problem *p, int tensor, int64_t index);
/* The same before any run, as problem_poison remembers it. */
double problem_get_first(const problem *p, int tensor, int64_t index);
/* All elements of a tensor in the order of its shape; first: as they were before any run (an
 * in-place output's is the input's), as problem_poison remembers them. */
void problem_read(const problem *p, int tensor, bool first, double *value);
/* The first element in host memory, and its copy from before any run: for index tensors, which
 * are contiguous. */
void *problem_host(const problem *p, int tensor);
void *problem_first(const problem *p, int tensor);
/* cu_seqlens in host memory; NULL where the batch is not packed. */
const int32_t *problem_sequences(const problem *p);
/* Whether the element still has the bits that problem_poison left. */
bool problem_untouched(const problem *p, int tensor, int64_t index);
/* Change an element, and what problem_poison remembers of it; problem_send then passes the
 * changes on to the device. */
void problem_set(problem *p, int tensor, int64_t index, double value);
bool problem_send(problem *p);
/* Elements of a tensor; 0 where it is absent. */
int64_t problem_count(const problem *p, int tensor);

/* Run it through the typed function: the variant named, workspace as given. */
tnl_status problem_run(const problem *p, tnl_context *context, const char *variant, void *workspace,
                       size_t bytes);
tnl_status problem_workspace(const problem *p, tnl_context *context, const char *variant,
                             size_t *bytes);

#endif
