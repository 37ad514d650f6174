/*
 * Writes the tables that gnuplot draws from.
 *
 * A curve is a block of a table, and blocks are two empty lines apart, so that gnuplot's `index`
 * finds them. What gnuplot must know besides stands in <figure>.gp as variables; lists of words go
 * by curve, in the order of the blocks.
 */
#include "plots/tables.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plots/text.h"

void write_variable(FILE *file, const char *name, const char *value) {
    fprintf(file, "%s = '", name);
    for (; *value; value++) {
        if (*value == '\'')
            fputc('\'', file);
        fputc(*value, file);
    }
    fputs("'\n", file);
}

static void write_curves(const curve_set *set, const struct sweep *sweep, const char *out) {
    char name[64];
    snprintf(name, sizeof name, "%s.dat", sweep->name);
    struct output table = open_output(out, name);
    fprintf(table.file, "# %s: %s, time in ms, peak bytes\n", sweep->operator_name, sweep->axis);
    for (int c = 0; c < set->count; c++) {
        const struct curve *curve = &set->curve[c];
        if (!curve->count)
            continue;
        fprintf(table.file, "# %s\n", curve->variant);
        for (int i = 0; i < curve->count; i++) {
            const struct row *row = curve->point[i].row;
            fprintf(table.file, "%.0f %.9g %.0f\n", curve->point[i].x, row->time, row->peak_bytes);
        }
        fputs("\n\n", table.file);
    }
    close_output(&table);
}

/* The exponents that the curves tend to; "-" where there are too few points. */
static void write_exponents(FILE *file, const char *name, const char *what, const curve_set *set,
                            measure *y) {
    fprintf(file, "%s_%s = '", name, what);
    for (int c = 0; c < set->count; c++) {
        const struct curve *curve = &set->curve[c];
        const double exponent = fit_exponent(curve, y, larger_half(curve));
        if (curve->count)
            fprintf(file, isfinite(exponent) ? "%.2f " : "- ", exponent);
    }
    fputs("'\n", file);
}

static void write_curve_variables(FILE *file, const curve_set *set, const struct sweep *sweep) {
    const char *name = sweep->name;
    fprintf(file, "%s_variants = '", name);
    for (int c = 0; c < set->count; c++)
        if (set->curve[c].count)
            fprintf(file, "%s ", set->curve[c].variant);
    fprintf(file, "'\n%s_styles = '", name);
    for (int c = 0; c < set->count; c++)
        if (set->curve[c].count)
            fprintf(file, "%d ", set->curve[c].style);
    fputs("'\n", file);
    write_exponents(file, name, "time_exponents", set, measure_time);
    write_exponents(file, name, "memory_exponents", set, measure_memory);
    fprintf(file, "%s_note = \"", name);
    for (int c = 0; c < set->count; c++) {
        const struct curve *curve = &set->curve[c];
        const double last = curve->count ? curve->point[curve->count - 1].x : 0;
        if (curve->skipped)
            fprintf(file, "%s skipped %s %s = %.0f\\n", curve->variant,
                    last < curve->skipped_from ? "from" : "at", sweep->axis, curve->skipped_from);
    }
    fputs("\"\n", file);
}

void write_figure(const struct results *results, const struct figure *figure, const char *out) {
    char name[64];
    snprintf(name, sizeof name, "%s.gp", figure->name);
    struct output variables = open_output(out, name);
    write_variable(variables.file, "device", results->device);
    write_variable(variables.file, "type", figure_type(results, figure));
    for (int i = 0; i < figure->sweep_count; i++) {
        curve_set *set = read_curves(results, figure, i);
        write_curves(set, &figure->sweep[i], out);
        write_curve_variables(variables.file, set, &figure->sweep[i]);
        free(set);
    }
    close_output(&variables);
}
