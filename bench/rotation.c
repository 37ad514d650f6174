/* Sets of tensors that differ in their seeds alone. */
#include "bench/rotation.h"

#include <math.h>
#include <stdlib.h>

#include "verify/device.h"

enum { FEWEST = 2, MOST = 64 };

int rotation_places(const tnl_context *context, double bytes) {
    const double little = 32 * 1048576.0;
    return context->device == TNL_CUDA && bytes <= little ? ROTATION_PLACES : 1;
}

int rotation_count(const problem_spec *spec, const tnl_context *context, bool warm) {
    const double bytes = problem_bytes(spec), caches = 4;
    if (!warm)
        return rotation_places(context, bytes) - 1;
    device_description description;
    device_describe(context, &description);
    const double sets = ceil(caches * description.cache / bytes);
    return (int)fmin(fmax(sets, FEWEST), MOST) - 1;
}

bool rotation_make(bench_rotation *rotation, const problem_spec *spec, int count,
                   const tnl_context *context) {
    if (rotation->count >= count)
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
