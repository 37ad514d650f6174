/*
 * The properties of every row: two runs agree bit for bit where the row says so, and on a CUDA
 * device a graph's replay with a plain run; layouts and in-place runs agree with the plain one;
 * zeros give zeros; a token changes nothing but what it may; a packed batch is its sequences, each
 * by itself.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "verify/judge.h"
#include "verify/parts.h"
#include "verify/property.h"

/* Make and run the problem, nothing changed. */
static bool simple_run(const subject *s, const problem_spec *spec, problem *p) {
    return property_make(s, spec, p) && property_run(s, NULL, p);
}

/* How many elements of the outputs differ. */
static double count_different(const problem *a, const problem *b) {
    double different = 0;
    for (int i = 0; i < TNL_MAX_TENSORS; i++)
        for (int64_t j = 0; property_is_output(a, i) && j < problem_count(a, i); j++)
            different +=
                problem_get(a, i, j) != problem_get(b, i, j) && !property_unwritten(a, b, i, j);
    return different;
}

static void repeats(subject *s) {
    s->property = "two runs are equal bit for bit";
    problem_spec spec = property_spec(s, 0);
    spec.layout = LAYOUT_PADDED;
    problem first, second;
    if (!s->row->kernel->deterministic || !simple_run(s, &spec, &first))
        return;
    if (simple_run(s, &spec, &second)) {
        property_record(s, &spec, count_different(&first, &second), 0, "elements differ");
        problem_free(&second);
    }
    problem_free(&first);
}

static void replays(subject *s) {
    s->property = "a CUDA graph replays to the same result";
    problem_spec spec = property_spec(s, 0);
    problem plain, replayed;
    char text[512];
    if (s->context->device != TNL_CUDA || !simple_run(s, &spec, &plain))
        return;
    if (property_make(s, &spec, &replayed)) {
        if (run_row_captured(&replayed, s->context, s->row, text, sizeof text) != RUN_DONE)
            property_record(s, &spec, INFINITY, 0, text);
        else if (s->row->kernel->deterministic)
            property_record(s, &spec, count_different(&plain, &replayed), 0, "elements differ");
        else
            property_record(s, &spec, property_distance(&replayed, &plain), s->bound, "differs");
        problem_free(&replayed);
    }
    problem_free(&plain);
}

/* The same problem with another layout, or in place. */
static void agrees(subject *s, const problem_spec *spec, layout layout_, bool in_place) {
    problem_spec other = *spec;
    other.layout = layout_;
    other.in_place = in_place;
    problem plain, tried;
    if (!simple_run(s, spec, &plain))
        return;
    if (simple_run(s, &other, &tried)) {
        property_record(s, &other, property_distance(&tried, &plain), s->bound,
                        "differs from contiguous tensors out of place");
        problem_free(&tried);
    }
    problem_free(&plain);
}

static void layouts_agree(subject *s) {
    problem_spec spec = property_spec(s, 0);
    s->property = "strided = contiguous";
    for (int i = LAYOUT_SWAPPED; i <= LAYOUT_PADDED; i++)
        agrees(s, &spec, (layout)i, false);
    s->property = "in place = out of place";
    spec = property_spec(s, sweep_bit(s->row->op, "theta") | sweep_bit(s->row->op, "dtheta"));
    for (int i = 0; i < tnl_operators[s->row->op].argument_count; i++) {
        if (tnl_operators[s->row->op].argument[i].in_place) {
            agrees(s, &spec, LAYOUT_CONTIGUOUS, true);
            agrees(s, &spec, LAYOUT_PACKED, true);
            return;
        }
    }
}

static void zeros_give_zeros(subject *s) {
    s->property = "zeros give zeros";
    problem_spec spec = property_spec(s, 0);
    problem p;
    if (!property_make(s, &spec, &p))
        return;
    const tnl_argument *argument = tnl_operators[spec.op].argument;
    for (int i = 0; i < tnl_operators[spec.op].argument_count; i++)
        if (argument[i].role != TNL_OUTPUT && argument[i].type != TNL_INT32 &&
            argument[i].type != TNL_INT64 && strcmp(argument[i].name, "slope") != 0)
            for (int64_t j = 0; j < problem_count(&p, i); j++)
                problem_set(&p, i, j, 0);
    if (!property_run(s, NULL, &p))
        return;
    double wrong = 0;
    for (int i = 0; i < TNL_MAX_TENSORS; i++)
        for (int64_t j = 0; property_is_output(&p, i) && j < problem_count(&p, i); j++)
            wrong += !problem_untouched(&p, i, j) && problem_get(&p, i, j) != 0;
    property_record(s, &spec, wrong, 0, "elements are not 0");
    problem_free(&p);
}

/* ---- locality ----------------------------------------------------------------------------- */

/* Whether element `index` of a tensor may depend on the data of a token: of row or slot `token`,
 * or of token `token` of the last batch entry. Attention looks back, its gradients of k and v
 * ahead; a weight's or an angle's gradient depends on everything. */
static bool may_depend(const problem *p, int tensor, int64_t index, int64_t token) {
    const tnl_argument *argument = &tnl_operators[p->spec.op].argument[tensor];
    int64_t m = property_coordinate(p, tensor, index, DIM_M);
    int64_t b = property_coordinate(p, tensor, index, DIM_B);
    int64_t n = property_coordinate(p, tensor, index, DIM_N);
    switch (sweep_family(p->spec.op)) {
    case FAMILY_DECODE:
        return (b >= 0 ? b : property_coordinate(p, tensor, index, DIM_SLOTS)) == token;
    case FAMILY_ACTIVATION:
        return b < 0 || (b == p->spec.dim[DIM_B] - 1 && n == token);
    case FAMILY_ATTENTION:
        if (b < 0)
            b = property_coordinate(p, tensor, index, DIM_S);
        if (b != p->spec.dim[DIM_B] - 1 || n < 0)
            return b == p->spec.dim[DIM_B] - 1;
        return strcmp(argument->name, "dk") == 0 || strcmp(argument->name, "dv") == 0 ? n <= token
                                                                                      : n >= token;
    default:
        return m < 0 || m == token;
    }
}

/* Change a token in every input of which it is a part. */
static void change_token(problem *p, int64_t token) {
    bool decode = sweep_family(p->spec.op) == FAMILY_DECODE;
    int64_t last = p->spec.dim[DIM_B] - 1;
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        const tnl_argument *argument = &tnl_operators[p->spec.op].argument[i];
        if (!p->tensor[i].data || argument->role != TNL_INPUT || argument->type != TNL_NO_TYPE)
            continue;
        for (int64_t j = 0; j < problem_count(p, i); j++) {
            int64_t b = property_coordinate(p, i, j, DIM_B);
            int64_t n = property_coordinate(p, i, j, decode ? DIM_B : b < 0 ? DIM_M : DIM_N);
            if (n == token && (decode || b < 0 || b == last))
                problem_set(p, i, j, problem_get(p, i, j) + 1);
        }
    }
}

static void token_changes(subject *s, const problem *plain, int64_t token) {
    problem changed;
    if (!property_make(s, &plain->spec, &changed))
        return;
    change_token(&changed, token);
    if (!property_run(s, NULL, &changed))
        return;
    double wrong = 0, right = 0;
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        for (int64_t j = 0; property_is_output(plain, i) && j < problem_count(plain, i); j++) {
            bool differs = problem_get(plain, i, j) != problem_get(&changed, i, j);
            *(may_depend(plain, i, j, token) ? &right : &wrong) += differs;
        }
    }
    char what[128];
    snprintf(what, sizeof what, "elements changed with token %lld that may not depend on it",
             (long long)token);
    property_record(s, &plain->spec, wrong, 0, what);
    if (right == 0)
        property_record(s, &plain->spec, INFINITY, 0, "nothing changed with a token");
    problem_free(&changed);
}

static void tokens_change_their_own(subject *s) {
    s->property = "a token changes only what it may (causality)";
    problem_spec spec = property_spec(s, sweep_bit(s->row->op, "slots"));
    problem plain;
    if (!simple_run(s, &spec, &plain))
        return;
    int64_t tokens = spec.dim[DIM_N]   ? spec.dim[DIM_N]
                     : spec.dim[DIM_M] ? spec.dim[DIM_M]
                                       : spec.dim[DIM_B];
    const int64_t token[] = {tokens / 2, 0, tokens - 1, tokens * 2 / 3};
    for (int i = 0; i < (s->report->quick ? 1 : 4); i++)
        token_changes(s, &plain, token[i]);
    problem_free(&plain);
}

/* ---- packed batches ----------------------------------------------------------------------- */

static void packed_is_separate(subject *s) {
    enum { SEQUENCES = 4 };
    static const int32_t offset[SEQUENCES + 1] = {0, 5, 5, 6, 71};
    s->property = "packed = separate";
    problem_spec spec = property_spec(s, 0);
    if (!sweep_bit(spec.op, "cu_seqlens"))
        return;
    spec.present |= sweep_bit(spec.op, "cu_seqlens");
    spec.cu_seqlens = offset;
    spec.dim[spec.dim[DIM_N] ? DIM_N : DIM_M] = offset[SEQUENCES];
    spec.dim[DIM_S] = SEQUENCES;
    if (spec.dim[DIM_B])
        spec.dim[DIM_B] = 1;
    spec.position = 17;
    spec.values = VALUES_POSITIVE; /* one sequence is a token long */
    problem_complete(&spec);
    problem whole;
    if (!simple_run(s, &spec, &whole))
        return;
    for (int i = 0; i < SEQUENCES; i++) {
        problem part;
        if (offset[i] == offset[i + 1] ||
            !property_part(s, &whole, i, offset[i], offset[i + 1], &part) ||
            !property_run(s, NULL, &part))
            continue;
        property_record(s, &spec, property_part_distance(&whole, &part, i, offset[i], ~0u),
                        s->bound, "a sequence by itself differs");
        problem_free(&part);
    }
    problem_free(&whole);
}

/* Cutting a sequence where its only state is the position. */
static void positions_go_on(subject *s) {
    s->property = "cutting anywhere";
    if (s->row->op != TNL_QKVU_ACTIVATION_FORWARD)
        return;
    problem_spec spec = property_spec(s, 0);
    spec.position = 1000;
    problem whole, part;
    if (!simple_run(s, &spec, &whole))
        return;
    const int64_t cut = spec.dim[DIM_N] / 3;
    if (property_part(s, &whole, 0, cut, spec.dim[DIM_N], &part)) {
        int64_t *position = problem_host(&part, ACT_POSITIONS);
        const int64_t *first = problem_host(&whole, ACT_POSITIONS);
        for (int64_t i = 0; i < spec.dim[DIM_S]; i++)
            position[i] = first[i] + cut;
        if (property_run(s, NULL, &part)) {
            property_record(s, &spec, property_part_distance(&whole, &part, 0, cut, ~0u), s->bound,
                            "the second part by itself differs");
            problem_free(&part);
        }
    }
    problem_free(&whole);
}

void verify_properties(report *r, tnl_context *context) {
    for (int i = 0; i < tnl_variants_count; i++) {
        const tnl_variant_row *row = &tnl_variants[i];
        for (int type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++) {
            if (run_obstacle(context, row) || !(row->types & TNL_TYPE_BIT(type)) ||
                !report_begin(r, tnl_operators[row->op].name, row->name,
                              tnl_type_name((tnl_type)type)))
                continue;
            subject s = {.report = r, .context = context, .row = row, .type = (tnl_type)type};
            s.bound = judge_bound(row, s.type);
            repeats(&s);
            replays(&s);
            layouts_agree(&s);
            zeros_give_zeros(&s);
            tokens_change_their_own(&s);
            packed_is_separate(&s);
            positions_go_on(&s);
            if (sweep_family(row->op) == FAMILY_ATTENTION)
                property_attention(&s);
            if (sweep_family(row->op) == FAMILY_DECODE)
                property_decode(&s);
        }
    }
}
