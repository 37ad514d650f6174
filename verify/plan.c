/*
 * Where the tensors of a problem lie: dimensions that follow from others, strides, and which
 * tensors share a block of memory.
 */
#include "verify/plan.h"

#include <string.h>

#include "core/random.h"

/* ---- dimensions --------------------------------------------------------------------------- */

static int find_argument(tnl_operator op, const char *name) {
    const tnl_operator_row *row = &tnl_operators[op];
    for (int i = 0; i < row->argument_count; i++)
        if (strcmp(row->argument[i].name, name) == 0)
            return i;
    return -1;
}

static bool has_argument(const problem_spec *spec, const char *name) {
    int i = find_argument(spec->op, name);
    return i >= 0 && spec->present >> i & 1;
}

void problem_complete(problem_spec *spec) {
    int64_t *dim = spec->dim;
    bool projection = dim[DIM_K] != 0, theta = has_argument(spec, "theta");
    if (projection && theta) {
        int64_t features = dim[DIM_K] / 4;
        if (!dim[DIM_H])
            for (dim[DIM_H] = 1; features / dim[DIM_H] > 128 && features % (2 * dim[DIM_H]) == 0;)
                dim[DIM_H] *= 2;
        dim[DIM_D] = features / dim[DIM_H];
    }
    if (!has_argument(spec, "cu_seqlens"))
        dim[DIM_S] = projection ? 1 : dim[DIM_B];
    dim[DIM_S1] = dim[DIM_S] + 1;
    dim[DIM_F] = theta ? 2 * dim[DIM_D] : dim[DIM_D];
    if (!has_argument(spec, "slots"))
        dim[DIM_SLOTS] = dim[DIM_B];
    else if (!dim[DIM_SLOTS])
        dim[DIM_SLOTS] = dim[DIM_B] + 3;
    dim[DIM_QK] = dim[DIM_K] / 2;
    dim[DIM_C] = theta ? dim[DIM_K] / 2 * 3 : dim[DIM_K];
}

/* ---- where tensors lie -------------------------------------------------------------------- */

static tnl_type type_of(const problem_spec *spec, const tnl_argument *argument) {
    if (spec->float32 >> (argument - tnl_operators[spec->op].argument) & 1)
        return TNL_FLOAT32;
    return argument->type ? argument->type : spec->type;
}

static bool is_packable(const problem_spec *spec, const tnl_argument *argument) {
    return argument->type == TNL_NO_TYPE && argument->rank > 1 &&
           type_of(spec, argument) == spec->type;
}

/* Whether two data tensors of one role number the same tokens (and heads). */
static bool same_group(const tnl_argument *a, const tnl_argument *b) {
    return a->role == b->role && a->rank == b->rank &&
           memcmp(a->shape, b->shape, (size_t)(a->rank - 1) * sizeof *a->shape) == 0;
}

/* The dimensions in the order of memory, outermost first: where heads are to lie inside the
 * sequence, they come last but one. Returns how many of them make up a token. */
static int memory_order(const tnl_argument *argument, bool swapped, int *order) {
    int rank = argument->rank;
    for (int i = 0; i < rank; i++)
        order[i] = i;
    bool heads = rank > 2 && argument->shape[1] == DIM_H;
    if (heads && swapped && rank == 4) {
        order[1] = 2;
        order[2] = 1;
    }
    return heads && swapped ? 2 : 1;
}

/* The strides of a tensor in a block of its own, `gap` elements after each run of a dimension;
 * returns the elements it spans. */
static int64_t stride_alone(tnl_tensor *tensor, const int *order, int64_t gap) {
    int64_t extent = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        tensor->stride[order[i]] = extent;
        extent = extent * tensor->shape[order[i]] + (i > 0 ? gap : 0);
    }
    return extent;
}

/* The strides of a slice of a token of `width` elements; returns the elements of all tokens. */
static int64_t stride_packed(tnl_tensor *tensor, const int *order, int inner, int64_t width) {
    int64_t extent = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        if (i == tensor->rank - 1 - inner)
            extent = width;
        tensor->stride[order[i]] = extent;
        extent *= tensor->shape[order[i]];
    }
    return extent;
}

static tnl_tensor make_view(const problem_spec *spec, const tnl_argument *argument) {
    tnl_tensor view = {.type = type_of(spec, argument), .rank = argument->rank};
    for (int i = 0; i < view.rank; i++)
        view.shape[i] = spec->dim[argument->shape[i]];
    return view;
}

static bool same_shape(const tnl_tensor *a, const tnl_tensor *b) {
    return a->type == b->type && a->rank == b->rank &&
           memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

/* The packed block that tensor i joins, or a new one. */
static int find_block(const problem_spec *spec, problem_plan *plan, int i) {
    const tnl_argument *argument = tnl_operators[spec->op].argument;
    bool packed = spec->layout == LAYOUT_PACKED && is_packable(spec, &argument[i]);
    for (int j = 0; packed && j < plan->block_count; j++)
        if (plan->block[j].packed && same_group(&argument[plan->block[j].owner], &argument[i]))
            return j;
    plan->block[plan->block_count] = (problem_block){.owner = i, .packed = packed};
    return plan->block_count++;
}

/* Which block each tensor is in, and in a packed one at which element of a token. */
static void assign_blocks(const problem_spec *spec, problem_plan *plan) {
    const tnl_operator_row *row = &tnl_operators[spec->op];
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_argument *argument = &row->argument[i];
        tensor_place *here = &plan->place[i];
        here->block = -1;
        if (argument->optional && !(spec->present >> i & 1))
            continue;
        here->view = make_view(spec, argument);
        const tensor_place *input =
            argument->in_place ? &plan->place[argument->in_place - 1] : NULL;
        if (spec->in_place && input && input->block >= 0 && same_shape(&input->view, &here->view)) {
            *here = *input;
            here->shares = true;
            continue;
        }
        here->block = find_block(spec, plan, i);
        problem_block *block = &plan->block[here->block];
        if (block->packed) {
            int order[TNL_MAX_RANK], inner = memory_order(argument, true, order);
            int64_t width = here->view.shape[here->view.rank - 1];
            here->offset = block->width;
            block->width += inner == 2 ? width * here->view.shape[1] : width;
        }
    }
}

/* The elements of a token of a packed block: its slices, and a gap. What is timed leaves room for
 * one more slice, as U is beside Q, K and V. */
static int64_t token_width(const problem_spec *spec, const problem_plan *plan,
                           const problem_block *block) {
    if (!spec->timed)
        return block->width + PLAN_TOKEN_GAP;
    int order[TNL_MAX_RANK];
    const tnl_tensor *first = &plan->place[block->owner].view;
    const int inner = memory_order(&tnl_operators[spec->op].argument[block->owner], true, order);
    return block->width + first->shape[first->rank - 1] * (inner == 2 ? first->shape[1] : 1);
}

/* Strides, offsets and the blocks' sizes. */
problem_plan plan_make(const problem_spec *spec) {
    problem_plan plan = {0};
    assign_blocks(spec, &plan);
    for (int i = 0; i < tnl_operators[spec->op].argument_count; i++) {
        const tnl_argument *argument = &tnl_operators[spec->op].argument[i];
        tensor_place *here = &plan.place[i];
        if (here->block < 0)
            continue;
        if (here->shares) {
            memcpy(here->view.stride, plan.place[argument->in_place - 1].view.stride,
                   sizeof here->view.stride);
            here->offset = plan.place[argument->in_place - 1].offset;
            continue;
        }
        problem_block *block = &plan.block[here->block];
        bool swapped = block->packed || (spec->layout == LAYOUT_SWAPPED && argument->rank == 4 &&
                                         argument->shape[2] == DIM_N);
        int order[TNL_MAX_RANK], inner = memory_order(argument, swapped, order);
        /* A gap moves the start, too, so that no more than the element's alignment is left. */
        int64_t gap = 1 + (int64_t)(random_bits(spec->seed, 100, (uint64_t)i) % 8), extent;
        if (spec->layout == LAYOUT_CONTIGUOUS || swapped)
            gap = 0;
        if (block->packed)
            extent = stride_packed(&here->view, order, inner, token_width(spec, &plan, block));
        else
            extent = (here->offset = gap) + stride_alone(&here->view, order, gap);
        block->bytes = 2 * PLAN_GUARD + (size_t)extent * tnl_type_size(here->view.type);
    }
    return plan;
}
