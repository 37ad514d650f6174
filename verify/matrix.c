/* Every row against its operator's reference, over the sweep. What is expected of a problem is
 * computed once, for all rows that mean the same by it, on whichever device. */
#include <stdio.h>
#include <stdlib.h>

#include "verify/describe.h"
#include "verify/judge.h"
#include "verify/parts.h"
#include "verify/run.h"
#include "verify/sweep.h"

/* eps by turns: the default, one large enough to matter, and 0, which stands for the default. In a
 * row of one or two elements the gradient is a difference of nearly equal numbers unless eps is
 * of their size. */
static double draw_eps(const problem_spec *spec) {
    static const double eps[] = {TNL_DEFAULT_EPS, 1e-2, 0};
    if (!tnl_operators[spec->op].has_eps)
        return TNL_DEFAULT_EPS;
    return spec->dim[DIM_HIDDEN] < 3 ? 1 : eps[spec->seed % 3];
}

static void judge_row(report *r, tnl_context *context, problem *p, const tnl_variant_row *row,
                      expectation *expected) {
    char line[512], text[512];
    describe_problem(&p->spec, line, sizeof line);
    run_result result = run_row(p, context, row, text, sizeof text);
    if (result == RUN_REJECTED) {
        report_skip(r, "does not take %s", line);
        return;
    }
    double bound = judge_bound(row, p->spec.type);
    if (result == RUN_FAILED) {
        report_case(r, false, 0, 0, "%s: %s", line, text);
        return;
    }
    const tnl_operator_row *op = &tnl_operators[row->op];
    tnl_reference *reference = row->kernel->reference ? row->kernel->reference : op->reference;
    tnl_reference *naive = row->kernel->naive ? row->kernel->naive : op->naive;
    if (expected->made_by != reference) {
        judge_forget(expected);
        if (!judge_expect(p, reference, naive, expected)) {
            report_case(r, false, 0, 0, "%s: out of memory", line);
            return;
        }
    }
    verdict v = judge(p, expected, bound);
    report_case(r, v.passed, v.error, bound, "%s: %s", line, v.text);
}

/* The rows of one device; the problem holds the same on each. */
static void judge_on(report *r, tnl_context *context, const problem_spec *spec,
                     expectation *expected) {
    problem p = {0};
    for (int i = 0; i < tnl_variants_count; i++) {
        const tnl_variant_row *row = &tnl_variants[i];
        if (row->op != spec->op || !(row->types & TNL_TYPE_BIT(spec->type)) ||
            run_obstacle(context, row) ||
            !report_begin(r, tnl_operators[row->op].name, row->name, tnl_type_name(spec->type)))
            continue;
        if (!p.plan && !problem_make(spec, context, &p)) {
            report_case(r, false, 0, 0, "out of memory");
            continue;
        }
        p.eps = draw_eps(spec);
        judge_row(r, context, &p, row, expected);
    }
    problem_free(&p);
}

static void judge_problem(report *r, const verify_devices *devices, const problem_spec *spec) {
    expectation expected = {0};
    for (int i = 0; i < devices->count; i++)
        judge_on(r, devices->context[i], spec, &expected);
    judge_forget(&expected);
}

/* NULL where one of the devices can run the row. */
static const char *obstacle_everywhere(const verify_devices *devices, const tnl_variant_row *row) {
    const char *obstacle = "no device";
    for (int i = 0; obstacle && i < devices->count; i++)
        obstacle = run_obstacle(devices->context[i], row);
    return obstacle;
}

/* Rows that can't be judged here, each of their types a test skipped. */
static void skip_rows(report *r, const verify_devices *devices) {
    for (int i = 0; i < tnl_variants_count; i++) {
        const tnl_variant_row *row = &tnl_variants[i];
        const char *obstacle = obstacle_everywhere(devices, row);
        for (int type = TNL_FLOAT32; obstacle && type <= TNL_BFLOAT16; type++)
            if (row->types & TNL_TYPE_BIT(type) &&
                report_begin(r, tnl_operators[row->op].name, row->name, tnl_type_name(type)))
                report_skip(r, "%s", obstacle);
    }
}

void verify_matrix(report *r, const verify_devices *devices) {
    for (int op = 0; op < TNL_OPERATOR_COUNT; op++) {
        for (int type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++) {
            sweep s;
            if (!sweep_make((tnl_operator)op, (tnl_type)type, r->quick, r->seed, &s)) {
                fputs("verify: out of memory\n", stderr);
                exit(EXIT_FAILURE);
            }
            for (int i = 0; i < s.count; i++)
                judge_problem(r, devices, &s.spec[i]);
            sweep_free(&s);
        }
    }
    skip_rows(r, devices);
}
