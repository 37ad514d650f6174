/* From a checked call to the row that runs it: the one named, or the last that takes it. */
#include <stdio.h>
#include <string.h>

#include "core/api.h"
#include "core/check.h"
#include "core/context.h"
#include "core/cuda.h"
#include "core/dispatch.h"
#include "core/types.h"

static const char *device_name(tnl_device device) {
    return device == TNL_CUDA ? "CUDA" : "the CPU";
}

/* NULL where the row can run the call, else why not. */
static const char *row_rejects(const tnl_variant_row *row, const tnl_call *call) {
    if (!row->kernel)
        return "is not in this build";
    if (row->compute_capability > call->context->compute_capability)
        return "needs a newer device";
    if (!(row->types & TNL_TYPE_BIT(call->type)))
        return "does not take the type";
    return row->kernel->rejects ? row->kernel->rejects(call) : NULL;
}

/* Append "name, " and the like to a text that may be full. */
static void append(char *text, size_t size, const char *a, const char *b, const char *c) {
    size_t length = strlen(text);
    snprintf(text + length, size - length, "%s%s%s%s", length ? "; " : "", a, b, c);
}

static tnl_status choose_named(const tnl_call *call, const char *name,
                               const tnl_variant_row **row) {
    const char *op = tnl_operators[call->op].name;
    tnl_context *context = call->context;
    const tnl_variant_row *elsewhere = NULL;
    char names[256] = "";
    for (int i = 0; i < tnl_variants_count; i++) {
        const tnl_variant_row *candidate = &tnl_variants[i];
        if (candidate->op != call->op)
            continue;
        bool named = strcmp(candidate->name, name) == 0;
        if (candidate->device != context->device) {
            elsewhere = named ? candidate : elsewhere;
            continue;
        }
        if (!named) {
            append(names, sizeof names, candidate->name, "", "");
            continue;
        }
        const char *why = row_rejects(candidate, call);
        if (why)
            return tnl_fail(context, TNL_UNSUPPORTED,
                            "%s: variant is \"%s\", which %s (type %s), expected one that takes "
                            "the call",
                            op, name, why, tnl_type_name(call->type));
        *row = candidate;
        return TNL_OK;
    }
    if (elsewhere)
        return tnl_fail(context, TNL_UNSUPPORTED,
                        "%s: variant is \"%s\", which runs on %s, expected one that runs on %s", op,
                        name, device_name(elsewhere->device), device_name(context->device));
    return tnl_fail(context, TNL_INVALID_ARGUMENT, "%s: variant is \"%.64s\", expected one of %s",
                    op, name, names);
}

tnl_status tnl_choose_variant(const tnl_call *call, const char *variant,
                              const tnl_variant_row **row) {
    if (variant)
        return choose_named(call, variant, row);
    char reasons[512] = "";
    for (int i = tnl_variants_count - 1; i >= 0; i--) {
        const tnl_variant_row *candidate = &tnl_variants[i];
        if (candidate->op != call->op || candidate->device != call->context->device ||
            !candidate->chosen)
            continue;
        const char *why = row_rejects(candidate, call);
        if (!why) {
            *row = candidate;
            return TNL_OK;
        }
        append(reasons, sizeof reasons, candidate->name, " ", why);
    }
    return tnl_fail(call->context, TNL_UNSUPPORTED,
                    "%s: type is %s, expected a call that a variant on %s takes (%s)",
                    tnl_operators[call->op].name, tnl_type_name(call->type),
                    device_name(call->context->device), reasons);
}

/* Check the arguments and choose the row. */
static tnl_status prepare(tnl_context *context, tnl_operator op, const void *args,
                          const tnl_options *options, tnl_call *call, const tnl_variant_row **row) {
    tnl_status status = tnl_check_call(context, op, args, call);
    return status != TNL_OK ? status
                            : tnl_choose_variant(call, options ? options->variant : NULL, row);
}

static size_t workspace_needed(const tnl_variant_row *row, const tnl_call *call) {
    return row->kernel->workspace ? row->kernel->workspace(call) : 0;
}

tnl_status tnl_workspace(tnl_context *context, tnl_operator op, const void *args,
                         const tnl_options *options, size_t *bytes) {
    tnl_call call;
    const tnl_variant_row *row;
    if (!bytes)
        return tnl_fail(context, TNL_INVALID_ARGUMENT,
                        "%s_workspace: bytes is NULL, expected a pointer to the result",
                        tnl_operators[op].name);
    tnl_status status = prepare(context, op, args, options, &call, &row);
    if (status == TNL_OK)
        *bytes = workspace_needed(row, &call);
    return status;
}

/* Launch with the context's device as the current one; the caller's comes back. */
static tnl_status launch(const tnl_variant_row *row, const tnl_call *call) {
    int previous;
    tnl_status status = tnl_enter_device(call->context, &previous);
    if (status == TNL_OK) {
        status = row->kernel->launch(call);
        tnl_leave_device(call->context, previous);
    }
    return status;
}

static tnl_status run(tnl_context *context, tnl_operator op, const void *args,
                      const tnl_options *options, bool settled) {
    tnl_call call;
    const tnl_variant_row *row;
    tnl_status status = prepare(context, op, args, options, &call, &row);
    if (status == TNL_OK && context->device == TNL_CPU)
        status = tnl_check_contents(&call);
    if (status == TNL_OK)
        status = tnl_check_workspace(&call, options, workspace_needed(row, &call));
    if (status != TNL_OK)
        return status;
    call.workspace = options ? options->workspace : NULL;
    call.workspace_bytes = options ? options->workspace_bytes : 0;
    call.settled = settled;
    return launch(row, &call);
}

tnl_status tnl_run(tnl_context *context, tnl_operator op, const void *args,
                   const tnl_options *options) {
    return run(context, op, args, options, false);
}

tnl_status tnl_run_settled(tnl_context *context, tnl_operator op, const void *args,
                           const tnl_options *options) {
    return run(context, op, args, options, true);
}
