/*
 * The references' gradients against finite differences, all in double.
 *
 * A backward operator is checked through its forward one. The loss is the sum of every output that
 * has a cotangent, times that cotangent; the cotangents are the backward operator's own random
 * inputs. What belongs to what follows from the names in the table: "dX" as an input is the
 * cotangent of the forward operator's output X (and "dout" that of "o"), "dX" as an output is the
 * gradient of its input X; an X that both have is the same tensor.
 *
 * A derivative is that of the polynomial through four points,
 *     f'(x) = (8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h,
 * off by h^4/30 times the fifth derivative, which h = 2^-10 makes 3e-14 of it; the steepest
 * functions here, rotations by 17 theta, then are off by some 1e-9 of their derivative. Rounding
 * adds 1e-16 |f| / h, 1e-12 for the losses of some tens that these sizes have.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "verify/describe.h"
#include "verify/judge.h"
#include "verify/parts.h"
#include "verify/sweep.h"

static const double step = 0x1p-10;
static const double bound = 1e-8; /* of a tensor's largest gradient, or of 1 where that is more */

static const struct {
    tnl_operator backward, forward;
} pairs[] = {
    {TNL_SRMSNORM_BACKWARD, TNL_SRMSNORM_FORWARD},
    {TNL_SRMSNORM_RESIDUAL_BACKWARD, TNL_SRMSNORM_RESIDUAL_FORWARD},
    {TNL_SRMSNORM_GATE_BACKWARD, TNL_SRMSNORM_GATE_FORWARD},
    {TNL_QKVU_ACTIVATION_BACKWARD, TNL_QKVU_ACTIVATION_FORWARD},
    {TNL_ATTENTION_BACKWARD, TNL_ATTENTION_FORWARD},
    {TNL_ATTENTION_FORWARD_BACKWARD, TNL_ATTENTION_FORWARD},
    {TNL_SGLU_BACKWARD, TNL_SGLU_FORWARD},
    {TNL_QKVU_PROJECTION_BACKWARD, TNL_QKVU_PROJECTION_FORWARD},
};

/* The argument of `forward` whose cotangent or gradient has this name, or -1. */
static int find_primal(tnl_operator forward, const char *name) {
    if (strcmp(name, "dout") == 0)
        return tnl_find_argument(forward, "o");
    return name[0] == 'd' ? tnl_find_argument(forward, name + 1) : -1;
}

/* Both calls, as the references take them. */
typedef struct check {
    problem forward_problem, backward_problem;
    tnl_call forward, backward;
} check;

static void close_check(check *c) {
    judge_free_call(&c->forward);
    judge_free_call(&c->backward);
    problem_free(&c->forward_problem);
    problem_free(&c->backward_problem);
}

static bool open_check(check *c, const problem_spec *forward, const problem_spec *backward) {
    *c = (check){0};
    bool made = problem_make(forward, NULL, &c->forward_problem) &&
                problem_make(backward, NULL, &c->backward_problem) &&
                problem_poison(&c->forward_problem) && problem_poison(&c->backward_problem) &&
                judge_make_call(&c->forward_problem, &c->forward) &&
                judge_make_call(&c->backward_problem, &c->backward);
    if (!made)
        close_check(c);
    return made;
}

/* The forward problem to a backward one: each optional tensor is there if the backward call has
 * it, its cotangent or its gradient. */
static problem_spec forward_spec(tnl_operator forward, const problem_spec *backward) {
    const tnl_operator_row *row = &tnl_operators[backward->op];
    problem_spec spec = *backward;
    spec.op = forward;
    spec.seed = backward->seed + 1;
    spec.present = 0;
    for (int i = 0; i < row->argument_count; i++) {
        if (row->argument[i].optional && !(backward->present >> i & 1))
            continue;
        int same = tnl_find_argument(forward, row->argument[i].name);
        int primal = find_primal(forward, row->argument[i].name);
        spec.present |= (same >= 0 ? 1u << same : 0) | (primal >= 0 ? 1u << primal : 0);
    }
    return spec;
}

/* Floating-point tensors only: index tensors are equal by their spec. */
static void copy_values(const problem *sizes, int tensor, double *to, const double *from) {
    if (sizes->tensor[tensor].type != TNL_INT32 && sizes->tensor[tensor].type != TNL_INT64)
        memcpy(to, from, (size_t)problem_count(sizes, tensor) * sizeof *to);
}

/* Run forward, hand what both have to backward, and run that. */
static void run_both(check *c) {
    tnl_operator forward = c->forward.op, backward = c->backward.op;
    const tnl_operator_row *row = &tnl_operators[backward];
    for (int i = 0; i < row->argument_count; i++) { /* an absent initial state is zero */
        int primal = find_primal(forward, row->argument[i].name);
        int own = tnl_find_argument(backward, row->argument[i].name + 1);
        if (row->argument[i].role == TNL_OUTPUT && primal >= 0 && c->backward.tensor[i].data &&
            own >= 0 && !c->backward.tensor[own].data)
            memset(c->forward.tensor[primal].data, 0,
                   (size_t)problem_count(&c->forward_problem, primal) * sizeof(double));
    }
    tnl_operators[forward].reference(&c->forward);
    for (int i = 0; i < row->argument_count; i++) {
        int same = tnl_find_argument(forward, row->argument[i].name);
        if (row->argument[i].role == TNL_INPUT && same >= 0 && c->backward.tensor[i].data)
            copy_values(&c->backward_problem, i, c->backward.tensor[i].data,
                        c->forward.tensor[same].data);
    }
    row->reference(&c->backward);
}

/* The loss at the inputs that the forward call holds. */
static double loss(check *c) {
    const tnl_operator_row *row = &tnl_operators[c->backward.op];
    double sum = 0;
    tnl_operators[c->forward.op].reference(&c->forward);
    for (int i = 0; i < row->argument_count; i++) {
        int primal = find_primal(c->forward.op, row->argument[i].name);
        const double *cotangent = c->backward.tensor[i].data;
        if (row->argument[i].role != TNL_INPUT || primal < 0 || !cotangent)
            continue;
        const double *output = c->forward.tensor[primal].data;
        for (int64_t j = 0; j < problem_count(&c->backward_problem, i); j++)
            sum += output[j] * cotangent[j];
    }
    return sum;
}

static double loss_at(check *c, double *x, double value) {
    double kept = *x;
    *x = value;
    double result = loss(c);
    *x = kept;
    return result;
}

/* The difference that is furthest off, as a part of the tensor's largest value. */
typedef struct deviation {
    double worst, largest;
    int64_t at;
} deviation;

static void compare(deviation *d, int64_t at, double value, double expected) {
    double off = fabs(value - expected);
    if (!(off <= d->worst) && !isnan(d->worst)) {
        d->worst = off;
        d->at = at;
    }
    d->largest = fmax(d->largest, fabs(expected));
}

/* One output of the backward operator: a gradient, or an output that the forward operator has. */
static void check_output(report *r, check *c, int output, const char *label) {
    const char *name = tnl_operators[c->backward.op].argument[output].name;
    int same = tnl_find_argument(c->forward.op, name), primal = find_primal(c->forward.op, name);
    const double *value = c->backward.tensor[output].data;
    deviation d = {0};
    for (int64_t i = 0; i < problem_count(&c->backward_problem, output); i++) {
        if (same >= 0) {
            compare(&d, i, value[i], ((double *)c->forward.tensor[same].data)[i]);
            continue;
        }
        double *x = (double *)c->forward.tensor[primal].data + i;
        double near = loss_at(c, x, *x + step) - loss_at(c, x, *x - step);
        double far = loss_at(c, x, *x + 2 * step) - loss_at(c, x, *x - 2 * step);
        compare(&d, i, value[i], (8 * near - far) / (12 * step));
    }
    double error = d.worst / fmax(d.largest, 1);
    report_case(r, error < bound, error, bound, "%s: %s: element %lld is off by %.3g of %.3g",
                label, name, (long long)d.at, d.worst, d.largest);
}

static void check_case(report *r, tnl_operator forward, const problem_spec *backward) {
    const tnl_operator_row *row = &tnl_operators[backward->op];
    char label[512];
    describe_problem(backward, label, sizeof label);
    problem_spec spec = forward_spec(forward, backward);
    check c;
    if (!open_check(&c, &spec, backward)) {
        report_case(r, false, 0, 0, "%s: out of memory", label);
        return;
    }
    run_both(&c);
    for (int i = 0; i < row->argument_count; i++)
        if (row->argument[i].role == TNL_OUTPUT && c.backward.tensor[i].data)
            check_output(r, &c, i, label);
    close_check(&c);
}

/* The smallest sizes at which nothing is equal by chance, or a single token (small). */
static void set_sizes(problem_spec *spec, bool small) {
    static const int64_t size[DIM_COUNT] = {
        [DIM_B] = 2, [DIM_H] = 2,      [DIM_N] = 8, [DIM_D] = 3, [DIM_E] = 4,
        [DIM_M] = 8, [DIM_HIDDEN] = 6, [DIM_G] = 5, [DIM_K] = 16};
    static const int32_t cu_seqlens[] = {0, 3, 3, 8};
    const tnl_operator_row *row = &tnl_operators[spec->op];
    int packed = tnl_find_argument(spec->op, "cu_seqlens");
    memset(spec->dim, 0, sizeof spec->dim);
    for (int i = 0; row->named[i] != DIM_NONE; i++)
        spec->dim[row->named[i]] = size[row->named[i]];
    spec->dim[DIM_H] = size[DIM_H];
    spec->cu_seqlens = NULL;
    if (packed >= 0 && spec->present >> packed & 1) {
        spec->cu_seqlens = cu_seqlens;
        spec->dim[DIM_B] = spec->dim[DIM_B] ? 1 : 0;
        spec->dim[DIM_S] = (int64_t)(sizeof cu_seqlens / sizeof *cu_seqlens) - 1;
    } else if (small) {
        spec->dim[DIM_N] = spec->dim[DIM_N] ? 1 : 0;
        spec->dim[DIM_M] = spec->dim[DIM_M] ? 1 : 0;
    }
    problem_complete(spec);
}

/* Every choice of optional tensors, with and without decay, many tokens and one. */
static void check_pair(report *r, tnl_operator backward, tnl_operator forward) {
    static const slopes decays[] = {SLOPES_RELEASED, SLOPES_NONE, SLOPES_STEEP};
    const tnl_operator_row *row = &tnl_operators[backward];
    unsigned optional = 0;
    int count = 0;
    for (int i = 0; i < row->argument_count; i++)
        optional |= row->argument[i].optional ? 1u << i : 0;
    int decay_count = tnl_find_argument(backward, "slope") >= 0 ? 3 : 1;
    for (unsigned present = optional;; present = (present - 1) & optional) {
        problem_spec spec = {.op = backward,
                             .type = TNL_FLOAT32,
                             .present = present,
                             .position = 3,
                             .seed = r->seed + present};
        for (int k = 0; sweep_may_have(backward, present) && k < 2 * decay_count; k++) {
            spec.slopes = decays[k / 2];
            set_sizes(&spec, k % 2);
            if ((k % 2 == 0 || !spec.cu_seqlens) && (!r->quick || count++ % 10 == 0))
                check_case(r, forward, &spec);
        }
        if (present == 0)
            break;
    }
}

void verify_gradients(report *r) {
    int threads = omp_get_max_threads();
    omp_set_num_threads(1); /* these problems are too small to share */
    for (int op = 0; op < TNL_OPERATOR_COUNT; op++) {
        const char *suffix = strstr(tnl_operators[op].name, "_backward");
        if (!suffix || !report_begin(r, tnl_operators[op].name, "gradient", "f64"))
            continue;
        size_t i = 0, known = sizeof pairs / sizeof *pairs;
        while (i < known && pairs[i].backward != (tnl_operator)op)
            i++;
        if (i < known)
            check_pair(r, pairs[i].backward, pairs[i].forward);
        else
            report_case(r, false, 0, 0, "has no forward operator to be checked against");
    }
    omp_set_num_threads(threads);
}
