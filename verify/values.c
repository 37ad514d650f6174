/*
 * What the tensors of a problem hold: normal deviates, made by counter from the seed, the tensor's
 * place in the table and the element's index, so that the layout changes nothing; slopes, angles
 * and index tensors by their rules.
 */
#include "verify/values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"

int64_t values_offset(const tnl_tensor *tensor, int64_t index) {
    int64_t offset = 0;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        offset += index % tensor->shape[i] * tensor->stride[i];
        index /= tensor->shape[i];
    }
    return offset;
}

static double largest(tnl_type type) {
    return type == TNL_FLOAT16 ? 65504 : 3.38e38;
}

/* 1/sqrt(fan in) for a weight, [out, in]; 1 for anything else. A weight is what does not number
 * tokens first. */
static double weight_scale(const problem_spec *spec, const tnl_argument *argument) {
    enum tnl_dim out = argument->shape[0];
    bool weight = argument->rank == 2 && argument->type == TNL_NO_TYPE &&
                  (out == DIM_G || out == DIM_K || out == DIM_HIDDEN);
    return weight ? 1 / sqrt((double)spec->dim[argument->shape[1]]) : 1;
}

/* So that four such values multiply to something within the type's range, and their sums do. A
 * state is a product of two already. */
static double large_scale(const problem_spec *spec, const tnl_argument *argument) {
    if (weight_scale(spec, argument) != 1)
        return 1;
    double scale = pow(largest(spec->type), 0.2);
    return argument->rank == 4 && argument->type == TNL_FLOAT32 ? scale * scale : scale;
}

/* The row of the first two tensors that overflows, counted along the tokens. */
static bool overflows(const problem_spec *spec, int tensor, int64_t row) {
    const tnl_argument *argument = &tnl_operators[spec->op].argument[tensor];
    int64_t tokens = spec->dim[argument->shape[argument->rank - 2]];
    return tensor == (int)(spec->seed & 1) && weight_scale(spec, argument) == 1 &&
           row % tokens == tokens * 5 / 8;
}

/* Element `column` of row `row`. */
static double floating(const problem_spec *spec, int tensor, int64_t row, int64_t column,
                       int64_t columns) {
    const tnl_argument *argument = &tnl_operators[spec->op].argument[tensor];
    uint64_t index = (uint64_t)(row * columns + column);
    if (spec->values == VALUES_OVERFLOW) {
        if (overflows(spec, tensor, row))
            return 0.88 * largest(spec->type);
        return 1.2 + 0.75 * random_uniform(spec->seed, (uint64_t)tensor, index);
    }
    if (spec->values == VALUES_ZERO_ROWS && row % 2 && argument->type == TNL_NO_TYPE)
        return 0;
    double x = spec->values == VALUES_POSITIVE
                   ? 0.5 + random_uniform(spec->seed, (uint64_t)tensor, index)
                   : random_normal(spec->seed, (uint64_t)tensor, index);
    x *= weight_scale(spec, argument);
    return spec->values == VALUES_LARGE ? x * large_scale(spec, argument) : x;
}

/* The angles that LRPE starts from, 10000^(-2i/d), each a little off. */
static double angle(const problem_spec *spec, int tensor, int64_t row, int64_t column,
                    int64_t columns) {
    double base = pow(10000, -2.0 * (double)column / (double)columns);
    return base * (1 + 0.05 * random_normal(spec->seed, (uint64_t)tensor,
                                            (uint64_t)(row * columns + column)));
}

static void fill_slopes(const problem_spec *spec, int64_t heads, float *slope) {
    /* exp(-40) is lost beside 1 in double, but no underflow in float32. */
    enum { LAYERS = 24, STEEP = 40 };
    switch (spec->slopes) {
    case SLOPES_RELEASED:
        tnl_slopes_released((int)heads, LAYERS, 0, slope);
        break;
    case SLOPES_MIDDLE:
        tnl_slopes_released((int)heads, LAYERS, LAYERS / 2, slope);
        break;
    case SLOPES_LAST:
        tnl_slopes_released((int)heads, LAYERS, LAYERS - 1, slope);
        break;
    case SLOPES_PAPER:
        tnl_slopes_paper((int)heads, LAYERS, 0, slope);
        break;
    case SLOPES_NONE:
    case SLOPES_STEEP:
        for (int64_t i = 0; i < heads; i++)
            slope[i] = spec->slopes == SLOPES_STEEP ? STEEP : 0;
        break;
    }
}

/* Token i's slot: a random one of those not yet taken. One token of three or more may have none. */
static void fill_slots(const problem_spec *spec, int tensor, int64_t tokens, int32_t *slot) {
    int64_t slots = spec->dim[DIM_SLOTS];
    for (int64_t i = 0; i < tokens; i++) {
        int32_t candidate =
            (int32_t)(random_bits(spec->seed, (uint64_t)tensor, (uint64_t)i) % (uint64_t)slots);
        for (int64_t j = 0; j < i; j++) {
            if (slot[j] == candidate) {
                candidate = (int32_t)((candidate + 1) % slots);
                j = -1;
            }
        }
        slot[i] = candidate;
    }
    uint64_t skipped = random_bits(spec->seed, (uint64_t)tensor, (uint64_t)tokens);
    if (tokens > 2 && skipped % 4 != 0)
        slot[skipped / 4 % (uint64_t)tokens] = -1;
}

void values_fill(const problem_spec *spec, int tensor, const tnl_tensor *shape, void *data) {
    const tnl_argument *argument = &tnl_operators[spec->op].argument[tensor];
    int64_t columns = shape->shape[shape->rank - 1], rows = 1;
    for (int i = 0; i < shape->rank - 1; i++)
        rows *= shape->shape[i];
    if (shape->type == TNL_INT64) {
        for (int64_t i = 0; i < columns; i++)
            ((int64_t *)data)[i] = spec->position + 3 * i;
    } else if (shape->type == TNL_INT32 && argument->shape[0] == DIM_S1) {
        memcpy(data, spec->cu_seqlens, (size_t)columns * sizeof(int32_t));
    } else if (shape->type == TNL_INT32) {
        fill_slots(spec, tensor, columns, data);
    } else if (argument->rank == 1) {
        fill_slopes(spec, columns, data);
    } else {
        bool is_angle = strcmp(argument->name, "theta") == 0;
#pragma omp parallel for
        for (int64_t row = 0; row < rows; row++) {
            int64_t start = values_offset(shape, row * columns);
            for (int64_t j = 0; j < columns; j++)
                tnl_store(data, shape->type, start + j,
                          is_angle ? angle(spec, tensor, row, j, columns)
                                   : floating(spec, tensor, row, j, columns));
        }
    }
}
