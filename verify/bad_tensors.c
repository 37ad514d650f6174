/*
 * Bad tensors, made from the table: each argument in turn gets what its row does not allow, each
 * output is laid over every other tensor.
 */
#include <limits.h>
#include <string.h>

#include "verify/trial.h"

static bool present(const trial *t, int i) {
    return t->tensor[i].data != NULL;
}

/* The same call with the tensor's strides spelt out. */
static void spell_strides(tnl_tensor *tensor) {
    int64_t stride = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        tensor->stride[i] = stride;
        stride *= tensor->shape[i];
    }
}

static void try_null_and_rank(trial *t, int i) {
    const tnl_argument *argument = &t->row->argument[i];
    static const int ranks[] = {-1, 0, 1, 2, 3, 4, TNL_MAX_RANK + 1, INT_MAX};
    if (!argument->optional) {
        t->tensor[i].data = NULL;
        trial_judge(t, TNL_INVALID_ARGUMENT, argument->name, "NULL", "%s NULL", argument->name);
    }
    for (size_t k = 0; k < sizeof ranks / sizeof *ranks; k++) {
        if (ranks[k] == argument->rank)
            continue;
        t->tensor[i].rank = ranks[k];
        trial_judge(t, TNL_INVALID_ARGUMENT, argument->name, trial_text("%d", ranks[k]),
                    "%s.rank %d", argument->name, ranks[k]);
    }
}

/* Whether argument i may have that type, whatever may then be wrong with the other tensors:
 * float32 beside another data type, or another data type beside float32 that is allowed for all
 * others. */
static bool may_be(const trial *t, int i, tnl_type type) {
    const tnl_argument *argument = t->row->argument;
    if (argument[i].or_float32)
        return type == TNL_FLOAT32 && argument[i].role == TNL_INPUT;
    bool may = type == TNL_FLOAT16 || type == TNL_BFLOAT16;
    for (int j = 0; j < t->row->argument_count; j++)
        may = may && (j == i || argument[j].or_float32) && t->tensor[j].type == TNL_FLOAT32;
    return may;
}

static void try_type(trial *t, int i) {
    const tnl_argument *argument = &t->row->argument[i];
    tnl_type right = t->tensor[i].type;
    static const int types[] = {TNL_NO_TYPE, TNL_FLOAT32, TNL_FLOAT16,   TNL_BFLOAT16,
                                TNL_INT32,   TNL_INT64,   TNL_INT64 + 1, 32 + TNL_FLOAT32,
                                99,          -1};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        if (types[k] == (int)right)
            continue;
        tnl_type type = (tnl_type)types[k];
        if (may_be(t, i, type))
            continue;
        bool known = tnl_type_size(type) != 0;
        t->tensor[i].type = type;
        trial_judge(t, TNL_INVALID_ARGUMENT, argument->name,
                    known ? tnl_type_name(type) : trial_text("%d", types[k]), "%s.type %d",
                    argument->name, types[k]);
    }
}

/* A size that is wrong alone, or beside the other tensors' sizes. */
static void try_sizes(trial *t, int i) {
    const tnl_argument *argument = &t->row->argument[i];
    for (int j = 0; j < argument->rank; j++) {
        int64_t size = t->tensor[i].shape[j];
        enum tnl_dim dim = argument->shape[j];
        int64_t sizes[] = {0, -1, INT64_MIN, (int64_t)INT32_MAX + 1, INT64_MAX, size - 1, size + 1};
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            bool beside = sizes[k] == size - 1 || sizes[k] == size + 1;
            /* Another number of sequences or slots can be right by its shape. */
            if (beside && dim == DIM_S1)
                sizes[k] = 1;
            if (beside && dim == DIM_SLOTS && (sizes[k] > size || size > t->good->spec.dim[DIM_B]))
                continue;
            t->tensor[i].shape[j] = sizes[k];
            trial_judge(t, TNL_INVALID_ARGUMENT, argument->name,
                        trial_text("%lld", (long long)sizes[k]), "%s.shape[%d] %lld",
                        argument->name, j, (long long)sizes[k]);
        }
    }
}

static void try_stride(trial *t, int i, int j, int64_t stride) {
    const char *name = t->row->argument[i].name;
    spell_strides(&t->tensor[i]);
    t->tensor[i].stride[j] = stride;
    trial_judge(t, TNL_INVALID_ARGUMENT, name, trial_text("%lld", (long long)stride),
                "%s.stride[%d] %lld", name, j, (long long)stride);
}

/* A last dimension that is not contiguous, elements that share memory, strides that run backwards
 * or out of the address space. Strides of dimensions of size 1 mean nothing. */
static void try_strides(trial *t, int i) {
    tnl_tensor good = t->tensor[i];
    spell_strides(&good);
    int last = good.rank - 1;
    if (good.shape[last] > 1) {
        try_stride(t, i, last, 2);
        try_stride(t, i, last, -1);
        if (last > 0)
            try_stride(t, i, last, 0);
    }
    for (int j = 0; j < last; j++) {
        if (good.shape[j] == 1)
            continue;
        try_stride(t, i, j, 0);
        try_stride(t, i, j, good.stride[j] - 1);
        try_stride(t, i, j, -good.stride[j]);
        try_stride(t, i, j, INT64_MIN);
        if (j == 0) {
            try_stride(t, i, j, INT64_MAX);
            try_stride(t, i, j, INT64_MAX / 4);
        }
    }
}

static void try_address(trial *t, int i) {
    const char *name = t->row->argument[i].name;
    t->tensor[i].data = (char *)t->tensor[i].data + 1;
    trial_judge(t, TNL_INVALID_ARGUMENT, name, trial_text("%p", t->tensor[i].data),
                "%s one byte on", name);
    t->tensor[i].data = (void *)(UINTPTR_MAX - 7); /* never followed */
    trial_judge(t, TNL_INVALID_ARGUMENT, name, NULL, "%s at the end of the address space", name);
}

/* Output i at `data`, over tensor j. */
static void try_over(trial *t, int i, int j, uintptr_t data) {
    const char *name = t->row->argument[i].name;
    bool exactly = data == (uintptr_t)t->tensor[j].data && t->tensor[i].type == t->tensor[j].type &&
                   memcmp(t->tensor[i].shape, t->tensor[j].shape, sizeof t->tensor[i].shape) == 0;
    if (exactly && t->row->argument[i].in_place == j + 1)
        return;
    long long from = (long long)data - (long long)(uintptr_t)t->tensor[j].data;
    t->tensor[i].data = (void *)data; /* never followed */
    trial_judge(t, TNL_INVALID_ARGUMENT, name, trial_text("%p", t->tensor[i].data),
                "%s %lld bytes from %s", name, from, t->row->argument[j].name);
}

/* Output i over the beginning and the end of tensor j, and exactly where it is. */
static void try_overlaps(trial *t, int i) {
    for (int j = 0; j < t->row->argument_count; j++) {
        if (j == i || !present(t, j))
            continue;
        size_t step = tnl_type_size(t->tensor[i].type), other = tnl_type_size(t->tensor[j].type);
        step = other > step ? other : step;
        uintptr_t begin = (uintptr_t)t->tensor[j].data;
        uintptr_t end = begin + (uintptr_t)tnl_tensor_bytes(&t->tensor[j]);
        uintptr_t bytes = (uintptr_t)tnl_tensor_bytes(&t->tensor[i]);
        try_over(t, i, j, begin);
        try_over(t, i, j, (begin - bytes + step) / step * step);
        try_over(t, i, j, (end - 1) / step * step);
    }
}

/* Two strided tensors whose rows interleave, but for one element that both have. */
static void try_interleaved(trial *t, int i) {
    tnl_tensor *out = &t->tensor[i];
    for (int j = 0; j < t->row->argument_count; j++) {
        tnl_tensor *other = &t->tensor[j];
        if (j == i || !present(t, j) || out->rank != 2 || other->rank != 2 ||
            out->shape[0] != other->shape[0] || out->type != other->type)
            continue;
        int64_t token = out->shape[1] + other->shape[1];
        out->stride[0] = other->stride[0] = token;
        out->stride[1] = other->stride[1] = 1;
        out->data = (char *)other->data + (size_t)(other->shape[1] - 1) * tnl_type_size(out->type);
        trial_judge(t, TNL_INVALID_ARGUMENT, t->row->argument[i].name, trial_text("%p", out->data),
                    "%s interleaved with %s, one element too near", t->row->argument[i].name,
                    t->row->argument[j].name);
    }
}

/* A type that no row takes here. */
static void try_unsupported(trial *t) {
    for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++) {
        bool taken = false;
        for (int i = 0; i < tnl_variants_count; i++)
            taken |= tnl_variants[i].op == t->good->spec.op &&
                     tnl_variants[i].device == t->context->device &&
                     tnl_variants[i].types & TNL_TYPE_BIT(type);
        if (taken)
            continue;
        for (int i = 0; i < t->row->argument_count; i++)
            if (t->row->argument[i].type == TNL_NO_TYPE)
                t->tensor[i].type = type;
        trial_judge(t, TNL_UNSUPPORTED, "type", tnl_type_name(type), "all data %s",
                    tnl_type_name(type));
    }
}

void trial_tensors(trial *t) {
    for (int i = 0; i < t->row->argument_count; i++) {
        if (!present(t, i))
            continue;
        try_null_and_rank(t, i);
        try_type(t, i);
        try_sizes(t, i);
        try_strides(t, i);
        try_address(t, i);
        if (t->row->argument[i].role == TNL_INPUT)
            continue;
        try_overlaps(t, i);
        try_interleaved(t, i);
    }
    try_unsupported(t);
}
