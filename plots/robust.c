/*
 * Writes what the picture of robust inference is drawn from: Algorithm 1's error by position for
 * some heads, from the fastest decay to the slowest, each up to where it overflows, and the worst
 * of all heads of Algorithm 2.
 */
#include "plots/robust.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plots/tables.h"
#include "plots/text.h"

enum { SHOWN = 5 }; /* heads of Algorithm 1 */

static const char origin[] = "origin", recurrent[] = "recurrent";

struct file {
    const char *path;
    json_t *root;
    const json_t *positions, *curves;
};

static bool is_of(const json_t *curve, const char *variant) {
    const char *name = json_string_value(json_object_get(curve, "variant"));
    return name && !strcmp(name, variant);
}

static double slope_of(const json_t *curve) {
    return json_number_value(json_object_get(curve, "slope"));
}

/* Infinite where the file has null. */
static double error_at(const json_t *curve, size_t point) {
    const json_t *error = json_array_get(json_object_get(curve, "errors"), point);
    return json_is_number(error) ? json_number_value(error) : INFINITY;
}

static struct file open_file(const char *path) {
    json_error_t error;
    struct file file = {.path = path, .root = json_load_file(path, 0, &error)};
    if (!file.root)
        die("%s: %s", path, error.text);
    file.positions = json_object_get(file.root, "positions");
    file.curves = json_object_get(file.root, "curves");
    if (!json_array_size(file.positions) || !json_array_size(file.curves))
        die("%s: has no positions or no curves", path);
    return file;
}

static int steeper(const void *left, const void *right) {
    const json_t *const *a = left, *const *b = right;
    return (slope_of(*a) < slope_of(*b)) - (slope_of(*a) > slope_of(*b));
}

/* Algorithm 1's curves, the steepest slope first; how many. */
static size_t find_origin(const struct file *file, const json_t **found) {
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(file->curves); i++)
        if (is_of(json_array_get(file->curves, i), origin))
            found[count++] = json_array_get(file->curves, i);
    if (count < SHOWN)
        die("%s: has %zu curves of %s, expected at least %d", file->path, count, origin, SHOWN);
    qsort(found, count, sizeof *found, steeper);
    return count;
}

static void write_point(FILE *table, const struct file *file, size_t point, double error) {
    if (isfinite(error) && error > 0)
        fprintf(table, "%.0f %.4g\n", json_number_value(json_array_get(file->positions, point)),
                error);
}

/* Up to the first point that is not finite. */
static void write_origin(FILE *table, const struct file *file, const json_t *curve) {
    for (size_t i = 0; i < json_array_size(file->positions) && isfinite(error_at(curve, i)); i++)
        write_point(table, file, i, error_at(curve, i));
    fputs("\n\n", table);
}

static void write_recurrent(FILE *table, const struct file *file) {
    for (size_t i = 0; i < json_array_size(file->positions); i++) {
        double worst = 0;
        for (size_t j = 0; j < json_array_size(file->curves); j++)
            if (is_of(json_array_get(file->curves, j), recurrent))
                worst = fmax(worst, error_at(json_array_get(file->curves, j), i));
        write_point(table, file, i, worst);
    }
}

void write_robust_inference(const char *path, const char *out) {
    struct file file = open_file(path);
    const json_t **found = allocate(json_array_size(file.curves), sizeof *found);
    const size_t count = find_origin(&file, found);
    struct output table = open_output(out, "robust_inference.dat");
    struct output variables = open_output(out, "robust_inference.gp");
    const char *device = json_string_value(json_object_get(file.root, "device"));
    write_variable(variables.file, "device", device ? device : "an unknown device");
    fprintf(variables.file, "heads = %zu\ntokens = %.0f\nslopes = '", count,
            json_number_value(json_object_get(file.root, "tokens")));
    for (size_t i = 0; i < SHOWN; i++) {
        const json_t *curve = found[(count - 1) * i / (SHOWN - 1)];
        write_origin(table.file, &file, curve);
        fprintf(variables.file, "%.2g ", slope_of(curve));
    }
    fputs("'\nfailed = '", variables.file);
    for (size_t i = 0; i < SHOWN; i++)
        fprintf(
            variables.file, "%.0f ",
            json_number_value(json_object_get(found[(count - 1) * i / (SHOWN - 1)], "failed_at")));
    fputs("'\n", variables.file);
    write_recurrent(table.file, &file);
    close_output(&table);
    close_output(&variables);
    free(found);
    json_decref(file.root);
}
