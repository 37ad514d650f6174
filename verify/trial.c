/* Making trials and judging them. */
#include "verify/trial.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "verify/plan.h"

static const size_t untouched_bytes = 0x5eed; /* what *bytes holds before a _workspace call */

void trial_reset(trial *t, void *workspace, size_t bytes) {
    memcpy(t->tensor, t->good->tensor, sizeof t->tensor);
    for (int i = 0; i < TNL_MAX_TENSORS; i++)
        memset(t->tensor[i].stride, 0, sizeof t->tensor[i].stride);
    t->eps = t->good->eps;
    t->options = (tnl_options){NULL, workspace, bytes};
    t->run_only = false;
}

const char *trial_text(const char *format, ...) {
    static char text[64];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return text;
}

/* Whether the text has the word, with no letter, digit or _ on either side. */
static bool has_word(const char *text, const char *word) {
    size_t length = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at++) {
        unsigned char before = at == text ? ' ' : (unsigned char)at[-1];
        unsigned char after = (unsigned char)at[length];
        if (!isalnum(before) && before != '_' && !isalnum(after) && after != '_')
            return true;
    }
    return false;
}

/* What is wrong with the context's error text, or NULL. */
static const char *text_fault(const trial *t, const char *name, const char *value) {
    const char *text = tnl_context_error(t->context);
    size_t length = strlen(t->row->name);
    if (strncmp(text, t->row->name, length) != 0)
        return "the text does not begin with the operator";
    if (!has_word(text + length, name))
        return "the text does not name the argument";
    if (value && !has_word(text + length, value))
        return "the text does not say the value";
    return has_word(text, "expected") ? NULL : "the text does not say what was expected";
}

/* The first tensor of a block that no longer holds what it held, or NULL. */
static const char *touched(problem *p) {
    if (!problem_fetch(p))
        return "(the device failed)";
    for (int i = 0; i < p->plan->block_count; i++) {
        const problem_block *block = &p->plan->block[i];
        if (memcmp(block->host, block->first, block->bytes) != 0)
            return tnl_operators[p->spec.op].argument[block->owner].name;
    }
    return NULL;
}

void trial_verdict(trial *t, tnl_status got, tnl_status status, const char *name, const char *value,
                   const char *what) {
    const char *fault = name ? text_fault(t, name, value) : NULL;
    const char *written = touched(t->good);
    if (got != status)
        report_case(t->report, false, 0, 0, "%s: %s, expected %s (\"%s\")", what,
                    tnl_status_name(got), tnl_status_name(status), tnl_context_error(t->context));
    else if (fault)
        report_case(t->report, false, 0, 0, "%s: %s %s, value %s: \"%s\"", what, fault, name,
                    value ? value : "any", tnl_context_error(t->context));
    else if (written)
        report_case(t->report, false, 0, 0, "%s: %s was written to", what, written);
    else
        report_case(t->report, true, 0, 0, "%s", what);
    if (written)
        problem_poison(t->good);
}

void trial_judge(trial *t, tnl_status status, const char *name, const char *value,
                 const char *format, ...) {
    void *workspace = t->options.workspace;
    size_t workspace_bytes = t->options.workspace_bytes, bytes = untouched_bytes;
    if (!t->report->quick || (*t->count)++ % 10 == 0) {
        char what[192];
        va_list list;
        va_start(list, format);
        vsnprintf(what, sizeof what, format, list);
        va_end(list);
        const tnl_typed *typed = &tnl_typed_functions[t->good->spec.op];
        tnl_any_args args = tnl_make_args(t->good->spec.op, t->tensor, t->eps);
        tnl_fail(t->context, TNL_OK, "an older text");
        tnl_status got = typed->run(t->context, &args, &t->options);
        trial_verdict(t, got, status, name, value, what);
        if (!t->run_only) {
            strncat(what, " (workspace query)", sizeof what - strlen(what) - 1);
            tnl_fail(t->context, TNL_OK, "an older text");
            got = typed->workspace(t->context, &args, &t->options, &bytes);
            trial_verdict(t, got, status, name, value, what);
            if (bytes != untouched_bytes)
                report_case(t->report, false, 0, 0, "%s: *bytes was written to", what);
        }
    }
    trial_reset(t, workspace, workspace_bytes);
}
