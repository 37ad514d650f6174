/* The typed functions of tnl.h by operator, so that a program that goes by the table reaches the
 * very functions that a user calls. */
#ifndef TNL_CORE_API_H
#define TNL_CORE_API_H

#include "core/table.h"

/* Room for any operator's args struct: its tensors in table order, then (where has_eps) eps right
 * behind the last of them. core/api.c asserts that the structs are laid out so. */
typedef struct tnl_any_args {
    tnl_tensor tensor[TNL_MAX_TENSORS + 1];
} tnl_any_args;

typedef struct tnl_typed {
    tnl_status (*run)(tnl_context *, const void *args, const tnl_options *);
    tnl_status (*workspace)(tnl_context *, const void *args, const tnl_options *, size_t *bytes);
} tnl_typed;

extern const tnl_typed tnl_typed_functions[TNL_OPERATOR_COUNT];

/* The args struct of an operator from its tensors and eps (ignored where it has none). */
tnl_any_args tnl_make_args(tnl_operator op, const tnl_tensor *tensor, double eps);

/* Check a call's arguments as the typed functions do, and fill in *call (workspace excepted).
 * Index contents and slopes are read where the context is a CPU one. */
tnl_status tnl_check_call(tnl_context *context, tnl_operator op, const void *args, tnl_call *call);
/* The row that would run the call: the one named, or the table's choice (variant NULL). */
tnl_status tnl_choose_variant(const tnl_call *call, const char *variant,
                              const tnl_variant_row **row);

#endif
