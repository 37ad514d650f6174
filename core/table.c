/* The variants' rows, made from core/variants.h, and questions about the table. */
#include "core/table.h"

#include <stdio.h>
#include <string.h>

#include "core/kernels.h"

/* The enumerator of an operator from its lower-case name: OP_decode. */
enum {
#define OPERATOR(name, NAME) OP_##name = TNL_##NAME,
#include "core/operators.h"
#undef OPERATOR
};

#ifdef TNL_WITH_CUDA
#define CUDA_KERNEL(op, variant) &tnl_cuda_##op##_##variant
#else
#define CUDA_KERNEL(op, variant) NULL
#endif
#define CPU(op, variant, types, summary)                                                           \
    {(tnl_operator)OP_##op, #variant, TNL_CPU, 0, types, true, summary, &tnl_cpu_##op##_##variant},
#define CPU_NAMED(op, variant, types, summary)                                                     \
    {(tnl_operator)OP_##op, #variant, TNL_CPU, 0, types, false, summary, &tnl_cpu_##op##_##variant},
#define CUDA(op, variant, cc, types, summary)                                                      \
    {(tnl_operator)OP_##op, #variant, TNL_CUDA, cc, types, true, summary, CUDA_KERNEL(op, variant)},
#define CUDA_NAMED(op, variant, cc, types, summary)                                                \
    {(tnl_operator)OP_##op,   #variant, TNL_CUDA, cc, types, false, summary,                       \
     CUDA_KERNEL(op, variant)},

const tnl_variant_row tnl_variants[] = {
#include "core/variants.h"
};
const int tnl_variants_count = sizeof tnl_variants / sizeof *tnl_variants;

const char *tnl_dim_letter(enum tnl_dim dim) {
    static const char *const letter[DIM_COUNT] = {
        [DIM_NONE] = "",  [DIM_B] = "b",         [DIM_H] = "h",    [DIM_N] = "n",
        [DIM_D] = "d",    [DIM_E] = "e",         [DIM_F] = "f",    [DIM_S] = "s",
        [DIM_S1] = "s+1", [DIM_SLOTS] = "slots", [DIM_M] = "m",    [DIM_HIDDEN] = "D",
        [DIM_G] = "g",    [DIM_K] = "k",         [DIM_QK] = "k/2", [DIM_C] = "c",
    };
    return letter[dim];
}

tnl_operator tnl_find_operator(const char *name) {
    int op = 0;
    while (op < TNL_OPERATOR_COUNT && strcmp(tnl_operators[op].name, name) != 0)
        op++;
    return (tnl_operator)op;
}

int tnl_find_argument(tnl_operator op, const char *name) {
    for (int i = 0; i < tnl_operators[op].argument_count; i++)
        if (strcmp(tnl_operators[op].argument[i].name, name) == 0)
            return i;
    return -1;
}

double tnl_tensor_bytes(const tnl_tensor *tensor) {
    double bytes = (double)tnl_type_size(tensor->type);
    for (int i = 0; i < tensor->rank; i++)
        bytes *= (double)tensor->shape[i];
    return bytes;
}

double tnl_call_bytes(const tnl_call *call) {
    const tnl_operator_row *row = &tnl_operators[call->op];
    double total = 0;
    for (int i = 0; i < row->argument_count; i++) {
        if (!call->tensor[i].data)
            continue;
        double bytes = tnl_tensor_bytes(&call->tensor[i]);
        if (row->argument[i].shape[0] == DIM_SLOTS)
            bytes *= (double)call->dim[DIM_B] / (double)call->dim[DIM_SLOTS];
        total += row->argument[i].role == TNL_IN_OUT ? 2 * bytes : bytes;
    }
    return total;
}

/* ---- listing, for tnl.h ------------------------------------------------------------------- */

tnl_status tnl_get_operator(tnl_operator op, tnl_operator_info *info) {
    if ((int)op < 0 || op >= TNL_OPERATOR_COUNT || !info)
        return TNL_INVALID_ARGUMENT;
    int variants = 0;
    for (int i = 0; i < tnl_variants_count; i++)
        variants += tnl_variants[i].op == op;
    const tnl_operator_row *row = &tnl_operators[op];
    *info = (tnl_operator_info){row->name, row->definition, row->argument_count, variants};
    return TNL_OK;
}

tnl_status tnl_get_argument(tnl_operator op, int index, tnl_argument_info *info) {
    if ((int)op < 0 || op >= TNL_OPERATOR_COUNT || !info || index < 0 ||
        index >= tnl_operators[op].argument_count)
        return TNL_INVALID_ARGUMENT;
    const tnl_argument *argument = &tnl_operators[op].argument[index];
    *info = (tnl_argument_info){
        argument->name,      argument->role, argument->optional, argument->type, "",
        argument->or_float32};
    tnl_shape_text(argument, info->shape, sizeof info->shape);
    return TNL_OK;
}

tnl_status tnl_get_variant(tnl_operator op, int index, tnl_variant_info *info) {
    if ((int)op < 0 || op >= TNL_OPERATOR_COUNT || !info || index < 0)
        return TNL_INVALID_ARGUMENT;
    for (int i = 0; i < tnl_variants_count; i++) {
        const tnl_variant_row *row = &tnl_variants[i];
        if (row->op != op || index-- > 0)
            continue;
        *info =
            (tnl_variant_info){row->name,  row->summary,       row->device, row->compute_capability,
                               row->types, row->kernel != NULL};
        return TNL_OK;
    }
    return TNL_INVALID_ARGUMENT;
}

void tnl_shape_text(const tnl_argument *argument, char *text, size_t size) {
    size_t length = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < argument->rank && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", i ? "," : "",
                                   tnl_dim_letter(argument->shape[i]));
    if (length < size)
        snprintf(text + length, size - length, "]");
}
