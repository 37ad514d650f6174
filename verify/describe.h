/* A problem in words. */
#ifndef TNL_VERIFY_DESCRIBE_H
#define TNL_VERIFY_DESCRIBE_H

#include "verify/problem.h"

/* In one line, enough to make it again: sizes, optional tensors, layout, values, seed. */
void describe_problem(const problem_spec *spec, char *text, size_t size);

#endif
