/*
 * Writes what the roofline picture is drawn from: for each operator's variants, the row at the
 * largest shape measured, and its share of the limit.
 */
#include <math.h>
#include <string.h>

#include "plots/tables.h"
#include "plots/text.h"

/* The bars as they are written: where the next goes, and how far they reach. */
struct bars {
    FILE *file;
    double place, longest;
};

const char *operator_type(const struct results *results, const char *operator_name) {
    for (size_t i = 0; i < results->count; i++)
        if (!strcmp(results->row[i].operator_name, operator_name) &&
            !strcmp(results->row[i].type, "bf16") && is_measured(&results->row[i]))
            return "bf16";
    return "f32";
}

const struct row *largest_row(const struct results *results, const char *operator_name,
                              const char *variant, const char *type) {
    const struct row *largest = NULL;
    for (size_t i = 0; i < results->count; i++) {
        const struct row *row = &results->row[i];
        if (is_measured(row) && (variant || !row->only_named) &&
            !strcmp(row->operator_name, operator_name) &&
            (!variant || !strcmp(row->variant, variant)) && !strcmp(row->type, type) &&
            (!largest || row->bytes > largest->bytes))
            largest = row;
    }
    return largest;
}

/* Whether results->row[index] is the first row of a variant of the operator. */
static bool opens_variant(const struct results *results, size_t index, const char *operator_name) {
    const struct row *row = &results->row[index];
    for (size_t i = 0; i < index; i++)
        if (!strcmp(results->row[i].operator_name, operator_name) &&
            !strcmp(results->row[i].variant, row->variant))
            return false;
    return !strcmp(row->operator_name, operator_name);
}

bool opens_operator(const struct results *results, size_t index) {
    for (size_t i = 0; i < index; i++)
        if (!strcmp(results->row[i].operator_name, results->row[index].operator_name))
            return false;
    return !is_yardstick(&results->row[index]);
}

/* A line for each variant of an operator, the first with the operator's name. */
static void write_bars(struct bars *bars, const struct results *results,
                       const char *operator_name) {
    const char *type = operator_type(results, operator_name);
    const char *heading = operator_name;
    for (size_t i = 0; i < results->count; i++) {
        const char *variant = results->row[i].variant;
        const struct row *row = largest_row(results, operator_name, variant, type);
        if (!opens_variant(results, i, operator_name) || !row || limit_share(row) <= 0)
            continue;
        const double share = limit_share(row);
        fprintf(bars->file, "%g %.6g %d \"%s\" \"%s %s%s\" \"%s\" \"%s\" \"%s\"\n", bars->place,
                100 * share, row->gemm_share > row->copy_share ? 2 : 1, heading, variant, type,
                row->only_named ? " (when named)" : "", format_share(share).s,
                format_time(row->time).s, row->shape);
        heading = "";
        bars->place += 1;
        bars->longest = fmax(bars->longest, share);
    }
    if (!*heading)
        bars->place += 0.4;
}

void write_roofline(const struct results *results, const char *out) {
    struct output table = open_output(out, "roofline.dat");
    struct bars bars = {.file = table.file};
    for (size_t i = 0; i < results->count; i++)
        if (opens_operator(results, i))
            write_bars(&bars, results, results->row[i].operator_name);
    close_output(&table);

    struct output variables = open_output(out, "roofline.gp");
    write_variable(variables.file, "device", results->device);
    write_variable(variables.file, "copy_rate", format_rate(results->copy_rate, "B/s").s);
    write_variable(variables.file, "gemm_rate", format_rate(results->gemm_rate, "flop/s").s);
    fprintf(variables.file, "places = %g\nlongest = %g\n", bars.place, 100 * bars.longest);
    close_output(&variables);
}
