/*
 * The golden data: DIRECTORY/ops.safetensors, inputs with the outputs and gradients that an
 * independent program computed from them in double. Cases are found by the names of their tensors,
 * FAMILY.NUMBER.TENSOR, in any number and of any sizes. Each is put to the references and to every
 * row that runs here, in every type that represents its inputs exactly. A quick run takes the first
 * case of each family.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "verify/judge.h"
#include "verify/parts.h"
#include "verify/run.h"

/* What the references are held to. The data are doubles rounded to float32, each off by up to
 * 2^-24 = 6e-8 of itself, and so is a slice of them; what doubles lose on the way is far less. A
 * wider bound would let a norm without its eps of 1e-6 pass, which on rows of unit size is 5e-7
 * off. */
static const double reference_bound = 1e-7;

enum { MOST_TENSORS = 12, MOST_OPERATORS = 4, MOST_TEXT = 512 };

/* The tensors of a case, and the operators that they are for. */
static const struct golden_family {
    const char *name;
    const char *tensor[MOST_TENSORS];
    int operator_count;
    tnl_operator operators[MOST_OPERATORS];
} families[] = {
    {"attention",
     {"q", "k", "v", "slope", "o", "do", "dq", "dk", "dv", "state"},
     3,
     {TNL_ATTENTION_FORWARD, TNL_ATTENTION_BACKWARD, TNL_ATTENTION_FORWARD_BACKWARD}},
    {"srmsnorm", {"x", "y", "dy", "dx"}, 2, {TNL_SRMSNORM_FORWARD, TNL_SRMSNORM_BACKWARD}},
    {"sglu",
     {"x", "wv", "wu", "wo", "y", "dy", "dx", "dwv", "dwu", "dwo"},
     2,
     {TNL_SGLU_FORWARD, TNL_SGLU_BACKWARD}},
};

/* Arguments that the file has under another name. */
static const struct {
    const char *argument, *tensor;
} renamed[] = {{"dout", "do"}, {"final_state", "state"}};

/* A case: its tensors are those whose names begin with `name`, "attention.0." for one. */
typedef struct golden_case {
    const char *path;
    const tnl_safetensors *file;
    const struct golden_family *family;
    char name[64];
} golden_case;

/* ---- the file's tensors ------------------------------------------------------------------- */

static const tnl_safetensors_tensor *find(const golden_case *c, const char *argument) {
    char name[128];
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
        if (strcmp(argument, renamed[i].argument) == 0)
            argument = renamed[i].tensor;
    snprintf(name, sizeof name, "%s%s", c->name, argument);
    return tnl_safetensors_find(c->file, name);
}

static float element(const tnl_safetensors_tensor *tensor, int64_t i) {
    float value;
    memcpy(&value, (const char *)tensor->data + (size_t)i * sizeof value, sizeof value);
    return value;
}

/* Which case of its file a tensor is of; false: of none. */
static bool parse_name(const char *name, golden_case *c) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        size_t length = strlen(families[i].name);
        if (strncmp(name, families[i].name, length) != 0 || name[length] != '.')
            continue;
        size_t digits = strspn(name + length + 1, "0123456789");
        size_t prefix = length + 1 + digits + 1;
        if (digits == 0 || name[prefix - 1] != '.' || prefix >= sizeof c->name)
            continue;
        c->family = &families[i];
        memcpy(c->name, name, prefix);
        c->name[prefix] = '\0';
        for (int j = 0; j < MOST_TENSORS && families[i].tensor[j]; j++)
            if (strcmp(name + prefix, families[i].tensor[j]) == 0)
                return true;
    }
    return false;
}

/* Whether every tensor of the family is there: float32, of some rank and size, finite. */
static bool check_tensors(const golden_case *c, char *text) {
    for (int i = 0; i < MOST_TENSORS && c->family->tensor[i]; i++) {
        const char *name = c->family->tensor[i];
        const tnl_safetensors_tensor *tensor = find(c, name);
        if (!tensor) {
            snprintf(text, MOST_TEXT, "%s%s is missing", c->name, name);
            return false;
        }
        if (strcmp(tensor->type, "F32") != 0) {
            snprintf(text, MOST_TEXT, "%s%s is %s, expected F32", c->name, name, tensor->type);
            return false;
        }
        if (tensor->rank > TNL_MAX_RANK || tensor->bytes == 0) {
            snprintf(text, MOST_TEXT, "%s%s has rank %d and %zu bytes, expected 1 to %d and some",
                     c->name, name, tensor->rank, tensor->bytes, TNL_MAX_RANK);
            return false;
        }
        for (int64_t j = 0; j < (int64_t)(tensor->bytes / sizeof(float)); j++) {
            if (!isfinite(element(tensor, j))) {
                snprintf(text, MOST_TEXT, "%s%s: element %lld is %g, expected a finite number",
                         c->name, name, (long long)j, element(tensor, j));
                return false;
            }
        }
    }
    return true;
}

/* The problem that the case poses to an operator; false: its shapes do not fit together. */
static bool make_spec(const golden_case *c, tnl_operator op, tnl_type type, problem_spec *spec,
                      char *text) {
    const tnl_operator_row *row = &tnl_operators[op];
    *spec = (problem_spec){.op = op, .type = type};
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_safetensors_tensor *tensor = find(c, row->argument[i].name);
        if (tensor && row->argument[i].optional)
            spec->present |= 1u << i;
        for (int j = 0; tensor && j < row->argument[i].rank && j < tensor->rank; j++)
            if (spec->dim[row->argument[i].shape[j]] == 0)
                spec->dim[row->argument[i].shape[j]] = tensor->shape[j];
    }
    problem_complete(spec);
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_argument *argument = &row->argument[i];
        const tnl_safetensors_tensor *tensor = find(c, argument->name);
        bool same = !tensor || tensor->rank == argument->rank;
        for (int j = 0; tensor && same && j < argument->rank; j++)
            same = tensor->shape[j] == spec->dim[argument->shape[j]];
        if (!same) {
            char shape[32];
            tnl_shape_text(argument, shape, sizeof shape);
            snprintf(text, MOST_TEXT, "%.128s: its shape does not fit the others', expected %s",
                     tensor->name, shape);
            return false;
        }
    }
    return true;
}

/* ---- putting it to an operator ------------------------------------------------------------ */

/* The inputs of the problem; false: the type does not represent one exactly. */
static bool set_inputs(const golden_case *c, problem *p) {
    const tnl_operator_row *row = &tnl_operators[p->spec.op];
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_safetensors_tensor *tensor = find(c, row->argument[i].name);
        if (row->argument[i].role != TNL_INPUT || !tensor)
            continue;
        for (int64_t j = 0; j < problem_count(p, i); j++) {
            problem_set(p, i, j, element(tensor, j));
            if (problem_get(p, i, j) != element(tensor, j))
                return false;
        }
    }
    return problem_send(p) && problem_poison(p);
}

/* The relative error of one slice against the file. */
static double slice_error(const double *value, const tnl_safetensors_tensor *golden, int64_t begin,
                          int64_t end) {
    double error = 0, norm = 0;
    for (int64_t i = begin; i < end; i++) {
        double expected = element(golden, i), off = value[i] - expected;
        error += off * off;
        norm += expected * expected;
    }
    return error == 0 ? 0 : sqrt(error / norm);
}

/* The references' outputs against the file's, slice by slice. */
static void judge_reference(report *r, const golden_case *c, const problem *p,
                            const expectation *computed) {
    const tnl_operator_row *row = &tnl_operators[p->spec.op];
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_safetensors_tensor *golden = find(c, row->argument[i].name);
        if (!computed->reference[i] || !golden)
            continue;
        int64_t slices = 1, worst_at = 0;
        double worst = 0;
        for (int j = 0; j < row->argument[i].slice_rank; j++)
            slices *= golden->shape[j];
        int64_t size = problem_count(p, i) / slices;
        for (int64_t j = 0; j < slices; j++) {
            double error = slice_error(computed->reference[i], golden, j * size, (j + 1) * size);
            if (!(error <= worst) && !isnan(worst)) {
                worst = error;
                worst_at = j;
            }
        }
        report_case(r, worst < reference_bound, worst, reference_bound,
                    "golden %s: relative error %.3g in slice %lld", golden->name, worst,
                    (long long)worst_at);
    }
}

/* From here on what is expected is what the file says; the naive computation stays the measure. */
static void expect_golden(const golden_case *c, const problem *p, expectation *expected) {
    const tnl_operator_row *row = &tnl_operators[p->spec.op];
    for (int i = 0; i < row->argument_count; i++) {
        const tnl_safetensors_tensor *golden = find(c, row->argument[i].name);
        for (int64_t j = 0; expected->reference[i] && golden && j < problem_count(p, i); j++)
            expected->reference[i][j] = element(golden, j);
    }
}

static void judge_rows(report *r, tnl_context *context, const golden_case *c, problem *p,
                       const expectation *expected) {
    const char *type = tnl_type_name(p->spec.type), *op = tnl_operators[p->spec.op].name;
    for (int i = 0; i < tnl_variants_count; i++) {
        const tnl_variant_row *row = &tnl_variants[i];
        if (row->op != p->spec.op || !(row->types & TNL_TYPE_BIT(p->spec.type)) ||
            run_obstacle(context, row) || !report_begin(r, op, row->name, type))
            continue;
        char text[MOST_TEXT];
        run_result result = run_row(p, context, row, text, sizeof text);
        double bound = judge_bound(row, p->spec.type);
        verdict v = {0};
        if (result == RUN_DONE)
            v = judge(p, expected, bound);
        if (result == RUN_REJECTED)
            report_skip(r, "does not take golden %s", c->name);
        else
            report_case(r, v.passed, v.error, bound, "golden %s: %s", c->name,
                        result == RUN_DONE ? v.text : text);
    }
}

/* The problem and what the references make of it; false: the text says what is wrong. */
static bool prepare(const golden_case *c, tnl_context *context, tnl_operator op, tnl_type type,
                    problem *p, expectation *expected, char *text) {
    problem_spec spec;
    if (!make_spec(c, op, type, &spec, text))
        return false;
    snprintf(text, MOST_TEXT, "%s: out of memory", c->name);
    if (!problem_make(&spec, context, p))
        return false;
    if (set_inputs(c, p))
        return judge_expect(p, tnl_operators[op].reference, tnl_operators[op].naive, expected);
    snprintf(text, MOST_TEXT, "%s: its inputs could not be set as %s", c->name,
             tnl_type_name(type));
    return false;
}

static void judge_operator(report *r, tnl_context *context, const golden_case *c, tnl_operator op,
                           tnl_type type) {
    char text[MOST_TEXT];
    problem p = {0};
    expectation expected = {0};
    bool prepared = prepare(c, context, op, type, &p, &expected, text);
    /* The file is float32; that another type can't hold its numbers is nobody's fault. */
    if (type == TNL_FLOAT32 && context->device == TNL_CPU &&
        report_begin(r, tnl_operators[op].name, "reference", "f64")) {
        if (prepared)
            judge_reference(r, c, &p, &expected);
        else
            report_case(r, false, 0, 0, "%s: %s", c->path, text);
    }
    if (prepared) {
        expect_golden(c, &p, &expected);
        judge_rows(r, context, c, &p, &expected);
    }
    judge_forget(&expected);
    problem_free(&p);
}

static bool any_row(const tnl_context *context, tnl_operator op, tnl_type type) {
    for (int i = 0; i < tnl_variants_count; i++)
        if (tnl_variants[i].op == op && tnl_variants[i].types & TNL_TYPE_BIT(type) &&
            !run_obstacle(context, &tnl_variants[i]))
            return true;
    return false;
}

static void judge_case(report *r, tnl_context *context, const golden_case *c) {
    char text[MOST_TEXT] = "";
    bool complete = check_tensors(c, text);
    if (report_begin(r, "golden", "file", ""))
        report_case(r, complete, 0, 0, "%s: %s", c->path, text);
    for (int i = 0; complete && i < c->family->operator_count; i++)
        for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++)
            if (type == TNL_FLOAT32 || any_row(context, c->family->operators[i], type))
                judge_operator(r, context, c, c->family->operators[i], type);
}

/* Whether no tensor before this one is of the same case. */
static bool is_first_of_case(const golden_case *c, size_t tensor) {
    size_t length = strlen(c->name);
    for (size_t i = 0; i < tensor; i++)
        if (strncmp(c->file->tensor[i].name, c->name, length) == 0)
            return false;
    return true;
}

void verify_golden(report *r, tnl_context *context, const char *directory) {
    char path[4096], error[MOST_TEXT] = "";
    snprintf(path, sizeof path, "%s/ops.safetensors", directory);
    tnl_safetensors file;
    bool opened = tnl_safetensors_open(&file, path, error, sizeof error);
    if (opened && file.count == 0)
        snprintf(error, sizeof error, "%.400s has no tensors", path);
    if (report_begin(r, "golden", "file", ""))
        report_case(r, opened && file.count > 0, 0, 0, "%s", error);
    if (!opened)
        return;
    bool seen[sizeof families / sizeof *families] = {false};
    for (size_t i = 0; i < file.count; i++) {
        golden_case c = {.path = path, .file = &file};
        if (!parse_name(file.tensor[i].name, &c)) {
            if (report_begin(r, "golden", "file", ""))
                report_case(r, false, 0, 0, "%s: %.128s is no tensor of a known case", path,
                            file.tensor[i].name);
            continue;
        }
        bool *seen_family = &seen[c.family - families];
        if (is_first_of_case(&c, i) && !(r->quick && *seen_family))
            judge_case(r, context, &c);
        *seen_family = true;
    }
    tnl_safetensors_close(&file);
}
