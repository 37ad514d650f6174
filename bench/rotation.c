/* Sets of tensors that differ in their seeds alone. */
#include "bench/rotation.h"

#include <math.h>
#include <stdlib.h>

enum { FEWEST = 2, MOST = 64 };

int rotation_count(const problem_spec *spec, double cache) {
    const double caches = 4;
    const double sets = ceil(caches * cache / problem_bytes(spec));
    return (int)fmin(fmax(sets, FEWEST), MOST) - 1;
}

bool rotation_make(bench_rotation *rotation, const problem_spec *spec, int count,
                   const tnl_context *context) {
    if (rotation->count == count)
        return true;
    rotation_free(rotation);
    rotation->more = calloc((size_t)count, sizeof *rotation->more);
    problem_spec own = *spec;
    while (rotation->more && rotation->count < count) {
        own.seed++;
        if (!problem_make(&own, context, &rotation->more[rotation->count]))
            break;
        rotation->count++;
    }
    if (rotation->count == count)
        return true;
    rotation_free(rotation);
    return false;
}

void rotation_free(bench_rotation *rotation) {
    for (int i = 0; i < rotation->count; i++)
        problem_free(&rotation->more[i]);
    free(rotation->more);
    *rotation = (bench_rotation){0};
}
