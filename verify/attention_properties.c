/*
 * The properties of attention and decode: a sequence may be cut anywhere, its state handed over;
 * it is linear in V; without decay and with ones everywhere it counts; with none but the present
 * left it is the diagonal; decoding token by token gives what attention gives at once.
 */
#include <math.h>
#include <string.h>

#include "verify/property.h"

static unsigned bit(const subject *s, const char *name) {
    return sweep_bit(s->row->op, name);
}

static void set_all(problem *p, int tensor, double value) {
    for (int64_t i = 0; i < problem_count(p, tensor); i++)
        problem_set(p, tensor, i, value);
}

/* ---- cutting ------------------------------------------------------------------------------ */

/* Both the parts and the whole may be off by the bound: between them it is twice that. */
static void cut_forward(const subject *s, const problem *whole, int64_t cut) {
    problem head, tail;
    if (!property_part(s, whole, 0, 0, cut, &head) || !property_run(s, NULL, &head))
        return;
    if (property_part(s, whole, 0, cut, whole->spec.dim[DIM_N], &tail)) {
        property_copy(&head, ATT_FINAL_STATE, &tail, ATT_INITIAL_STATE);
        if (property_run(s, NULL, &tail)) {
            double before = property_part_distance(whole, &head, 0, 0, 1u << ATT_O);
            double after = property_part_distance(whole, &tail, 0, cut, ~0u);
            property_record(s, &whole->spec, fmax(before, after), 2 * s->bound,
                            "two parts differ from the whole");
            problem_free(&tail);
        }
    }
    problem_free(&head);
}

/* The state that the forward pass leaves at the cut goes into the later part, and the gradient of
 * it that comes out of there into the earlier one. */
static void cut_backward(const subject *s, const problem *whole, const problem *forward,
                         int64_t cut) {
    problem head, tail, early;
    const tnl_variant_row *row = property_chosen(s, TNL_ATTENTION_FORWARD);
    if (!property_part(s, forward, 0, 0, cut, &early) || !property_run(s, row, &early))
        return;
    if (property_part(s, whole, 0, cut, whole->spec.dim[DIM_N], &tail)) {
        property_copy(&early, ATT_FINAL_STATE, &tail, ATT_BWD_INITIAL_STATE);
        if (property_run(s, NULL, &tail)) {
            if (property_part(s, whole, 0, 0, cut, &head)) {
                property_copy(&tail, ATT_BWD_DINITIAL_STATE, &head, ATT_BWD_DFINAL_STATE);
                if (property_run(s, NULL, &head)) {
                    unsigned all = ~0u, tokens = all & ~(1u << ATT_BWD_DINITIAL_STATE);
                    double before = property_part_distance(whole, &head, 0, 0, all);
                    double after = property_part_distance(whole, &tail, 0, cut, tokens);
                    property_record(s, &whole->spec, fmax(before, after), 2 * s->bound,
                                    "two parts differ from the whole");
                    problem_free(&head);
                }
            }
            problem_free(&tail);
        }
    }
    problem_free(&early);
}

static void cutting_anywhere(subject *s) {
    s->property = "cutting anywhere";
    if (!bit(s, "initial_state"))
        return;
    problem_spec spec = property_spec(s, 0);
    if (!(spec.present & bit(s, "initial_state"))) {
        report_skip(s->report, "property \"%s\": the row knows no states", s->property);
        return;
    }
    spec.dim[DIM_B] = 1;
    problem_complete(&spec);
    problem whole, forward = {0};
    if (!property_make(s, &spec, &whole) || !property_run(s, NULL, &whole))
        return;
    const bool backward = s->row->op == TNL_ATTENTION_BACKWARD;
    if (backward) {
        /* The forward pass of the same inputs, which are its first tensors, too. */
        spec.op = TNL_ATTENTION_FORWARD;
        spec.present = 1u << ATT_INITIAL_STATE | 1u << ATT_FINAL_STATE;
        if (!property_make(s, &spec, &forward) || !problem_poison(&forward)) {
            problem_free(&whole);
            return;
        }
    }
    const int64_t n = spec.dim[DIM_N], cut[] = {n / 2, 1, n - 1, 64, 128};
    for (int i = 0; i < (s->report->quick ? 1 : 5); i++) {
        if (backward)
            cut_backward(s, &whole, &forward, cut[i]);
        else
            cut_forward(s, &whole, cut[i]);
    }
    if (backward)
        problem_free(&forward);
    problem_free(&whole);
}

/* ---- linearity ---------------------------------------------------------------------------- */

/* o(4 v) = 4 o(v) bit for bit, but where float16 has fewer digits for o(v), below its smallest
 * normal number; and o(v + w) = o(v) + o(w); w are the elements of v, reversed. */
static void linear_in_v(subject *s) {
    s->property = "linear in V";
    if (s->row->op != TNL_ATTENTION_FORWARD)
        return;
    problem_spec spec = property_spec(s, bit(s, "initial_state"));
    problem p[4];
    int made = 0;
    bool ran = true;
    for (; ran && made < 4; made += ran) {
        if (!property_make(s, &spec, &p[made]))
            break;
        int64_t count = problem_count(&p[made], ATT_V);
        for (int64_t i = 0; made > 0 && i < count; i++) {
            double v = problem_get(&p[0], ATT_V, i), w = problem_get(&p[0], ATT_V, count - 1 - i);
            problem_set(&p[made], ATT_V, i, made == 1 ? 4 * v : made == 2 ? w : v + w);
        }
        ran = property_run(s, NULL, &p[made]);
    }
    if (made == 4) {
        double scaled = 0, error = 0, norm = 0;
        for (int64_t i = 0; i < problem_count(&p[0], ATT_O); i++) {
            double o[4];
            for (int j = 0; j < 4; j++)
                o[j] = problem_get(&p[j], ATT_O, i);
            scaled += o[1] != 4 * o[0] && (spec.type != TNL_FLOAT16 || fabs(o[0]) >= 0x1p-14);
            error += pow(o[3] - (o[0] + o[2]), 2);
            norm += o[3] * o[3];
        }
        property_record(s, &spec, scaled, 0, "elements of o(4 v) are not 4 o(v)");
        property_record(s, &spec, sqrt(error / norm), 3 * s->bound, "o(v + w) is not o(v) + o(w)");
    }
    while (made > 0)
        problem_free(&p[--made]);
}

/* ---- no decay, and nothing but decay ------------------------------------------------------ */

/* What an output holds at token t of n where every input is 1 and nothing decays. */
static double count_of(const char *name, double t, double n, double d, double e) {
    if (strcmp(name, "o") == 0)
        return d * (t + 1);
    if (strcmp(name, "dq") == 0)
        return e * (t + 1);
    if (strcmp(name, "dk") == 0)
        return e * (n - t);
    if (strcmp(name, "dv") == 0)
        return d * (n - t);
    return n; /* a state */
}

static void ones_are_counted(subject *s) {
    s->property = "ones without decay are counted exactly";
    problem_spec spec = property_spec(s, bit(s, "initial_state") | bit(s, "dfinal_state"));
    spec.slopes = SLOPES_NONE;
    problem p;
    if (!property_make(s, &spec, &p))
        return;
    const tnl_operator_row *op = &tnl_operators[spec.op];
    for (int i = 0; i < op->argument_count; i++)
        if (op->argument[i].role == TNL_INPUT && op->argument[i].type == TNL_NO_TYPE)
            set_all(&p, i, 1);
    if (!property_run(s, NULL, &p))
        return;
    double wrong = 0;
    for (int i = 0; i < op->argument_count; i++) {
        for (int64_t j = 0; property_is_output(&p, i) && j < problem_count(&p, i); j++) {
            int64_t t = property_coordinate(&p, i, j, DIM_N);
            double count = count_of(op->argument[i].name, (double)t, (double)spec.dim[DIM_N],
                                    (double)spec.dim[DIM_D], (double)spec.dim[DIM_E]);
            double stored;
            tnl_store(&stored, p.tensor[i].type, 0, count);
            wrong += problem_get(&p, i, j) != tnl_load(&stored, p.tensor[i].type, 0);
        }
    }
    property_record(s, &spec, wrong, 0, "elements are not what counting gives");
    problem_free(&p);
}

/* The sum over features of the product of two tensors' rows. */
static double dot(const problem *p, int a, int b, int64_t row, int64_t columns) {
    double sum = 0;
    for (int64_t i = row * columns; i < (row + 1) * columns; i++)
        sum += problem_get(p, a, i) * problem_get(p, b, i);
    return sum;
}

/* With lambda = 0 each token sees itself alone: o = (q . k) v. */
static void only_the_diagonal(subject *s) {
    s->property = "lambda = 0 leaves the diagonal";
    if (s->row->op != TNL_ATTENTION_FORWARD)
        return;
    problem_spec spec = property_spec(s, bit(s, "final_state"));
    problem p;
    if (!property_make(s, &spec, &p))
        return;
    set_all(&p, ATT_SLOPE, 1e4);
    if (!property_run(s, NULL, &p))
        return;
    const int64_t d = spec.dim[DIM_D], e = spec.dim[DIM_E];
    double error = 0, norm = 0;
    for (int64_t row = 0; row < problem_count(&p, ATT_O) / e; row++) {
        double score = dot(&p, ATT_Q, ATT_K, row, d);
        for (int64_t i = row * e; i < (row + 1) * e; i++) {
            double expected = score * problem_get(&p, ATT_V, i);
            error += pow(problem_get(&p, ATT_O, i) - expected, 2);
            norm += expected * expected;
        }
    }
    property_record(s, &spec, sqrt(error / norm), s->bound, "o is not (q . k) v");
    problem_free(&p);
}

void property_attention(subject *s) {
    cutting_anywhere(s);
    linear_in_v(s);
    ones_are_counted(s);
    only_the_diagonal(s);
}

/* ---- decode ------------------------------------------------------------------------------- */

/* Copy token t of a tensor [b,h,n,c] into one [b,h,c]. */
static void take_token(const problem *from, int source, int64_t t, problem *to, int target) {
    const int64_t columns = to->tensor[target].shape[2], n = from->spec.dim[DIM_N];
    for (int64_t i = 0; i < problem_count(to, target); i++)
        problem_set(to, target, i,
                    problem_get(from, source, (i / columns * n + t) * columns + i % columns));
}

/* A whole sequence at once: activation, then attention from no state. */
static bool run_parallel(const subject *s, const problem_spec *decode, int64_t n, problem *before,
                         problem *after) {
    const tnl_variant_row *activation = property_chosen(s, TNL_QKVU_ACTIVATION_FORWARD);
    const tnl_variant_row *attention = property_chosen(s, TNL_ATTENTION_FORWARD);
    problem_spec spec = *decode;
    spec.op = TNL_QKVU_ACTIVATION_FORWARD;
    spec.present = 1u << ACT_THETA | 1u << ACT_POSITIONS;
    spec.dim[DIM_N] = n;
    problem_complete(&spec);
    if (!property_make(s, &spec, before) || !property_run(s, activation, before))
        return false;
    spec.op = TNL_ATTENTION_FORWARD;
    spec.present = 1u << ATT_FINAL_STATE;
    spec.dim[DIM_D] *= 2;
    problem_complete(&spec);
    if (property_make(s, &spec, after)) {
        property_copy(before, ACT_Q_OUT, after, ATT_Q);
        property_copy(before, ACT_K_OUT, after, ATT_K);
        if (property_run(s, attention, after))
            return true;
    }
    problem_free(before);
    return false;
}

/* The square of the distance, and of what it is relative to. */
static void add_distance(double a, double b, double *error, double *norm) {
    *error += (a - b) * (a - b);
    *norm += b * b;
}

/* One step at token t: *state goes in and comes out. Adds to the distances; false: it failed. */
static bool step(const subject *s, problem_spec spec, int64_t t, const problem *before,
                 const problem *after, problem *state, double *error, double *norm) {
    problem p;
    spec.position += t;
    if (!property_make(s, &spec, &p))
        return false;
    take_token(before, ACT_Q, t, &p, DECODE_Q);
    take_token(before, ACT_K, t, &p, DECODE_K);
    take_token(after, ATT_V, t, &p, DECODE_V);
    property_copy(after, ATT_SLOPE, &p, DECODE_SLOPE);
    property_copy(before, ACT_THETA, &p, DECODE_THETA);
    if (t > 0)
        property_copy(state, DECODE_STATE, &p, DECODE_STATE);
    else
        set_all(&p, DECODE_STATE, 0);
    if (!property_run(s, NULL, &p))
        return false;
    const int64_t e = spec.dim[DIM_E], n = after->spec.dim[DIM_N];
    for (int64_t i = 0; i < problem_count(&p, DECODE_O); i++)
        add_distance(problem_get(&p, DECODE_O, i),
                     problem_get(after, ATT_O, (i / e * n + t) * e + i % e), error, norm);
    problem_free(state);
    *state = p;
    return true;
}

void property_decode(subject *s) {
    enum { TOKENS = 23 };
    s->property = "recurrent = parallel";
    if (!property_chosen(s, TNL_QKVU_ACTIVATION_FORWARD) ||
        !property_chosen(s, TNL_ATTENTION_FORWARD))
        return;
    problem_spec spec = property_spec(s, bit(s, "slots"));
    spec.position = 5;
    problem before, after, state = {0};
    if (!run_parallel(s, &spec, TOKENS, &before, &after))
        return;
    double error = 0, norm = 0;
    bool ran = true;
    for (int64_t t = 0; ran && t < TOKENS; t++)
        ran = step(s, spec, t, &before, &after, &state, &error, &norm);
    /* Each of the three operators may be off by its bound. */
    double bound = s->bound + tnl_operators[TNL_QKVU_ACTIVATION_FORWARD].bound[s->type] +
                   tnl_operators[TNL_ATTENTION_FORWARD].bound[s->type];
    if (ran)
        property_record(s, &spec, sqrt(error / norm), bound, "o differs from attention's");
    if (ran && !s->row->kernel->reference) {
        error = norm = 0;
        for (int64_t i = 0; i < problem_count(&state, DECODE_STATE); i++)
            add_distance(problem_get(&state, DECODE_STATE, i),
                         problem_get(&after, ATT_FINAL_STATE, i), &error, &norm);
        property_record(s, &spec, sqrt(error / norm), bound, "the state differs from attention's");
    }
    problem_free(&state);
    problem_free(&after);
    problem_free(&before);
}
