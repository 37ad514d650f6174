/* Running a row on a problem, with everything watched. */
#ifndef TNL_VERIFY_RUN_H
#define TNL_VERIFY_RUN_H

#include "verify/problem.h"

typedef enum run_result { RUN_DONE, RUN_REJECTED, RUN_FAILED } run_result;

/* Poison the problem, give the row exactly the workspace that it asks for, full of NaN between
 * guards, run it, wait and fetch. RUN_REJECTED: the row does not take such calls. Otherwise, but
 * for RUN_DONE, the text says what went wrong. */
run_result run_row(problem *p, tnl_context *context, const tnl_variant_row *row, char *text,
                   size_t size);
/* The same, by way of a CUDA graph: the call is captured, and the graph run. */
run_result run_row_captured(problem *p, tnl_context *context, const tnl_variant_row *row,
                            char *text, size_t size);

/* NULL where this context can run the row, else why it can't. */
const char *run_obstacle(const tnl_context *context, const tnl_variant_row *row);

#endif
