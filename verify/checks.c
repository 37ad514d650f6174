/*
 * Checks that belong to no row: slopes against their formulas, conversions between types, what
 * the listing functions say, and the two forms of the attention reference against each other.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/types.h"
#include "reference/reference.h"
#include "verify/describe.h"
#include "verify/judge.h"
#include "verify/parts.h"
#include "verify/sweep.h"

/* ---- slopes ------------------------------------------------------------------------------- */

enum { MOST_HEADS = 128 };

/* ALiBi's slopes, as powers of two with these exponents, where the number of heads is such that
 * they can be written down. */
static const struct {
    int heads;
    double exponent[16];
} alibi[] = {
    {1, {8}},
    {2, {4, 8}},
    {3, {4, 8, 2}},
    {4, {2, 4, 6, 8}},
    {6, {2, 4, 6, 8, 1, 3}},
    {8, {1, 2, 3, 4, 5, 6, 7, 8}},
    {12, {1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5}},
    {16, {0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8}},
};

static double slope_error(double slope, double expected) {
    return expected == 0 ? slope : fabs(slope / expected - 1);
}

static void check_slopes(report *r) {
    const double bound = 1.2e-7; /* a rounding to float32 */
    float slope[MOST_HEADS];
    for (size_t i = 0; i < sizeof alibi / sizeof *alibi; i++) {
        static const int layers[] = {1, 2, 24};
        for (int j = 0; j < 9; j++) {
            int count = layers[j / 3], layer = (count - 1) * (j % 3) / 2, heads = alibi[i].heads;
            double factor = 1 + 1e-5 - (count > 1 ? (double)layer / (count - 1) : 0), worst = 0;
            bool made = tnl_slopes_released(heads, count, layer, slope) == TNL_OK;
            for (int h = 0; made && h < heads; h++)
                worst = fmax(worst, slope_error(slope[h], exp2(-alibi[i].exponent[h]) * factor));
            report_case(r, made && worst < bound, worst, bound,
                        "tnl_slopes_released, %d heads, layer %d of %d: off by %.3g", heads, layer,
                        count, worst);
        }
    }
    for (int heads = 1; heads <= MOST_HEADS; heads += heads < 8 ? 1 : 12) {
        static const int layer_of[][2] = {{0, 1}, {0, 24}, {11, 24}, {23, 24}};
        for (int j = 0; j < 4; j++) {
            int layer = layer_of[j][0], count = layer_of[j][1];
            double worst = 0;
            bool made = tnl_slopes_paper(heads, count, layer, slope) == TNL_OK;
            for (int h = 1; made && h <= heads; h++)
                worst = fmax(worst, slope_error(slope[h - 1],
                                                8.0 * h / heads * (1 - (layer + 1.0) / count)));
            report_case(r, made && worst < bound, worst, bound,
                        "tnl_slopes_paper, %d heads, layer %d of %d: off by %.3g", heads, layer,
                        count, worst);
        }
    }
}

/* ---- types -------------------------------------------------------------------------------- */

/* Every 16-bit number comes back from double as it was, and what lies between two of them goes
 * to the nearer, a tie to the even one. */
static void check_type(report *r, tnl_type type) {
    int wrong_way = 0, wrong_rounding = 0, wrong_ulp = 0;
    for (uint32_t bits = 0; bits < 0x8000; bits++) {
        uint16_t number[2] = {(uint16_t)bits, (uint16_t)(bits + 1)}, stored[4];
        double x = tnl_load(number, type, 0), next = tnl_load(number, type, 1);
        tnl_store(stored, type, 0, x);
        tnl_store(stored, type, 1, -x);
        if (isnan(x)) {
            wrong_way += !isnan(tnl_load(stored, type, 0));
            continue;
        }
        wrong_way += stored[0] != bits || stored[1] != (bits | 0x8000);
        if (!isfinite(x) || !isfinite(next))
            continue;
        wrong_ulp += tnl_ulp(type, x) != next - x || tnl_ulp(type, -x) != next - x;
        tnl_store(stored, type, 0, x + 0.4999 * (next - x));
        tnl_store(stored, type, 1, x + 0.5001 * (next - x));
        tnl_store(stored, type, 2, x + 0.5 * (next - x));
        wrong_rounding +=
            stored[0] != bits || stored[1] != bits + 1 || stored[2] != (bits % 2 ? bits + 1 : bits);
    }
    const char *name = tnl_type_name(type);
    report_case(r, wrong_way == 0, 0, 0, "%s: %d numbers don't come back", name, wrong_way);
    report_case(r, wrong_rounding == 0, 0, 0, "%s: %d are rounded wrongly", name, wrong_rounding);
    report_case(r, wrong_ulp == 0, 0, 0, "%s: %d have a wrong ulp", name, wrong_ulp);
    uint16_t infinite;
    tnl_store(&infinite, type, 0, type == TNL_FLOAT16 ? 65520 : 3.4e38);
    report_case(r, isinf(tnl_load(&infinite, type, 0)), 0, 0, "%s: no overflow to infinity", name);
}

static void check_types(report *r) {
    static const size_t size[] = {0, 4, 2, 2, 4, 8, 0};
    for (int type = -1; type <= 6; type++)
        report_case(r, tnl_type_size((tnl_type)type) == (type < 0 ? 0 : size[type]), 0, 0,
                    "tnl_type_size(%d) is %zu", type, tnl_type_size((tnl_type)type));
    check_type(r, TNL_FLOAT16);
    check_type(r, TNL_BFLOAT16);
}

/* ---- listing functions -------------------------------------------------------------------- */

/* A shape as tnl_get_argument words it. */
static void word_shape(const tnl_argument *argument, char *text, size_t size) {
    size_t length = 0;
    for (int i = 0; i < argument->rank; i++)
        length += (size_t)snprintf(text + length, size - length, "%c%s", i ? ',' : '[',
                                   tnl_dim_letter(argument->shape[i]));
    snprintf(text + length, size - length, "]");
}

static void check_arguments(report *r, tnl_operator op) {
    const tnl_operator_row *row = &tnl_operators[op];
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_argument *expected = &row->argument[i];
        tnl_argument_info info;
        char shape[64];
        word_shape(expected, shape, sizeof shape);
        bool same = tnl_get_argument(op, i, &info) == TNL_OK &&
                    strcmp(info.name, expected->name) == 0 && info.role == expected->role &&
                    info.optional == expected->optional && info.type == expected->type &&
                    strcmp(info.shape, shape) == 0;
        report_case(r, same, 0, 0, "tnl_get_argument(%s, %d) is not %s %s", row->name, i,
                    expected->name, shape);
    }
}

static void check_listing(report *r) {
    int variants = 0;
    for (int op = 0; op < TNL_OPERATOR_COUNT; op++) {
        const tnl_operator_row *row = &tnl_operators[op];
        tnl_operator_info info = {0};
        bool same = tnl_get_operator((tnl_operator)op, &info) == TNL_OK &&
                    strcmp(info.name, row->name) == 0 && info.argument_count == row->argument_count;
        report_case(r, same, 0, 0, "tnl_get_operator(%d) is not %s", op, row->name);
        check_arguments(r, (tnl_operator)op);
        tnl_variant_info variant;
        for (int i = 0; i < info.variant_count; i++) {
            bool found = false;
            bool got = tnl_get_variant((tnl_operator)op, i, &variant) == TNL_OK;
            for (int j = 0; got && j < tnl_variants_count; j++)
                found |= tnl_variants[j].op == (tnl_operator)op &&
                         tnl_variants[j].name == variant.name &&
                         tnl_variants[j].types == variant.types &&
                         (tnl_variants[j].kernel != NULL) == variant.built;
            report_case(r, found, 0, 0, "tnl_get_variant(%s, %d) is no row", row->name, i);
        }
        variants += info.variant_count;
    }
    report_case(r, variants == tnl_variants_count, 0, 0, "%d variants are listed, the table has %d",
                variants, tnl_variants_count);
}

/* ---- the forms of the attention reference ------------------------------------------------- */

/* The largest relative difference of an output of two calls, in the Euclidean norm. */
static double call_distance(const tnl_call *a, const tnl_call *b) {
    const tnl_operator_row *row = &tnl_operators[a->op];
    double worst = 0;
    for (int i = 0; i < row->argument_count; i++) {
        if (row->argument[i].role == TNL_INPUT || !a->tensor[i].data)
            continue;
        const double *x = a->tensor[i].data, *y = b->tensor[i].data;
        double error = 0, norm = 0;
        for (int64_t j = 0; j < a->tensor[i].shape[0] * a->tensor[i].stride[0]; j++) {
            error += (x[j] - y[j]) * (x[j] - y[j]);
            norm += x[j] * x[j];
        }
        double relative = error == 0 ? 0 : sqrt(error / norm);
        worst = relative <= worst ? worst : relative;
    }
    return worst;
}

/* The recurrence is what judges beyond the left product's range, so it must be the same. */
static void check_form(report *r, const problem_spec *spec, tnl_reference *left_product,
                       tnl_reference *recurrence) {
    const double bound = 1e-10;
    double distance = INFINITY;
    problem p;
    tnl_call a = {0}, b = {0};
    if (problem_make(spec, NULL, &p)) {
        if (problem_poison(&p) && judge_make_call(&p, &a) && judge_make_call(&p, &b)) {
            left_product(&a);
            recurrence(&b);
            distance = call_distance(&a, &b);
        }
        judge_free_call(&a);
        judge_free_call(&b);
        problem_free(&p);
    }
    char line[512];
    describe_problem(spec, line, sizeof line);
    report_case(r, distance < bound, distance, bound,
                "%s: the recurrence is %.3g from the left product", line, distance);
}

static void check_forms(report *r, tnl_operator op, tnl_reference *left_product,
                        tnl_reference *recurrence) {
    sweep s;
    if (!sweep_make(op, TNL_FLOAT32, true, r->seed, &s)) {
        report_case(r, false, 0, 0, "out of memory");
        return;
    }
    for (int i = 0; i < s.count; i++)
        check_form(r, &s.spec[i], left_product, recurrence);
    sweep_free(&s);
}

void verify_checks(report *r) {
    if (report_begin(r, "slopes", "", ""))
        check_slopes(r);
    if (report_begin(r, "types", "", ""))
        check_types(r);
    if (report_begin(r, "listing", "", ""))
        check_listing(r);
    if (report_begin(r, "attention_forward", "recurrence", "f64"))
        check_forms(r, TNL_ATTENTION_FORWARD, tnl_reference_attention_forward_left_product,
                    tnl_reference_attention_forward_recurrence);
    if (report_begin(r, "attention_backward", "recurrence", "f64"))
        check_forms(r, TNL_ATTENTION_BACKWARD, tnl_reference_attention_backward_left_product,
                    tnl_reference_attention_backward_recurrence);
}
