/*
 * The verdict on a run. In every slice
 *   - the relative error, |x - reference| / |reference| in the Euclidean norm, is under the bound.
 *     In a slice of few 16-bit elements roundings don't average out: rounding a single number to
 *     bfloat16 may cost 3.9e-3. There twice the naive computation's worst slice will do;
 *   - no element is further off than twice the naive computation's worst, or than one unit in the
 *     last place of the slice's largest value, where that is more. The naive worst is taken in
 *     proportion to the slice's largest value, over all slices of the tensor and, where that has
 *     few elements, over several seeds: in a few elements the naive computation may be right by
 *     luck;
 *   - where the reference is 0 the result is 0;
 *   - where the naive computation is not finite the result is not, and nowhere else;
 *   - where the reference writes nothing the memory is as it was;
 * and every byte that is not an output's is as it was.
 */
#include "verify/judge.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double judge_bound(const tnl_variant_row *row, tnl_type type) {
    double own = row->kernel->bound[type];
    return own > 0 ? own : tnl_operators[row->op].bound[type];
}

/* ---- slices ------------------------------------------------------------------------------- */

/* An output that is looked at, and what for. */
typedef struct examined {
    const problem *p;
    int tensor;
    const double *value, *reference, *naive;
    double naive_worst;    /* largest error / largest value, over all slices */
    double naive_relative; /* largest relative error of a slice */
    double bound;
    bool small; /* of a 16-bit type */
    verdict *verdict;
} examined;

/* Slice by slice; in a packed batch each sequence of a head is a slice. */
static void each_slice(examined *x, void (*visit)(examined *, int64_t, int64_t)) {
    const tnl_argument *argument = &tnl_operators[x->p->spec.op].argument[x->tensor];
    const tnl_tensor *tensor = &x->p->tensor[x->tensor];
    int64_t slices = 1;
    for (int i = 0; i < argument->slice_rank; i++)
        slices *= tensor->shape[i];
    int64_t size = problem_count(x->p, x->tensor) / slices;
    const int32_t *offset = problem_sequences(x->p);
    bool packed = offset && argument->slice_rank == 2 && argument->shape[2] == DIM_N;
    for (int64_t i = 0; i < slices; i++) {
        if (!packed) {
            visit(x, i * size, (i + 1) * size);
            continue;
        }
        int64_t columns = tensor->shape[3];
        for (int64_t j = 0; j < x->p->spec.dim[DIM_S]; j++)
            visit(x, i * size + offset[j] * columns, i * size + offset[j + 1] * columns);
    }
}

/* Whether the reference wrote nothing there: no computation gives a NaN of these bits. */
static bool is_unwritten(double reference) {
    uint64_t bits;
    memcpy(&bits, &reference, sizeof bits);
    return bits == UINT64_MAX;
}

static void measure_naive(examined *x, int64_t begin, int64_t end) {
    double largest = 0, worst = 0, error = 0, norm = 0;
    for (int64_t i = begin; i < end; i++) {
        if (is_unwritten(x->reference[i]) || !isfinite(x->naive[i]))
            continue;
        error += pow(x->naive[i] - x->reference[i], 2);
        norm += pow(x->reference[i], 2);
        largest = fmax(largest, fabs(x->reference[i]));
        worst = fmax(worst, fabs(x->naive[i] - x->reference[i]));
    }
    if (worst > x->naive_worst * largest)
        x->naive_worst = worst / largest;
    if (norm > 0)
        x->naive_relative = fmax(x->naive_relative, sqrt(error / norm));
}

/* ---- what is expected --------------------------------------------------------------------- */

static bool is_floating(tnl_type type) {
    return type == TNL_FLOAT32 || type == TNL_FLOAT16 || type == TNL_BFLOAT16;
}

void judge_free_call(tnl_call *call) {
    for (int i = 0; i < TNL_MAX_TENSORS; i++)
        if (is_floating(call->tensor[i].type))
            free(call->tensor[i].data);
    *call = (tnl_call){0};
}

bool judge_make_call(const problem *p, tnl_call *call) {
    *call = (tnl_call){
        .op = p->spec.op, .type = p->spec.type, .eps = p->eps > 0 ? p->eps : TNL_DEFAULT_EPS};
    memcpy(call->dim, p->spec.dim, sizeof call->dim);
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        tnl_tensor *tensor = &call->tensor[i];
        int64_t count = problem_count(p, i), stride = 1;
        if (count == 0)
            continue;
        *tensor = p->tensor[i];
        for (int j = tensor->rank - 1; j >= 0; j--) {
            tensor->stride[j] = stride;
            stride *= tensor->shape[j];
        }
        if (is_floating(tensor->type)) {
            tensor->data = malloc((size_t)count * sizeof(double));
            if (!tensor->data) {
                judge_free_call(call);
                return false;
            }
            problem_read(p, i, true, tensor->data);
            if (tnl_operators[p->spec.op].argument[i].role == TNL_OUTPUT)
                memset(tensor->data, 0xff, (size_t)count * sizeof(double));
        } else {
            tensor->data = problem_first(p, i);
        }
    }
    return true;
}

/* Take the outputs out of a call and free the rest. */
static void take_outputs(tnl_call *call, bool rounded, double **output) {
    const tnl_operator_row *row = &tnl_operators[call->op];
    for (int i = 0; i < row->argument_count; i++) {
        tnl_tensor *tensor = &call->tensor[i];
        output[i] = NULL;
        if (!tensor->data || row->argument[i].role == TNL_INPUT)
            continue;
        output[i] = tensor->data;
        int64_t count = tensor->shape[0] * tensor->stride[0];
        for (int64_t j = 0; rounded && j < count; j++) {
            uint32_t stored;
            tnl_store(&stored, tensor->type, 0, output[i][j]);
            output[i][j] = tnl_load(&stored, tensor->type, 0);
        }
        tensor->data = NULL;
    }
    judge_free_call(call);
}

void judge_forget(expectation *expected) {
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        free(expected->reference[i]);
        free(expected->naive[i]);
    }
    *expected = (expectation){0};
}

/* Reference and naive computation of this very problem. */
static bool compute(const problem *p, tnl_reference *reference, tnl_reference *naive,
                    expectation *expected) {
    *expected = (expectation){.made_by = reference};
    tnl_call exact, rough;
    if (!judge_make_call(p, &exact))
        return false;
    if (!judge_make_call(p, &rough)) {
        judge_free_call(&exact);
        return false;
    }
#pragma omp parallel sections
    {
#pragma omp section
        reference(&exact);
#pragma omp section
        naive(&rough);
    }
    take_outputs(&exact, false, expected->reference);
    take_outputs(&rough, true, expected->naive);
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        examined x = {
            .p = p, .tensor = i, .reference = expected->reference[i], .naive = expected->naive[i]};
        if (x.reference)
            each_slice(&x, measure_naive);
        expected->naive_worst[i] = x.naive_worst;
        expected->naive_relative[i] = x.naive_relative;
    }
    return true;
}

/* Enlarge the naive computation's worst by that of the same problem with another seed. */
static bool try_seed(const problem *p, uint64_t seed, tnl_reference *reference,
                     tnl_reference *naive, expectation *expected) {
    problem_spec spec = p->spec;
    spec.seed = seed;
    problem other;
    expectation more = {0};
    if (!problem_make(&spec, NULL, &other))
        return false;
    other.eps = p->eps;
    bool computed = problem_poison(&other) && compute(&other, reference, naive, &more);
    for (int i = 0; i < TNL_MAX_TENSORS; i++) {
        expected->naive_worst[i] = fmax(expected->naive_worst[i], more.naive_worst[i]);
        expected->naive_relative[i] = fmax(expected->naive_relative[i], more.naive_relative[i]);
    }
    judge_forget(&more);
    problem_free(&other);
    return computed;
}

bool judge_expect(const problem *p, tnl_reference *reference, tnl_reference *naive,
                  expectation *expected) {
    enum { SEEDS = 16, MANY_ELEMENTS = 16384 };
    if (!compute(p, reference, naive, expected))
        return false;
    int64_t most = 1;
    for (int i = 0; i < TNL_MAX_TENSORS; i++)
        if (expected->reference[i] && problem_count(p, i) > most)
            most = problem_count(p, i);
    int64_t seeds = MANY_ELEMENTS / most < SEEDS ? MANY_ELEMENTS / most : SEEDS;
    bool computed = true;
    for (int64_t i = 1; computed && i < seeds; i++)
        computed = try_seed(p, p->spec.seed ^ (uint64_t)i << 48, reference, naive, expected);
    if (!computed)
        judge_forget(expected);
    return computed;
}

/* ---- the verdict -------------------------------------------------------------------------- */

/* "o[0,1,17,3]" */
static void name_element(const examined *x, int64_t index, char *text, size_t size) {
    const tnl_tensor *tensor = &x->p->tensor[x->tensor];
    int64_t position[TNL_MAX_RANK] = {0};
    for (int i = tensor->rank - 1; i >= 0; i--) {
        position[i] = index % tensor->shape[i];
        index /= tensor->shape[i];
    }
    size_t length =
        (size_t)snprintf(text, size, "%s", tnl_operators[x->p->spec.op].argument[x->tensor].name);
    for (int i = 0; i < tensor->rank; i++)
        length += (size_t)snprintf(text + length, size - length, "%c%lld", i ? ',' : '[',
                                   (long long)position[i]);
    snprintf(text + length, size - length, "]");
}

/* Record what is wrong at an element, if it is the first thing wrong. */
__attribute__((format(printf, 3, 4))) static void fail(const examined *x, int64_t index,
                                                       const char *format, ...) {
    if (!x->verdict->passed)
        return;
    x->verdict->passed = false;
    char where[96], what[200];
    name_element(x, index, where, sizeof where);
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    snprintf(x->verdict->text, sizeof x->verdict->text, "%s %s", where, what);
}

/* What can be said of one element alone; true: it counts in the slice's errors. */
static bool judge_element(const examined *x, int64_t i) {
    double value = x->value[i], reference = x->reference[i], naive = x->naive[i];
    if (is_unwritten(reference)) {
        if (!problem_untouched(x->p, x->tensor, i))
            fail(x, i, "is %g, expected to be left as it was", value);
        return false;
    }
    if (!isfinite(naive)) {
        if (isfinite(value))
            fail(x, i, "is %g, expected inf or nan as in the naive computation", value);
        return false;
    }
    if (!isfinite(value)) {
        fail(x, i, "is %g%s, expected %g", value,
             problem_untouched(x->p, x->tensor, i) ? " (unwritten)" : "", reference);
        return false;
    }
    if (reference == 0 && value != 0)
        fail(x, i, "is %g, expected exactly 0", value);
    return true;
}

static void judge_slice(examined *x, int64_t begin, int64_t end) {
    const int64_t few_elements = 256;
    double error = 0, norm = 0, largest = 0, worst = 0;
    int64_t at = begin;
    for (int64_t i = begin; i < end; i++) {
        if (!judge_element(x, i))
            continue;
        double reference = x->reference[i], off = fabs(x->value[i] - reference);
        error += off * off;
        norm += reference * reference;
        largest = fmax(largest, fabs(reference));
        if (off > worst) {
            worst = off;
            at = i;
        }
    }
    double relative = error > 0 ? sqrt(error / norm) : 0;
    if (relative > x->verdict->error)
        x->verdict->error = relative;
    double bound = x->bound;
    if (end - begin <= few_elements && x->small)
        bound = fmax(bound, 2 * x->naive_relative);
    if (!(relative < bound))
        fail(x, at, "is %.9g, expected %.9g; relative error of its slice %.3g, bound %.3g",
             x->value[at], x->reference[at], relative, bound);
    double unit = tnl_ulp(x->p->tensor[x->tensor].type, largest), naive = x->naive_worst * largest;
    if (worst > fmax(2 * naive, unit))
        fail(x, at, "is %.9g, expected %.9g; off by %.3g, naive by %.3g at most, one ulp %.3g",
             x->value[at], x->reference[at], worst, naive, unit);
}

/* Whether an output is float32 by the caller's choice: it is then held to float32's bound. */
static bool is_chosen_float32(const problem *p, int tensor) {
    return p->spec.float32 >> tensor & 1;
}

verdict judge(const problem *p, const expectation *expected, double bound) {
    const double *bounds = tnl_operators[p->spec.op].bound;
    verdict result = {.passed = true};
    const char *broken = problem_guard_broken(p);
    if (broken) {
        result.passed = false;
        snprintf(result.text, sizeof result.text,
                 "memory that is no output's was written to, in or around %s", broken);
    }
    for (int i = 0; i < tnl_operators[p->spec.op].argument_count; i++) {
        if (!expected->reference[i])
            continue;
        double *value = malloc((size_t)problem_count(p, i) * sizeof *value);
        if (!value)
            return (verdict){.text = "out of memory"};
        problem_read(p, i, false, value);
        examined x = {.p = p,
                      .tensor = i,
                      .value = value,
                      .reference = expected->reference[i],
                      .naive = expected->naive[i],
                      .naive_worst = expected->naive_worst[i],
                      .naive_relative = expected->naive_relative[i],
                      .bound = is_chosen_float32(p, i) ? bounds[TNL_FLOAT32] : bound,
                      .small = p->spec.type != TNL_FLOAT32 && !is_chosen_float32(p, i),
                      .verdict = &result};
        each_slice(&x, judge_slice);
        free(value);
    }
    return result;
}
