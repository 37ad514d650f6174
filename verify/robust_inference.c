/*
 * Robust inference (section 3.3): Algorithm 1 against Algorithm 2, both in float32, over a million
 * tokens of a first layer with 32 heads and the published slopes; the error is that against
 * Algorithm 2 in double.
 *
 * Algorithm 1 keeps S_t = sum of k lambda^-i v^T over the tokens i up to t (eq. 17), whose factor
 * leaves float32's range at t = 128 log 2 / slope. It must be right before, and fail there, which
 * shows that eq. 17 is what is at fault; Algorithm 2 must stay right to the end.
 *
 * The errors by position, for every head, go to results/<device>/robust_inference.json, from which
 * the picture is drawn.
 */
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/api.h"
#include "core/context.h"
#include "core/random.h"
#include "verify/device.h"
#include "verify/parts.h"

/* Random q come again after 1021 tokens, k after 1019, v after 1013: these are primes, so that all
 * three together come again after a thousand million. A point of a curve is the worst error
 * since the one before; PER_DECADE points for each power of ten of positions. */
enum { HEADS = 32, LAYERS = 24, D = 16, TOKEN = HEADS * D, STATE = HEADS * D * D, POOL = 1021 };
static const int64_t period[] = {POOL, 1019, 1013};
enum { TOKENS = 1 << 20, QUICK_TOKENS = 1 << 15, PER_DECADE = 32, MOST_POINTS = 8 * PER_DECADE };

static const double bound = 1e-5; /* of Algorithm 2: the operator's own */

typedef struct algorithm {
    const char *variant;
    float *state, o[TOKEN];
    double error[MOST_POINTS][HEADS]; /* infinite from where it is not finite any more */
    int64_t failed[HEADS];            /* the first position where it is off by half or more; -1 */
} algorithm;

typedef struct experiment {
    tnl_context *context;
    float slope[HEADS];
    float *narrow[3]; /* q, k, v: [POOL,HEADS,D] */
    double *wide[3];  /* the same in double */
    double wide_slope[HEADS];
    double *exact_state, exact[TOKEN];
    int64_t tokens, position[MOST_POINTS];
    int points;
    algorithm algorithm[2]; /* 1 and 2 */
} experiment;

/* ---- a token ------------------------------------------------------------------------------ */

static tnl_status run(experiment *x, algorithm *a, int64_t t) {
    const float *q = x->narrow[0] + t % period[0] * TOKEN;
    const float *k = x->narrow[1] + t % period[1] * TOKEN;
    const float *v = x->narrow[2] + t % period[2] * TOKEN;
    const tnl_decode_args args = {.q = tnl_3d(q, TNL_FLOAT32, 1, HEADS, D),
                                  .k = tnl_3d(k, TNL_FLOAT32, 1, HEADS, D),
                                  .v = tnl_3d(v, TNL_FLOAT32, 1, HEADS, D),
                                  .slope = tnl_1d(x->slope, TNL_FLOAT32, HEADS),
                                  .positions = tnl_1d(&t, TNL_INT64, 1),
                                  .state = tnl_4d(a->state, TNL_FLOAT32, 1, HEADS, D, D),
                                  .o = tnl_3d(a->o, TNL_FLOAT32, 1, HEADS, D)};
    const tnl_options options = {.variant = a->variant};
    return tnl_decode(x->context, &args, &options);
}

/* Algorithm 2 in double, by the operator's reference. */
static void run_exactly(experiment *x, int64_t t) {
    tnl_call call = {.op = TNL_DECODE, .type = TNL_FLOAT32};
    call.dim[DIM_B] = call.dim[DIM_SLOTS] = 1;
    call.dim[DIM_H] = HEADS;
    call.dim[DIM_D] = call.dim[DIM_E] = call.dim[DIM_F] = D;
    call.tensor[DECODE_Q].data = x->wide[0] + t % period[0] * TOKEN;
    call.tensor[DECODE_K].data = x->wide[1] + t % period[1] * TOKEN;
    call.tensor[DECODE_V].data = x->wide[2] + t % period[2] * TOKEN;
    call.tensor[DECODE_SLOPE].data = x->wide_slope;
    call.tensor[DECODE_STATE].data = x->exact_state;
    call.tensor[DECODE_O].data = x->exact;
    tnl_operators[TNL_DECODE].reference(&call);
}

/* Of a head's output; infinite where it is not finite. */
static double error_of(const experiment *x, const algorithm *a, int head) {
    double error = 0, norm = 0;
    for (int i = head * D; i < (head + 1) * D; i++) {
        const double off = (double)a->o[i] - x->exact[i];
        error += off * off;
        norm += x->exact[i] * x->exact[i];
    }
    const double relative = sqrt(error / norm);
    return isfinite(relative) ? relative : INFINITY;
}

static void note_errors(const experiment *x, algorithm *a, int64_t t) {
    for (int head = 0; head < HEADS; head++) {
        const double error = error_of(x, a, head);
        double *point = &a->error[x->points][head];
        *point = error > *point ? error : *point;
        if (!(error < 0.5) && a->failed[head] < 0)
            a->failed[head] = t;
    }
}

/* Where the next point after t is. */
static int64_t next_point(const experiment *x, int64_t t) {
    const int64_t next = (int64_t)ceil((double)t * pow(10, 1.0 / PER_DECADE));
    return next <= t ? t + 1 : next < x->tokens - 1 ? next : x->tokens - 1;
}

static bool run_all(experiment *x) {
    for (int64_t t = 0, point = 1; t < x->tokens; t++) {
        run_exactly(x, t);
        for (int i = 0; i < 2; i++) {
            if (run(x, &x->algorithm[i], t) != TNL_OK)
                return false;
            note_errors(x, &x->algorithm[i], t);
        }
        if (t != point)
            continue;
        x->position[x->points++] = t;
        point = next_point(x, t);
    }
    return true;
}

/* ---- making it ---------------------------------------------------------------------------- */

static bool fill(float **narrow, double **wide, uint64_t seed, uint64_t stream) {
    *narrow = malloc(sizeof **narrow * POOL * TOKEN);
    *wide = malloc(sizeof **wide * POOL * TOKEN);
    for (int64_t i = 0; *narrow && *wide && i < (int64_t)POOL * TOKEN; i++)
        (*wide)[i] = (*narrow)[i] = (float)random_normal(seed, stream, (uint64_t)i);
    return *narrow && *wide;
}

static bool set_up(experiment *x, const report *r) {
    static const char *const variants[] = {"origin", "recurrent"};
    x->tokens = r->quick ? QUICK_TOKENS : TOKENS;
    x->exact_state = calloc(STATE, sizeof *x->exact_state);
    bool good = x->exact_state && tnl_slopes_released(HEADS, LAYERS, 0, x->slope) == TNL_OK;
    for (int i = 0; i < 3; i++)
        good = fill(&x->narrow[i], &x->wide[i], r->seed, (uint64_t)i) && good;
    for (int head = 0; head < HEADS; head++)
        x->wide_slope[head] = x->slope[head];
    for (int i = 0; i < 2; i++) {
        x->algorithm[i].variant = variants[i];
        x->algorithm[i].state = calloc(STATE, sizeof *x->algorithm[i].state);
        good = good && x->algorithm[i].state;
        for (int head = 0; head < HEADS; head++)
            x->algorithm[i].failed[head] = -1;
    }
    return good;
}

static void tear_down(experiment *x) {
    for (int i = 0; i < 3; i++) {
        free(x->narrow[i]);
        free(x->wide[i]);
    }
    free(x->exact_state);
    for (int i = 0; i < 2; i++)
        free(x->algorithm[i].state);
    free(x);
}

/* ---- judging ------------------------------------------------------------------------------ */

/* The worst error of a head at points before position `end`. */
static double worst_before(const experiment *x, const algorithm *a, int head, int64_t end) {
    double worst = 0;
    for (int i = 0; i < x->points && x->position[i] < end; i++)
        worst = fmax(worst, a->error[i][head]);
    return worst;
}

static void judge(report *r, const experiment *x) {
    const algorithm *first = &x->algorithm[0], *second = &x->algorithm[1];
    for (int head = 0; head < HEADS; head++) {
        const double limit = 128 * log(2) / (double)x->slope[head]; /* lambda^-t = 2^128 */
        const double error = worst_before(x, second, head, x->tokens);
        report_case(r, second->failed[head] < 0 && error < bound, error, bound,
                    "Algorithm 2: head %d: relative error %.3g in %lld tokens", head, error,
                    (long long)x->tokens);
        if (limit > 0.98 * (double)x->tokens)
            continue;
        report_case(r, first->failed[head] >= 0 && fabs(first->failed[head] / limit - 1) < 0.05, 0,
                    0, "Algorithm 1: head %d: fails at %lld, expected %.0f, where eq. 17 overflows",
                    head, (long long)first->failed[head], limit);
        const double before = worst_before(x, first, head, (int64_t)(0.9 * limit));
        report_case(r, before < 1e-4, before, 1e-4,
                    "Algorithm 1: head %d: relative error %.3g long before it overflows", head,
                    before);
    }
}

/* ---- the file ----------------------------------------------------------------------------- */

static json_t *curve(const experiment *x, const algorithm *a, int head) {
    json_t *errors = json_array();
    for (int i = 0; i < x->points; i++) {
        const double error = a->error[i][head];
        json_array_append_new(errors, isfinite(error) ? json_real(error) : json_null());
    }
    json_t *failed = a->failed[head] < 0 ? json_null() : json_integer(a->failed[head]);
    return json_pack("{s:s, s:i, s:f, s:o, s:o}", "variant", a->variant, "head", head, "slope",
                     (double)x->slope[head], "failed_at", failed, "errors", errors);
}

static bool write(const report *r, const experiment *x, const char *path) {
    device_description device;
    char commit[128];
    device_describe(x->context, &device);
    describe_commit(commit, sizeof commit);
    json_t *positions = json_array(), *curves = json_array();
    for (int i = 0; i < x->points; i++)
        json_array_append_new(positions, json_integer(x->position[i]));
    for (int i = 0; i < 2; i++)
        for (int head = 0; head < HEADS; head++)
            json_array_append_new(curves, curve(x, &x->algorithm[i], head));
    json_t *root = json_pack("{s:s, s:s, s:b, s:i, s:i, s:I, s:o, s:o}", "device", device.model,
                             "commit", commit, "quick", r->quick, "heads", HEADS, "d", D, "tokens",
                             (json_int_t)x->tokens, "positions", positions, "curves", curves);
    const bool written =
        root && json_dump_file(root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(4)) == 0;
    json_decref(root);
    return written;
}

void verify_robust_inference(report *r, tnl_context *context, const char *path) {
    if (!report_begin(r, "robust_inference", "", "f32"))
        return;
    experiment *x = calloc(1, sizeof *x);
    report_case(r, x != NULL, 0, 0, "out of memory");
    if (!x)
        return;
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1); /* a token is too small to share */
    x->context = context;
    const bool done = set_up(x, r) && run_all(x);
    omp_set_num_threads(threads);
    if (report_case(r, done, 0, 0, "it could not be run: %s", tnl_context_error(context))) {
        judge(r, x);
        report_case(r, !path || write(r, x, path), 0, 0, "%s can't be written", path ? path : "");
    }
    tear_down(x);
}
