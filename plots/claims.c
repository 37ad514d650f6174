/*
 * Judges the paper's claims on the sweeps and writes claims.md.
 *
 * The claims are data: what the paper says and where, the sweep and the measure that bear it, and
 * how a curve is judged. A claim is judged for each variant that it can be about. Every number of
 * a verdict comes out of the rows; the table of claims has only the paper's side of it, and how
 * near is near enough.
 */
#include "plots/claims.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "plots/limits.h"
#include "plots/sweep.h"
#include "plots/text.h"

enum { EACH_SWEEP = -1 };

struct claim;
/* Judges a curve and writes the claim's row of the table for it. */
typedef void judge_function(FILE *file, const struct claim *claim, const struct curve *baseline,
                            const struct curve *curve);

struct claim {
    const char *words, *place;
    const struct figure *figure;
    int sweep; /* or EACH_SWEEP, of those that have rows */
    measure *y;
    judge_function *judge;
    bool of_baseline; /* is about the baseline itself, and not about what is held against it */
    double wanted;    /* the gain or the exponent claimed */
    double tolerance; /* of the exponent: times scatter, bytes are counted */
    double at;        /* the x at which it is claimed */
    double from;      /* and the one that it is held against there */
};

static judge_function judge_gain, judge_large_gain, judge_gain_at, judge_growth, judge_constant,
    judge_larger;

static const struct claim claims[] = {
    {"Lightning Attention is at least 2× faster", "Section 4.1, Figure 3 left", &figure3, 0,
     measure_time, judge_gain, .wanted = 2},
    {"The baseline's runtime grows quadratically", "Section 4.1, Figure 3 left", &figure3, 0,
     measure_time, judge_growth, .wanted = 2, .tolerance = 0.2, .of_baseline = true},
    {"Linear attention takes time linear in n, O(nd²)", "Section 3.2.1, Figure 3 left", &figure3, 0,
     measure_time, judge_growth, .wanted = 1, .tolerance = 0.2},
    {"Lightning Attention needs up to 4× less memory at n = 8192", "Section 4.1, Figure 3 right",
     &figure3, 0, measure_memory, judge_gain_at, .wanted = 4, .at = 8192},
    {"Lightning Attention's memory grows linearly", "Section 4.1, Figure 3 right", &figure3, 0,
     measure_memory, judge_growth, .wanted = 1, .tolerance = 0.05},
    /* "Significant" is taken as the 20% that the abstract claims for the normalization. */
    {"SRMSNorm's forward pass gains significantly at larger dimensions",
     "Section 4.1, Figure 2 lower left", &figure2, FORWARD_BY_D, measure_time, judge_large_gain,
     .wanted = 1.2},
    {"SRMSNorm's backward pass gains significantly at larger dimensions",
     "Section 4.1, Figure 2 lower right", &figure2, BACKWARD_BY_D, measure_time, judge_large_gain,
     .wanted = 1.2},
    {"A token takes the same time at position 65536 as at 1024", "Section 3.3, Figure 4 left",
     &figure4, EACH_SWEEP, measure_time, judge_constant, .tolerance = 0.02, .at = 65536,
     .from = 1024},
    {"A Transformer's takes longer", "Section 3.3, Figure 4 left", &figure4, EACH_SWEEP,
     measure_time, judge_larger, .of_baseline = true, .tolerance = 0.02, .at = 65536, .from = 1024},
    {"Memory is the same at position 65536 as at 1024", "Section 3.3, Figure 4 right", &figure4,
     EACH_SWEEP, measure_memory, judge_constant, .tolerance = 0.02, .at = 65536, .from = 1024},
    {"A Transformer's memory grows", "Section 3.3, Figure 4 right", &figure4, EACH_SWEEP,
     measure_memory, judge_larger, .of_baseline = true, .tolerance = 0.02, .at = 65536,
     .from = 1024},
};

/* The sweeps shown below the verdicts. */
static const struct evidence {
    const char *title;
    const struct figure *figure;
    int sweep; /* or EACH_SWEEP, of those that have rows */
    measure *y;
    text (*format)(double);
} evidences[] = {
    {"Attention, forward + backward: time", &figure3, 0, measure_time, format_time},
    {"Attention, forward + backward: memory above the inputs", &figure3, 0, measure_memory,
     format_bytes},
    {"SRMSNorm, forward, by sequence length", &figure2, FORWARD_BY_N, measure_time, format_time},
    {"SRMSNorm, backward, by sequence length", &figure2, BACKWARD_BY_N, measure_time, format_time},
    {"SRMSNorm, forward, by feature dimension", &figure2, FORWARD_BY_D, measure_time, format_time},
    {"SRMSNorm, backward, by feature dimension", &figure2, BACKWARD_BY_D, measure_time,
     format_time},
};

/* And those shown where there are rows. */
static const struct evidence model_evidences[] = {
    {"Decoding, 385M: time a token", &figure4, DECODE_385M, measure_time, format_time},
    {"Decoding, 385M: memory", &figure4, DECODE_385M, measure_memory, format_bytes},
    {"Decoding, 1B: time a token", &figure4, DECODE_1B, measure_time, format_time},
    {"Decoding, 1B: memory", &figure4, DECODE_1B, measure_memory, format_bytes},
    {"Decoding, 7B: time a token", &figure4, DECODE_7B, measure_time, format_time},
    {"Decoding, 7B: memory", &figure4, DECODE_7B, measure_memory, format_bytes},
    {"Decoding, a small model: time a token", &figure4, DECODE_SMALL, measure_time, format_time},
    {"Decoding, a small model: memory", &figure4, DECODE_SMALL, measure_memory, format_bytes},
};

enum verdict { NOT_MEASURED, DOES_NOT_HOLD, HOLDS };

__attribute__((format(printf, 5, 6))) static void
write_verdict(FILE *file, const struct claim *claim, const char *variant, enum verdict verdict,
              const char *format, ...) {
    static const char *const words[] = {"not measured", "does not hold", "holds"};
    const char *label = claim->sweep >= 0 ? claim->figure->sweep[claim->sweep].label : NULL;
    fprintf(file, "| %s | %s | `%s`%s%s | **%s** | ", claim->words, claim->place, variant,
            label ? " " : "", label ? label : "", words[verdict]);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fputs(" |\n", file);
}

static const struct point *find_point(const struct curve *curve, double x) {
    for (int i = 0; curve && i < curve->count; i++)
        if (curve->point[i].x == x)
            return &curve->point[i];
    return NULL;
}

/* Whether the curve is `wanted` times under the baseline wherever both were measured, from the
 * curve's point `first` on. */
static void judge_gain_from(FILE *file, const struct claim *claim, const struct curve *baseline,
                            const struct curve *curve, int first) {
    const char *axis = claim->figure->sweep[claim->sweep].axis;
    double lowest = INFINITY, lowest_at = 0, highest = 0, begin = 0, end = 0, good_from = 0;
    for (int i = first; i < curve->count; i++) {
        const struct point *base = find_point(baseline, curve->point[i].x);
        if (!base)
            continue;
        const double gain = claim->y(base->row) / claim->y(curve->point[i].row);
        end = base->x;
        if (!begin)
            begin = end;
        if (gain < lowest) {
            lowest = gain;
            lowest_at = end;
        }
        highest = fmax(highest, gain);
        if (gain < claim->wanted)
            good_from = 0;
        else if (!good_from)
            good_from = end;
    }
    if (!begin)
        write_verdict(file, claim, curve->variant, NOT_MEASURED,
                      "no %s at which the baseline was measured too", axis);
    else if (lowest >= claim->wanted)
        write_verdict(file, claim, curve->variant, HOLDS,
                      "%.2f to %.2f times from %s = %.0f to %.0f", lowest, highest, axis, begin,
                      end);
    else if (good_from)
        write_verdict(file, claim, curve->variant, DOES_NOT_HOLD,
                      "%.2f times at %s = %.0f; %g times and more only from %s = %.0f to %.0f",
                      lowest, axis, lowest_at, claim->wanted, axis, good_from, end);
    else
        write_verdict(file, claim, curve->variant, DOES_NOT_HOLD,
                      "%.2f to %.2f times from %s = %.0f to %.0f", lowest, highest, axis, begin,
                      end);
}

static void judge_gain(FILE *file, const struct claim *claim, const struct curve *baseline,
                       const struct curve *curve) {
    judge_gain_from(file, claim, baseline, curve, 0);
}

/* The same in the larger half of the sweep. */
static void judge_large_gain(FILE *file, const struct claim *claim, const struct curve *baseline,
                             const struct curve *curve) {
    judge_gain_from(file, claim, baseline, curve, larger_half(curve));
}

/* Whether the curve is `wanted` times under the baseline at one point. */
static void judge_gain_at(FILE *file, const struct claim *claim, const struct curve *baseline,
                          const struct curve *curve) {
    const struct point *base = find_point(baseline, claim->at),
                       *point = find_point(curve, claim->at);
    if (!base || !point) {
        const struct row *skipped = point && baseline ? baseline->skipped : curve->skipped;
        write_verdict(file, claim, curve->variant, NOT_MEASURED, "no time of `%s` there%s%s",
                      point ? claim->figure->baseline : curve->variant, skipped ? ": " : "",
                      skipped ? skipped->error : "");
        return;
    }
    const double gain = claim->y(base->row) / claim->y(point->row);
    write_verdict(file, claim, curve->variant, gain >= claim->wanted ? HOLDS : DOES_NOT_HOLD,
                  "%.2f times: %s against %s", gain, format_bytes(claim->y(point->row)).s,
                  format_bytes(claim->y(base->row)).s);
}

/* Whether the larger half of the curve grows as x^wanted. */
static void judge_growth(FILE *file, const struct claim *claim, const struct curve *baseline,
                         const struct curve *curve) {
    (void)baseline;
    const char *axis = claim->figure->sweep[claim->sweep].axis;
    const int first = larger_half(curve);
    const double exponent = fit_exponent(curve, claim->y, first);
    if (!isfinite(exponent)) {
        write_verdict(file, claim, curve->variant, NOT_MEASURED, "fewer than three points");
        return;
    }
    write_verdict(file, claim, curve->variant,
                  fabs(exponent - claim->wanted) <= claim->tolerance ? HOLDS : DOES_NOT_HOLD,
                  "as %s^%.2f from %s = %.0f to %.0f; held to %g ± %g", axis, exponent, axis,
                  curve->point[first].x, curve->point[curve->count - 1].x, claim->wanted,
                  claim->tolerance);
}

/* The curve's measure at claim->at over that at claim->from; false: one is not measured, which is
 * said. */
static bool find_ratio(FILE *file, const struct claim *claim, const struct curve *curve,
                       double *ratio) {
    const struct point *from = find_point(curve, claim->from), *at = find_point(curve, claim->at);
    if (from && at) {
        *ratio = claim->y(at->row) / claim->y(from->row);
        return true;
    }
    write_verdict(file, claim, curve->variant, NOT_MEASURED, "no row at %.0f%s%s",
                  from ? claim->at : claim->from, curve->skipped ? ": " : "",
                  curve->skipped ? curve->skipped->error : "");
    return false;
}

static text format_measure(const struct claim *claim, const struct point *point) {
    return claim->y == measure_time ? format_time(measure_time(point->row))
                                    : format_bytes(claim->y(point->row));
}

static void write_ratio(FILE *file, const struct claim *claim, const struct curve *curve,
                        double ratio, bool holds) {
    write_verdict(file, claim, curve->variant, holds ? HOLDS : DOES_NOT_HOLD,
                  "%.3f times: %s against %s; held to %s %g", ratio,
                  format_measure(claim, find_point(curve, claim->at)).s,
                  format_measure(claim, find_point(curve, claim->from)).s,
                  claim->judge == judge_constant ? "1 ±" : "more than 1 +", claim->tolerance);
}

static void judge_constant(FILE *file, const struct claim *claim, const struct curve *baseline,
                           const struct curve *curve) {
    (void)baseline;
    double ratio;
    if (find_ratio(file, claim, curve, &ratio))
        write_ratio(file, claim, curve, ratio, fabs(ratio - 1) <= claim->tolerance);
}

static void judge_larger(FILE *file, const struct claim *claim, const struct curve *baseline,
                         const struct curve *curve) {
    (void)baseline;
    double ratio;
    if (find_ratio(file, claim, curve, &ratio))
        write_ratio(file, claim, curve, ratio, ratio > 1 + claim->tolerance);
}

static void judge_sweep(FILE *file, const struct claim *claim, const struct results *results) {
    curve_set *set = read_curves(results, claim->figure, claim->sweep);
    const struct curve *baseline = NULL;
    int judged = 0;
    for (int c = 0; c < set->count; c++) {
        const struct curve *curve = &set->curve[c];
        const bool is_baseline = !strcmp(curve->variant, claim->figure->baseline);
        if (is_baseline)
            baseline = curve; /* it is the first */
        if (is_baseline != claim->of_baseline)
            continue;
        claim->judge(file, claim, baseline, curve);
        judged++;
    }
    if (!judged)
        write_verdict(file, claim, claim->figure->sweep[claim->sweep].operator_name, NOT_MEASURED,
                      "no rows");
    free(set);
}

static bool has_rows(const struct results *results, const struct figure *figure, int sweep) {
    curve_set *set = read_curves(results, figure, sweep);
    const bool has = set->count > 0;
    free(set);
    return has;
}

static void judge_claim(FILE *file, const struct claim *claim, const struct results *results) {
    if (claim->sweep != EACH_SWEEP) {
        judge_sweep(file, claim, results);
        return;
    }
    int judged = 0;
    for (int i = 0; i < claim->figure->sweep_count; i++) {
        struct claim one = *claim;
        one.sweep = i;
        if (!has_rows(results, claim->figure, i))
            continue;
        judge_sweep(file, &one, results);
        judged++;
    }
    if (!judged)
        write_verdict(file, claim, claim->figure->sweep[0].operator_name, NOT_MEASURED, "no rows");
}

/* The next x after `after` at which any curve has a point, or INFINITY. */
static double next_x(const curve_set *set, double after) {
    double next = INFINITY;
    for (int c = 0; c < set->count; c++)
        for (int i = 0; i < set->curve[c].count; i++)
            if (set->curve[c].point[i].x > after && set->curve[c].point[i].x < next)
                next = set->curve[c].point[i].x;
    return next;
}

/* The names of a sweep's rows, and the head of its table. */
static void write_head(FILE *file, const curve_set *set, const struct sweep *sweep,
                       const char *type) {
    fprintf(file, "Rows `%s/{", sweep->operator_name);
    for (int c = 0; c < set->count; c++)
        fprintf(file, "%s%s", c ? "," : "", set->curve[c].variant);
    fprintf(file, "}/%s/%s`\n\n| %s |", type, sweep->shape, sweep->axis);
    for (int c = 0; c < set->count; c++)
        fprintf(file, " %s |%s", set->curve[c].variant, c ? " gain |" : "");
    fputs("\n|--:|", file);
    for (int c = 0; c < set->count; c++)
        fprintf(file, "--:|%s", c ? "--:|" : "");
}

/* A sweep as a table: every curve and, beside it, its gain over the baseline, which is the first
 * where it is there. */
static void write_evidence(FILE *file, const struct evidence *evidence,
                           const struct results *results) {
    curve_set *set = read_curves(results, evidence->figure, evidence->sweep);
    fprintf(file, "\n### %s\n\n", evidence->title);
    if (set->count)
        write_head(file, set, &evidence->figure->sweep[evidence->sweep],
                   figure_type(results, evidence->figure));
    else
        fputs("No rows measured.\n", file);
    for (double x = next_x(set, 0); isfinite(x); x = next_x(set, x)) {
        const struct point *base = set->curve[0].style == 1 ? find_point(&set->curve[0], x) : NULL;
        fprintf(file, "\n| %.0f |", x);
        for (int c = 0; c < set->count; c++) {
            const struct point *point = find_point(&set->curve[c], x);
            fprintf(file, " %s |", point ? evidence->format(evidence->y(point->row)).s : "–");
            if (c && point && base)
                fprintf(file, " %.2f |", evidence->y(base->row) / evidence->y(point->row));
            else if (c)
                fputs(" – |", file);
        }
    }
    fputc('\n', file);
    for (int c = 0; c < set->count; c++)
        if (set->curve[c].skipped)
            fprintf(file, "\nSkipped: `%s`: %s\n", set->curve[c].skipped->name,
                    set->curve[c].skipped->error);
    free(set);
}

void write_claims(const struct results *results) {
    struct output output = open_output(results->directory, "claims.md");
    char *origin = describe_origin(results);
    fprintf(
        output.file,
        "# The paper's claims, on %s\n\n"
        "Drawn from `bench.json` beside this file; %s. A claim is judged for every "
        "variant that it can be about. A gain is the baseline's number over the variant's; "
        "growth, and the gain at larger dimensions, are judged on the larger half of a sweep.\n\n"
        "| claim | where | variant | verdict | measured |\n|---|---|---|---|---|\n",
        results->device, origin);
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++)
        judge_claim(output.file, &claims[i], results);
    write_limits(output.file, results);
    fputs("\n## What was measured\n", output.file);
    for (size_t i = 0; i < sizeof evidences / sizeof *evidences; i++)
        write_evidence(output.file, &evidences[i], results);
    for (size_t i = 0; i < sizeof model_evidences / sizeof *model_evidences; i++)
        if (has_rows(results, model_evidences[i].figure, model_evidences[i].sweep))
            write_evidence(output.file, &model_evidences[i], results);
    free(origin);
    close_output(&output);
}
