/* The sweep: which problems an operator is judged on. */
#ifndef TNL_VERIFY_SWEEP_H
#define TNL_VERIFY_SWEEP_H

#include "verify/problem.h"

/* Operators with the same dimensions are judged on the same kinds of problems. */
typedef enum family {
    FAMILY_ROWS, /* m, D */
    FAMILY_SGLU, /* m, D, g */
    FAMILY_PROJECTION,
    FAMILY_ACTIVATION,
    FAMILY_ATTENTION,
    FAMILY_DECODE,
    FAMILY_COUNT
} family;

family sweep_family(tnl_operator op);

typedef struct sweep {
    problem_spec *spec;
    int count, capacity;
    int of_kind[16]; /* so far; a quick sweep keeps the first of each kind and one in ten */
    bool quick;
} sweep;

/* The problems of an operator, dimensions complete: sizes on both sides of every tile, layouts,
 * slopes, optional tensors, packed batches, values, positions, and combinations drawn by the
 * seed. false: out of memory. */
bool sweep_make(tnl_operator op, tnl_type type, bool quick, uint64_t seed, sweep *s);
void sweep_free(sweep *s);

/* Whether these optional tensors may be given together. */
bool sweep_may_have(tnl_operator op, unsigned present);
/* The bit of the argument of that name, 0 if the operator has none. */
unsigned sweep_bit(tnl_operator op, const char *name);

#endif
