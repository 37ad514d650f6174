/* What properties are made of: problems, parts of problems, and distances between them. */
#include "verify/property.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/random.h"
#include "verify/describe.h"

/* Whether the row takes such calls. */
static bool takes(const subject *s, const problem_spec *spec) {
    problem p;
    size_t bytes;
    if (!problem_make(spec, s->context, &p))
        return true; /* whoever makes it next will say that memory is short */
    bool taken = problem_workspace(&p, s->context, s->row->name, &bytes) != TNL_UNSUPPORTED;
    problem_free(&p);
    return taken;
}

problem_spec property_spec(const subject *s, unsigned without) {
    static const int64_t size[FAMILY_COUNT][DIM_COUNT] = {
        [FAMILY_ROWS] = {[DIM_M] = 37, [DIM_HIDDEN] = 300},
        [FAMILY_SGLU] = {[DIM_M] = 70, [DIM_HIDDEN] = 48, [DIM_G] = 80},
        [FAMILY_PROJECTION] = {[DIM_M] = 70, [DIM_HIDDEN] = 48, [DIM_K] = 96, [DIM_H] = 3},
        [FAMILY_ACTIVATION] = {[DIM_B] = 2, [DIM_H] = 3, [DIM_N] = 97, [DIM_D] = 32},
        [FAMILY_ATTENTION] = {[DIM_B] = 2, [DIM_H] = 3, [DIM_N] = 145, [DIM_D] = 32, [DIM_E] = 24},
        [FAMILY_DECODE] = {[DIM_B] = 5, [DIM_H] = 3, [DIM_D] = 32, [DIM_E] = 24},
    };
    const tnl_operator_row *op = &tnl_operators[s->row->op];
    problem_spec spec = {.op = s->row->op,
                         .type = s->type,
                         .seed = random_bits(s->report->seed, 5, s->row->op) >> 16};
    memcpy(spec.dim, size[sweep_family(spec.op)], sizeof spec.dim);
    for (int i = 0; i < op->argument_count; i++)
        spec.present |= (unsigned)op->argument[i].optional << i;
    spec.present &= ~(without | sweep_bit(spec.op, "cu_seqlens"));
    problem_complete(&spec);
    if (spec.present && s->row->kernel->rejects && !takes(s, &spec)) {
        spec.present = 0;
        problem_complete(&spec);
    }
    return spec;
}

void property_record(const subject *s, const problem_spec *spec, double error, double bound,
                     const char *what) {
    char line[512];
    describe_problem(spec, line, sizeof line);
    report_case(s->report, bound > 0 ? error < bound : error == 0, error, bound,
                "property \"%s\", %s: %s, by %.3g", s->property, line, what, error);
}

bool property_make(const subject *s, const problem_spec *spec, problem *p) {
    if (problem_make(spec, s->context, p))
        return true;
    property_record(s, spec, INFINITY, 0, "out of memory");
    return false;
}

bool property_run(const subject *s, const tnl_variant_row *row, problem *p) {
    char text[512];
    run_result result = run_row(p, s->context, row ? row : s->row, text, sizeof text);
    if (result == RUN_DONE)
        return true;
    if (result == RUN_REJECTED)
        report_skip(s->report, "property \"%s\": the row does not take the call", s->property);
    else
        property_record(s, &p->spec, INFINITY, 0, text);
    problem_free(p);
    return false;
}

const tnl_variant_row *property_chosen(const subject *s, tnl_operator op) {
    for (int i = tnl_variants_count - 1; i >= 0; i--) {
        const tnl_variant_row *row = &tnl_variants[i];
        if (row->op == op && row->chosen && row->types & TNL_TYPE_BIT(s->type) &&
            !run_obstacle(s->context, row))
            return row;
    }
    return NULL;
}

static const tnl_argument *argument_of(const problem *p, int tensor) {
    return &tnl_operators[p->spec.op].argument[tensor];
}

bool property_is_output(const problem *p, int tensor) {
    return p->tensor[tensor].data && argument_of(p, tensor)->role != TNL_INPUT;
}

int64_t property_coordinate(const problem *p, int tensor, int64_t index, enum tnl_dim dim) {
    const tnl_tensor *view = &p->tensor[tensor];
    for (int i = view->rank - 1; i >= 0; i--) {
        if (argument_of(p, tensor)->shape[i] == dim)
            return index % view->shape[i];
        index /= view->shape[i];
    }
    return -1;
}

/* ---- distances ---------------------------------------------------------------------------- */

/* A relative difference as it grows. */
typedef struct distance {
    double error, norm;
} distance;

static void add_difference(distance *d, double a, double b) {
    d->error += (a - b) * (a - b);
    d->norm += b * b;
}

static double relative(const distance *d) {
    double r = d->error == 0 ? 0 : sqrt(d->error / d->norm);
    return isfinite(r) ? r : INFINITY;
}

bool property_unwritten(const problem *a, const problem *b, int tensor, int64_t index) {
    return isnan(problem_get(a, tensor, index)) && problem_untouched(a, tensor, index) &&
           problem_untouched(b, tensor, index);
}

double property_distance(const problem *a, const problem *b) {
    double worst = 0;
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        if (!property_is_output(a, i))
            continue;
        int64_t count = problem_count(a, i), slices = 1;
        for (int j = 0; j < argument_of(a, i)->slice_rank; j++)
            slices *= a->tensor[i].shape[j];
        for (int64_t j = 0; j < slices; j++) {
            distance d = {0};
            for (int64_t k = j * (count / slices); k < (j + 1) * (count / slices); k++)
                if (!property_unwritten(a, b, i, k))
                    add_difference(&d, problem_get(a, i, k), problem_get(b, i, k));
            worst = fmax(worst, relative(&d));
        }
    }
    return worst;
}

/* ---- parts -------------------------------------------------------------------------------- */

/* The dimension that counts tokens. */
static enum tnl_dim token_dim(const problem *p) {
    return p->spec.dim[DIM_N] ? DIM_N : DIM_M;
}

/* The element of the whole that is element `index` of the part; -1: they don't correspond. */
static int64_t whole_index(const problem *whole, const problem *part, int tensor, int64_t index,
                           int64_t sequence, int64_t begin) {
    const tnl_argument *argument = argument_of(whole, tensor);
    int64_t result = 0, rest = index, scale = 1;
    for (int i = argument->rank - 1; i >= 0; i--) {
        int64_t coordinate = rest % part->tensor[tensor].shape[i];
        rest /= part->tensor[tensor].shape[i];
        if (argument->shape[i] == token_dim(whole))
            coordinate += begin;
        else if (argument->shape[i] == DIM_S)
            coordinate += sequence;
        result += coordinate * scale;
        scale *= whole->tensor[tensor].shape[i];
    }
    return result;
}

bool property_part(const subject *s, const problem *whole, int64_t sequence, int64_t begin,
                   int64_t end, problem *part) {
    problem_spec spec = whole->spec;
    spec.dim[token_dim(whole)] = end - begin;
    spec.present &= ~sweep_bit(spec.op, "cu_seqlens");
    spec.cu_seqlens = NULL;
    problem_complete(&spec);
    if (!property_make(s, &spec, part))
        return false;
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        if (!part->tensor[i].data || argument_of(part, i)->role == TNL_OUTPUT)
            continue;
        if (part->tensor[i].type == TNL_INT64) {
            const int64_t *position = problem_host(whole, i);
            *(int64_t *)problem_host(part, i) = position[sequence];
            continue;
        }
        for (int64_t j = 0; j < problem_count(part, i); j++)
            problem_set(
                part, i, j,
                problem_get_first(whole, i, whole_index(whole, part, i, j, sequence, begin)));
    }
    return true;
}

double property_part_distance(const problem *whole, const problem *part, int64_t sequence,
                              int64_t begin, unsigned tensors) {
    double worst = 0;
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        const tnl_argument *argument = argument_of(whole, i);
        bool numbered = false;
        for (int j = 0; j < argument->rank; j++)
            numbered |= argument->shape[j] == token_dim(whole) || argument->shape[j] == DIM_S;
        if (!property_is_output(part, i) || !numbered || !(tensors >> i & 1))
            continue;
        distance d = {0};
        for (int64_t j = 0; j < problem_count(part, i); j++)
            add_difference(&d, problem_get(part, i, j),
                           problem_get(whole, i, whole_index(whole, part, i, j, sequence, begin)));
        worst = fmax(worst, relative(&d));
    }
    return worst;
}

void property_copy(const problem *from, int source, problem *to, int target) {
    for (int64_t i = 0; i < problem_count(from, source); i++)
        problem_set(to, target, i, problem_get(from, source, i));
}
