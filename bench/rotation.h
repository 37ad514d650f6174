/*
 * What a warm row runs on: several sets of tensors of one spec, used by turns. Together they are
 * larger than the cache by far, so that a launch finds nothing of its own there, and what earlier
 * ones left dirty has to be written back meanwhile: back to back, each launch pays for as much as
 * it leaves. Sets so small that even the most that are made fit into the cache do find themselves
 * there again, as the tensors of a small model do.
 */
#ifndef TNL_BENCH_ROTATION_H
#define TNL_BENCH_ROTATION_H

#include "verify/problem.h"

typedef struct bench_rotation {
    problem *more; /* sets beyond the first, which is somebody else's */
    int count;
} bench_rotation;

/* How many sets beyond the first it takes. cache: bytes of the device's last cache. */
int rotation_count(const problem_spec *spec, double cache);
/* Make so many, unless that is done; false: out of memory, and there are none. */
bool rotation_make(bench_rotation *rotation, const problem_spec *spec, int count,
                   const tnl_context *context);
void rotation_free(bench_rotation *rotation);

#endif
