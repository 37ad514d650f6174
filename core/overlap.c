/*
 * Whether two strided tensors may share memory.
 *
 * A tensor's dimensions, taken from the smallest stride up, first fill a run of contiguous bytes;
 * the remaining ones repeat that run at distances which are multiples of the remaining strides.
 * If g divides all remaining strides of both tensors, everything happens modulo g: the tensors
 * are apart where the two runs are apart on a circle of g bytes.
 */
#include "core/overlap.h"

#include "core/types.h"

int64_t tnl_extent(const tnl_tensor *t) {
    int64_t elements = 1, span, bytes;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &span) ||
            __builtin_add_overflow(elements, span, &elements))
            return 0;
    if (__builtin_mul_overflow(elements, (int64_t)tnl_type_size(t->type), &bytes))
        return 0;
    return bytes;
}

/* The dimensions of size > 1 in order of rising stride; returns how many. */
static int by_stride(const tnl_tensor *t, int order[TNL_MAX_RANK]) {
    int count = 0;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] == 1)
            continue;
        int at = count++;
        for (; at > 0 && t->stride[order[at - 1]] > t->stride[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    return count;
}

bool tnl_overlaps_itself(const tnl_tensor *t) {
    int order[TNL_MAX_RANK];
    int count = by_stride(t, order);
    int64_t span = 1; /* elements from the first to the end of the last, so far */
    for (int i = 0; i < count; i++) {
        if (t->stride[order[i]] < span)
            return true;
        span += (t->shape[order[i]] - 1) * t->stride[order[i]];
    }
    return false;
}

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The length in bytes of the contiguous run; *step becomes the gcd of itself and the remaining
 * strides. */
static int64_t contiguous_run(const tnl_tensor *t, int64_t *step) {
    int order[TNL_MAX_RANK];
    int count = by_stride(t, order);
    int64_t size = (int64_t)tnl_type_size(t->type), run = size;
    for (int i = 0; i < count; i++) {
        int64_t stride = t->stride[order[i]] * size;
        if (stride == run)
            run *= t->shape[order[i]];
        else
            *step = gcd(*step, stride);
    }
    return run;
}

bool tnl_may_overlap(const tnl_tensor *a, const tnl_tensor *b) {
    uintptr_t a0 = (uintptr_t)a->data, b0 = (uintptr_t)b->data;
    if (a0 + (uintptr_t)tnl_extent(a) <= b0 || b0 + (uintptr_t)tnl_extent(b) <= a0)
        return false;
    int64_t step = 0;
    int64_t run_a = contiguous_run(a, &step), run_b = contiguous_run(b, &step);
    if (step == 0)
        return true;
    int64_t apart = (int64_t)(b0 - a0) % step;
    if (apart < 0)
        apart += step;
    return !(run_a <= apart && apart + run_b <= step);
}
