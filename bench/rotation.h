/*
 * What a warm row runs on: several sets of tensors of one spec, used by turns. Together they are
 * larger than the cache by far, so that a launch finds nothing of its own there, and what earlier
 * ones left dirty has to be written back meanwhile: back to back, each launch pays for as much as
 * it leaves. Sets so small that even the most that are made fit into the cache do find themselves
 * there again, as the tensors of a small model do.
 *
 * A cold row of little memory, and the copies that it is held against, have a sample on each of a
 * few sets by turns: on a GPU it depends on where tensors lie, for as long as they lie there,
 * whether a launch of 4 microseconds takes half a microsecond more.
 */
#ifndef TNL_BENCH_ROTATION_H
#define TNL_BENCH_ROTATION_H

#include "verify/problem.h"

enum { ROTATION_PLACES = 8 }; /* at most */

typedef struct bench_rotation {
    problem *more; /* sets beyond the first, which is somebody else's */
    int count;
} bench_rotation;

/* How many places the samples of so many bytes of tensors go through, and how many sets beyond the
 * first a row takes. */
int rotation_places(const tnl_context *context, double bytes);
int rotation_count(const problem_spec *spec, const tnl_context *context, bool warm);
/* Make so many, unless there are; false: out of memory, and there are none. */
bool rotation_make(bench_rotation *rotation, const problem_spec *spec, int count,
                   const tnl_context *context);
void rotation_free(bench_rotation *rotation);

#endif
