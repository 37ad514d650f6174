/*
 * Bad input for every public function. The operators' calls are made from the table: a good call,
 * which must run, spoilt in one place at a time; see verify/trial.h for what must come of it.
 */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "verify/parts.h"
#include "verify/run.h"
#include "verify/trial.h"

/* A workspace that a good call can't miss. */
typedef struct space {
    char *memory;
    size_t bytes;
} space;

static bool takes(const tnl_variant_row *row, const trial *t) {
    return row->op == t->good->spec.op && !run_obstacle(t->context, row) &&
           row->types & TNL_TYPE_BIT(t->good->spec.type);
}

/* The workspace of one variant: absent, too small, misaligned, over each tensor. */
static void try_workspace(trial *t, const char *variant, const space *room) {
    size_t needed;
    if (problem_workspace(t->good, t->context, variant, &needed) != TNL_OK || needed == 0)
        return;
    const size_t small[] = {0, needed / 2, needed - 1};
    for (size_t k = 0; k < sizeof small / sizeof *small; k++) {
        t->options = (tnl_options){variant, room->memory, small[k]};
        t->run_only = true;
        trial_judge(t, TNL_WORKSPACE_TOO_SMALL, "workspace_bytes", trial_text("%zu", small[k]),
                    "%s with a workspace of %zu bytes of %zu", variant, small[k], needed);
    }
    t->options = (tnl_options){variant, NULL, needed};
    t->run_only = true;
    trial_judge(t, TNL_INVALID_ARGUMENT, "workspace", "NULL", "%s without workspace", variant);
    t->options = (tnl_options){variant, room->memory + TNL_WORKSPACE_ALIGNMENT / 2, room->bytes};
    t->run_only = true;
    trial_judge(t, TNL_INVALID_ARGUMENT, "workspace", trial_text("%p", t->options.workspace),
                "%s with a misaligned workspace", variant);
    for (int i = 0; i < t->row->argument_count; i++) {
        uintptr_t data = (uintptr_t)t->tensor[i].data;
        uintptr_t at = data / TNL_WORKSPACE_ALIGNMENT * TNL_WORKSPACE_ALIGNMENT;
        if (!data || data - at >= needed)
            continue;
        t->options = (tnl_options){variant, (void *)at, needed};
        t->run_only = true;
        trial_judge(t, TNL_INVALID_ARGUMENT, "workspace", trial_text("%p", t->options.workspace),
                    "%s with a workspace over %s", variant, t->row->argument[i].name);
    }
}

/* Variants that there are not, or not here. */
static void try_variants(trial *t, const space *room) {
    char endless[4096];
    memset(endless, 'v', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    const char *const unknown[] = {"no_such_variant", "", endless};
    for (size_t k = 0; k < sizeof unknown / sizeof *unknown; k++) {
        t->options.variant = unknown[k];
        trial_judge(t, TNL_INVALID_ARGUMENT, "variant", k == 0 ? unknown[k] : NULL,
                    "variant of %zu letters", strlen(unknown[k]));
    }
    for (int i = 0; i < tnl_variants_count; i++) {
        const tnl_variant_row *row = &tnl_variants[i];
        bool here = false;
        for (int j = 0; j < tnl_variants_count; j++)
            here |= takes(&tnl_variants[j], t) && strcmp(tnl_variants[j].name, row->name) == 0;
        if (row->op == t->good->spec.op && !here) {
            t->options.variant = row->name;
            trial_judge(t, TNL_UNSUPPORTED, "variant", row->name, "variant %s", row->name);
        } else if (row->op == t->good->spec.op && takes(row, t)) {
            try_workspace(t, row->name, room);
        }
    }
}

/* NULL in place of the struct, the context, the result. */
static void try_nulls(trial *t) {
    const tnl_typed *typed = &tnl_typed_functions[t->good->spec.op];
    tnl_any_args args = tnl_make_args(t->good->spec.op, t->tensor, t->eps);
    size_t bytes = 12345;
    trial_verdict(t, typed->run(NULL, &args, &t->options), TNL_INVALID_ARGUMENT, NULL, NULL,
                  "context NULL");
    trial_verdict(t, typed->run(NULL, NULL, NULL), TNL_INVALID_ARGUMENT, NULL, NULL, "all NULL");
    trial_verdict(t, typed->workspace(NULL, &args, &t->options, &bytes), TNL_INVALID_ARGUMENT, NULL,
                  NULL, "context NULL (workspace query)");
    trial_verdict(t, typed->run(t->context, NULL, &t->options), TNL_INVALID_ARGUMENT, "args",
                  "NULL", "args NULL");
    tnl_fail(t->context, TNL_OK, "an older text");
    trial_verdict(t, typed->workspace(t->context, NULL, &t->options, &bytes), TNL_INVALID_ARGUMENT,
                  "args", "NULL", "args NULL (workspace query)");
    trial_verdict(t, typed->workspace(t->context, &args, &t->options, NULL), TNL_INVALID_ARGUMENT,
                  "bytes", "NULL", "bytes NULL");
    report_case(t->report, bytes == 12345, 0, 0, "*bytes after refused workspace queries");
}

/* Run the good call: without that, what is refused proves nothing. */
static bool runs_good(trial *t, space *room) {
    for (int i = 0; i < tnl_variants_count; i++) {
        size_t needed;
        if (takes(&tnl_variants[i], t) &&
            problem_workspace(t->good, t->context, tnl_variants[i].name, &needed) == TNL_OK &&
            needed > room->bytes)
            room->bytes = needed;
    }
    room->memory = tnl_memory_allocate(t->context->device, room->bytes);
    bool ran = room->memory && problem_poison(t->good) &&
               problem_run(t->good, t->context, NULL, room->memory, room->bytes) == TNL_OK &&
               tnl_memory_synchronize(t->context) && problem_poison(t->good);
    return report_case(t->report, ran, 0, 0, "the good call: %s", tnl_context_error(t->context));
}

static void try_problem(report *r, tnl_context *context, const problem_spec *spec, int64_t *count) {
    problem good;
    if (!problem_make(spec, context, &good)) {
        report_case(r, false, 0, 0, "out of memory");
        return;
    }
    trial t = {.report = r,
               .context = context,
               .good = &good,
               .row = &tnl_operators[spec->op],
               .count = count};
    space room = {NULL, 1};
    if (runs_good(&t, &room)) {
        trial_reset(&t, room.memory, room.bytes);
        trial_tensors(&t);
        trial_contents(&t);
        try_variants(&t, &room);
        try_nulls(&t);
    }
    tnl_memory_free(context->device, room.memory);
    problem_free(&good);
}

/* With every optional tensor, as a batch and packed, and with none. */
static void try_operator(report *r, tnl_context *context, tnl_operator op, int64_t *count) {
    static const int64_t size[DIM_COUNT] = {
        [DIM_B] = 3, [DIM_H] = 3,       [DIM_N] = 7, [DIM_D] = 4, [DIM_E] = 6,
        [DIM_M] = 7, [DIM_HIDDEN] = 12, [DIM_G] = 8, [DIM_K] = 48};
    static const int32_t cu_seqlens[] = {0, 3, 3, 7};
    const tnl_operator_row *row = &tnl_operators[op];
    problem_spec spec = {
        .op = op, .type = TNL_FLOAT32, .cu_seqlens = cu_seqlens, .position = 5, .seed = r->seed};
    unsigned all = 0, packed = 0;
    for (int i = 0; i < row->argument_count; i++) {
        if (row->argument[i].content == CONTENT_CU_SEQLENS)
            packed |= 1u << i;
        else if (row->argument[i].optional)
            all |= 1u << i;
    }
    const unsigned present[] = {0, all, all | packed};
    for (int k = 0; k < 3; k++) {
        if (k > 0 && present[k] == present[k - 1])
            continue;
        for (int i = 0; i < DIM_COUNT; i++)
            spec.dim[i] = 0;
        for (int i = 0; row->named[i] != DIM_NONE; i++)
            spec.dim[row->named[i]] = size[row->named[i]];
        if (spec.dim[DIM_K])
            spec.dim[DIM_H] = size[DIM_H];
        if (k == 2) {
            spec.dim[DIM_B] = spec.dim[DIM_B] ? 1 : 0;
            spec.dim[DIM_S] = (int64_t)(sizeof cu_seqlens / sizeof *cu_seqlens) - 1;
        }
        spec.present = present[k];
        problem_complete(&spec);
        try_problem(r, context, &spec, count);
    }
}

void verify_bad_input(report *r, tnl_context *context) {
    int64_t count = 0;
    for (int op = 0; op < TNL_OPERATOR_COUNT; op++)
        if (report_begin(r, tnl_operators[op].name, "bad input", ""))
            try_operator(r, context, (tnl_operator)op, &count);
    trial_functions(r, context);
}
