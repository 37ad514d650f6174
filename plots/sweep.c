/* Finds the rows of the sweeps (plots/sweep.h). */
#include "plots/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The paper runs SRMSNorm on one sequence, so that its length is the number of rows m. */
const struct figure figure2 = {
    "figure2",
    "unfused",
    FIGURE2_SWEEPS,
    {
        [FORWARD_BY_N] = {"forward_by_n", "srmsnorm_forward", "m:*/D:3072", "n", NULL},
        [BACKWARD_BY_N] = {"backward_by_n", "srmsnorm_backward", "m:*/D:3072", "n", NULL},
        [FORWARD_BY_D] = {"forward_by_d", "srmsnorm_forward", "m:4096/D:*", "D", NULL},
        [BACKWARD_BY_D] = {"backward_by_d", "srmsnorm_backward", "m:4096/D:*", "D", NULL},
    },
};

/* Feature dimension 2048: 16 heads of 128. */
const struct figure figure3 = {
    "figure3",
    "left_product",
    1,
    {{"attention_by_n", "attention_forward_backward", "b:1/h:16/n:*/d:128/e:128/decay:released",
      "n", NULL}},
};

/* Decoding at batch 1, a token at a position; the small size is the CPU's. */
const struct figure figure4 = {
    "figure4",
    "transformer",
    FIGURE4_SWEEPS,
    {
        [DECODE_385M] = {"decode_385M", "model_decode", "size:385M/g:2816/b:1/pos:*", "n", "385M"},
        [DECODE_1B] = {"decode_1B", "model_decode", "size:1B/g:5632/b:1/pos:*", "n", "1B"},
        [DECODE_7B] = {"decode_7B", "model_decode", "size:7B/g:11264/b:1/pos:*", "n", "7B"},
        [DECODE_SMALL] = {"decode_small", "model_decode", "size:small/g:1408/b:1/pos:*", "n",
                          "small"},
    },
};

/* Whether a row is of a sweep, and if so where. */
static bool find_x(const struct row *row, const struct sweep *sweep, double *x) {
    const char *star = strchr(sweep->shape, '*');
    const size_t before = (size_t)(star - sweep->shape);
    if (strcmp(row->operator_name, sweep->operator_name) ||
        strncmp(row->shape, sweep->shape, before))
        return false;
    char *end;
    *x = strtod(row->shape + before, &end);
    return *x > 0 && !strcmp(end, star + 1);
}

const char *figure_type(const struct results *results, const struct figure *figure) {
    double x;
    for (size_t i = 0; i < results->count; i++)
        for (int s = 0; s < figure->sweep_count; s++)
            if (!strcmp(results->row[i].type, "bf16") && is_measured(&results->row[i]) &&
                find_x(&results->row[i], &figure->sweep[s], &x))
                return "bf16";
    return "f32";
}

/* The style of a variant in a figure; new ones are added to the list. */
static int style_of(const char *variant, const char *list[MAX_VARIANTS], int *count) {
    for (int i = 0; i < *count; i++)
        if (!strcmp(list[i], variant))
            return i + 1;
    if (*count == MAX_VARIANTS)
        die("more than %d variants in a figure", MAX_VARIANTS);
    list[(*count)++] = variant;
    return *count;
}

static void add_row(struct curve *curve, const struct row *row, double x) {
    if (!is_measured(row)) {
        if (!curve->skipped || x < curve->skipped_from) {
            curve->skipped_from = x;
            curve->skipped = row;
        }
        return;
    }
    if (curve->count == MAX_POINTS)
        die("%s: more than %d points in a sweep", row->name, MAX_POINTS);
    int at = curve->count++;
    for (; at > 0 && curve->point[at - 1].x > x; at--)
        curve->point[at] = curve->point[at - 1];
    curve->point[at] = (struct point){x, row};
}

curve_set *read_curves(const struct results *results, const struct figure *figure, int index) {
    const char *type = figure_type(results, figure);
    const char *variant[MAX_VARIANTS] = {figure->baseline};
    int variants = 1;
    struct curve by_style[MAX_VARIANTS] = {{0}};
    for (size_t i = 0; i < results->count; i++) {
        const struct row *row = &results->row[i];
        double x;
        for (int s = 0; s < figure->sweep_count; s++) {
            if (strcmp(row->type, type) || !find_x(row, &figure->sweep[s], &x))
                continue;
            const int style = style_of(row->variant, variant, &variants);
            if (s == index)
                add_row(&by_style[style - 1], row, x);
        }
    }
    curve_set *set = allocate(1, sizeof *set);
    for (int i = 0; i < variants; i++) {
        if (!by_style[i].count && !by_style[i].skipped)
            continue;
        by_style[i].variant = variant[i];
        by_style[i].style = i + 1;
        set->curve[set->count++] = by_style[i];
    }
    return set;
}

bool has_curves(const struct results *results, const struct figure *figure) {
    bool found = false;
    for (int i = 0; !found && i < figure->sweep_count; i++) {
        curve_set *set = read_curves(results, figure, i);
        for (int c = 0; c < set->count; c++)
            found = found || set->curve[c].count > 1;
        free(set);
    }
    return found;
}

double measure_time(const struct row *row) {
    return row->time;
}

double measure_memory(const struct row *row) {
    return row->peak_bytes;
}

int larger_half(const struct curve *curve) {
    const int half = (curve->count + 1) / 2;
    const int wanted = half < 3 ? 3 : half;
    return curve->count > wanted ? curve->count - wanted : 0;
}

double fit_exponent(const struct curve *curve, measure *y, int first) {
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (int i = first; i < curve->count; i++) {
        const double lx = log(curve->point[i].x), ly = log(y(curve->point[i].row));
        n += 1;
        sx += lx;
        sy += ly;
        sxx += lx * lx;
        sxy += lx * ly;
    }
    return n < 3 ? NAN : (n * sxy - sx * sy) / (n * sxx - sx * sx);
}
