/*
 * The one place where arguments are checked, for every operator and variant, from the table:
 * tensor by tensor (present, type, rank, sizes, strides, alignment), then the tensors against each
 * other (dimensions, relations, overlap), then what index tensors hold.
 */
#include "core/check.h"

#include <math.h>
#include <string.h>

#include "core/api.h"
#include "core/context.h"
#include "core/overlap.h"
#include "core/types.h"

enum { MAX_SIZE = INT32_MAX };

#define FAIL(call, ...) tnl_fail((call)->context, TNL_INVALID_ARGUMENT, __VA_ARGS__)

/* The size of one dimension of one tensor. */
static tnl_status check_size(const tnl_call *call, const tnl_argument *argument, int i,
                             int64_t size) {
    if (size < 1 || size > MAX_SIZE)
        return FAIL(call, "%s: %s.shape[%d] is %lld, expected %s from 1 to %d",
                    tnl_operators[call->op].name, argument->name, i, (long long)size,
                    tnl_dim_letter(argument->shape[i]), MAX_SIZE);
    return TNL_OK;
}

/* Strides as kernels get them: contiguous ones filled in where all are zero, and in a dimension
 * of size 1 the extent of the dimensions inside it. */
static void fill_strides(tnl_tensor *t) {
    bool contiguous = true;
    for (int i = 0; i < t->rank; i++)
        contiguous = contiguous && t->stride[i] == 0;
    int64_t inner = 1; /* saturates: check_strides finds an extent that overflows */
    for (int i = t->rank - 1; i >= 0; i--) {
        if (contiguous || t->shape[i] == 1)
            t->stride[i] = inner;
        int64_t outer;
        if (__builtin_mul_overflow(t->stride[i], t->shape[i], &outer))
            outer = INT64_MAX;
        inner = outer > inner ? outer : inner;
    }
}

static tnl_status check_strides(const tnl_call *call, const tnl_argument *argument,
                                const tnl_tensor *t) {
    const char *op = tnl_operators[call->op].name;
    int last = t->rank - 1;
    for (int i = 0; i < t->rank; i++)
        if (t->stride[i] < 0)
            return FAIL(call, "%s: %s.stride[%d] is %lld, expected a positive stride", op,
                        argument->name, i, (long long)t->stride[i]);
    if (t->stride[last] != 1)
        return FAIL(call, "%s: %s.stride[%d] is %lld, expected 1, the last dimension contiguous",
                    op, argument->name, last, (long long)t->stride[last]);
    if (tnl_extent(t) <= 0 || (uintptr_t)t->data > UINTPTR_MAX - (uintptr_t)tnl_extent(t))
        return FAIL(call,
                    "%s: %s.stride[0] is %lld, expected an extent that fits the address space", op,
                    argument->name, (long long)t->stride[0]);
    for (int i = last - 1; i >= 0; i--) {
        tnl_tensor inner = {t->data, t->type, t->rank - i, {0}, {0}};
        memcpy(inner.shape, t->shape + i, sizeof *t->shape * (size_t)inner.rank);
        memcpy(inner.stride, t->stride + i, sizeof *t->stride * (size_t)inner.rank);
        if (tnl_overlaps_itself(&inner))
            return FAIL(call,
                        "%s: %s.stride[%d] is %lld, expected strides under which no two elements "
                        "share memory",
                        op, argument->name, i, (long long)t->stride[i]);
    }
    return TNL_OK;
}

/* The tensor whose type is the call's data type: the first that can have no other. */
static int find_typed(const tnl_operator_row *row) {
    int i = 0;
    while (row->argument[i].or_float32)
        i++;
    return i;
}

static tnl_status check_type(const tnl_call *call, const tnl_argument *argument,
                             const tnl_tensor *t) {
    const tnl_operator_row *row = &tnl_operators[call->op];
    const bool data = argument->type == TNL_NO_TYPE;
    const tnl_type type = data ? call->type : argument->type;
    if (t->type == type || (argument->or_float32 && t->type == TNL_FLOAT32))
        return TNL_OK;
    return tnl_fail(call->context, TNL_INVALID_ARGUMENT,
                    "%s: %s.type is %s (%d), expected %s%s%s%s", row->name, argument->name,
                    tnl_type_name(t->type), (int)t->type, tnl_type_name(type),
                    data ? " as in " : "", data ? row->argument[find_typed(row)].name : "",
                    argument->or_float32 && type != TNL_FLOAT32 ? ", or f32" : "");
}

/* A tensor by itself. *t has its strides filled in on return. */
static tnl_status check_tensor(const tnl_call *call, const tnl_argument *argument, tnl_tensor *t) {
    const char *op = tnl_operators[call->op].name;
    char shape[32];
    tnl_shape_text(argument, shape, sizeof shape);
    tnl_type type = argument->type != TNL_NO_TYPE ? argument->type : call->type;
    if (!t->data)
        return argument->optional ? TNL_OK
                                  : FAIL(call, "%s: %s is NULL, expected %s data of shape %s", op,
                                         argument->name, tnl_type_name(type), shape);
    const tnl_status typed = check_type(call, argument, t);
    if (typed != TNL_OK)
        return typed;
    if (t->rank != argument->rank)
        return FAIL(call, "%s: %s.rank is %d, expected %d, shape %s", op, argument->name, t->rank,
                    argument->rank, shape);
    for (int i = 0; i < t->rank; i++) {
        tnl_status status = check_size(call, argument, i, t->shape[i]);
        if (status != TNL_OK)
            return status;
    }
    if ((uintptr_t)t->data % tnl_type_size(t->type) != 0)
        return FAIL(call, "%s: %s is %p, expected a multiple of %zu, its element's size", op,
                    argument->name, t->data, tnl_type_size(t->type));
    fill_strides(t);
    return check_strides(call, argument, t);
}

static bool is_derived(enum tnl_dim dim) {
    return dim == DIM_S || dim == DIM_F || dim == DIM_QK || dim == DIM_C;
}

/* Read the dimensions off the shapes (derived false), or hold the shapes against the dimensions
 * that follow from others (derived true). */
static tnl_status check_shapes(tnl_call *call, bool derived) {
    const tnl_operator_row *row = &tnl_operators[call->op];
    const char *first[DIM_COUNT] = {0};
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_argument *argument = &row->argument[i];
        for (int j = 0; call->tensor[i].data && j < argument->rank; j++) {
            enum tnl_dim dim = argument->shape[j];
            int64_t size = call->tensor[i].shape[j];
            if (is_derived(dim) != derived)
                continue;
            if (call->dim[dim] == 0) {
                call->dim[dim] = size;
                first[dim] = argument->name;
            }
            if (size != call->dim[dim])
                return FAIL(call, "%s: %s.shape[%d] is %lld, expected %s = %lld%s%s", row->name,
                            argument->name, j, (long long)size, tnl_dim_letter(dim),
                            (long long)call->dim[dim], first[dim] ? " as in " : "",
                            first[dim] ? first[dim] : "");
        }
    }
    return TNL_OK;
}

static bool same_place(const tnl_tensor *a, const tnl_tensor *b) {
    return a->data == b->data && a->type == b->type &&
           memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
           memcmp(a->stride, b->stride, sizeof a->stride) == 0;
}

/* No output overlaps another tensor, but for the input that it may be. */
static tnl_status check_overlap(const tnl_call *call) {
    const tnl_operator_row *row = &tnl_operators[call->op];
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_argument *out = &row->argument[i];
        if (out->role == TNL_INPUT || !call->tensor[i].data)
            continue;
        for (int j = 0; j < row->argument_count; j++) {
            const tnl_tensor *other = &call->tensor[j];
            bool allowed = out->in_place == j + 1;
            if (j == i || !other->data || (allowed && same_place(&call->tensor[i], other)) ||
                !tnl_may_overlap(&call->tensor[i], other))
                continue;
            return FAIL(call, "%s: %s at %p overlaps %s at %p, expected memory of its own%s",
                        row->name, out->name, call->tensor[i].data, row->argument[j].name,
                        other->data, allowed ? ", or exactly that tensor" : "");
        }
    }
    return TNL_OK;
}

tnl_status tnl_check_call(tnl_context *context, tnl_operator op, const void *args, tnl_call *call) {
    const tnl_operator_row *row = &tnl_operators[op];
    if (!context)
        return TNL_INVALID_ARGUMENT;
    *call = (tnl_call){.context = context, .op = op};
    if (!args)
        return FAIL(call, "%s: args is NULL, expected the operator's args struct", row->name);
    memcpy(call->tensor, args, sizeof(tnl_tensor) * (size_t)row->argument_count);
    const int typed = find_typed(row);
    call->type = call->tensor[typed].type;
    if (!(TNL_TYPE_BIT((unsigned)call->type & 31) & TNL_ALL_FLOATS) || (unsigned)call->type > 31)
        return FAIL(call, "%s: %s.type is %s (%d), expected f32, f16 or bf16", row->name,
                    row->argument[typed].name, tnl_type_name(call->type), (int)call->type);
    tnl_status status = TNL_OK;
    for (int i = 0; i < row->argument_count && status == TNL_OK; i++)
        status = check_tensor(call, &row->argument[i], &call->tensor[i]);
    if (status == TNL_OK)
        status = check_shapes(call, false);
    if (status == TNL_OK && row->relate)
        status = row->relate(call);
    if (status == TNL_OK)
        status = check_shapes(call, true);
    if (status == TNL_OK)
        status = check_overlap(call);
    if (status != TNL_OK || !row->has_eps)
        return status;
    memcpy(&call->eps, (const char *)args + sizeof(tnl_tensor) * (size_t)row->argument_count,
           sizeof call->eps);
    if (!(call->eps >= 0) || isinf(call->eps))
        return FAIL(call, "%s: eps is %g, expected a positive number, or 0 for %g", row->name,
                    call->eps, TNL_DEFAULT_EPS);
    if (call->eps == 0)
        call->eps = TNL_DEFAULT_EPS;
    return TNL_OK;
}

tnl_status tnl_check_workspace(const tnl_call *call, const tnl_options *options, size_t needed) {
    const tnl_operator_row *row = &tnl_operators[call->op];
    size_t bytes = options ? options->workspace_bytes : 0;
    void *workspace = options ? options->workspace : NULL;
    if (needed == 0)
        return TNL_OK;
    if (!workspace)
        return FAIL(call, "%s: workspace is NULL, expected %zu bytes", row->name, needed);
    if ((uintptr_t)workspace % TNL_WORKSPACE_ALIGNMENT != 0)
        return FAIL(call, "%s: workspace is %p, expected a multiple of %d", row->name, workspace,
                    TNL_WORKSPACE_ALIGNMENT);
    if (bytes < needed)
        return tnl_fail(call->context, TNL_WORKSPACE_TOO_SMALL,
                        "%s: workspace_bytes is %zu, expected at least %zu", row->name, bytes,
                        needed);
    uintptr_t begin = (uintptr_t)workspace, end = begin + needed;
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_tensor *t = &call->tensor[i];
        if (t->data && (uintptr_t)t->data < end &&
            begin < (uintptr_t)t->data + (uintptr_t)tnl_extent(t))
            return FAIL(call, "%s: workspace at %p overlaps %s at %p, expected memory of its own",
                        row->name, workspace, row->argument[i].name, t->data);
    }
    return TNL_OK;
}
