/* Reads a bench.json into rows (plots/rows.h). */
#include "plots/rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("tnl-extract: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        die("out of memory");
    return memory;
}

static const char *get_string(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* A number, or a string that holds one: Google Benchmark's own context has only strings. */
static double get_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (json_is_string(value))
        return strtod(json_string_value(value), NULL);
    return json_number_value(value);
}

static double milliseconds(const char *unit, const char *name) {
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"ns", 1e-6}, {"us", 1e-3}, {"ms", 1}, {"s", 1e3}};
    for (size_t i = 0; unit && i < sizeof units / sizeof *units; i++)
        if (!strcmp(unit, units[i].name))
            return units[i].factor;
    die("%s: time_unit is %s, expected ns, us, ms or s", name, unit ? unit : "missing");
}

/* Cut the name at its first three slashes. False: it is no row's name. */
static bool split_name(struct row *row) {
    const char **field[] = {&row->operator_name, &row->variant, &row->type, &row->shape};
    const int fields = sizeof field / sizeof *field;
    row->parts = allocate(strlen(row->name) + 1, 1);
    strcpy(row->parts, row->name);
    char *rest = row->parts;
    for (int i = 0; i < fields; i++) {
        *field[i] = rest;
        char *slash = i + 1 < fields ? strchr(rest, '/') : NULL;
        if (slash) {
            *slash = '\0';
            rest = slash + 1;
        } else {
            rest += strlen(rest);
        }
    }
    return *row->variant;
}

static void read_row(const json_t *object, struct row *row, const char *path, size_t index) {
    row->name = get_string(object, "name");
    if (!row->name)
        die("%s: benchmarks[%zu] has no name", path, index);
    if (!split_name(row))
        die("%s: benchmarks[%zu] is called '%s', expected operator/variant/type/shape", path, index,
            row->name);
    row->commit = get_string(object, "commit");
    row->quick = json_is_true(json_object_get(object, "quick"));
    row->copy_share_same_size = get_number(object, "copy_share_same_size");
    row->only_named = json_is_true(json_object_get(object, "only_named"));
    row->bytes = get_number(object, "bytes");
    row->peak_bytes = get_number(object, "peak_bytes");
    row->flops = get_number(object, "flops");
    row->bare_gemms_share = get_number(object, "bare_gemms_share");
    row->copy_share = get_number(object, "copy_share");
    row->gemm_share = get_number(object, "gemm_share");
    if (json_is_true(json_object_get(object, "error_occurred"))) {
        const char *error = get_string(object, "error_message");
        row->error = error ? error : "skipped";
        return;
    }
    row->time =
        get_number(object, "real_time") * milliseconds(get_string(object, "time_unit"), row->name);
    if (!(row->time > 0))
        die("%s: %s: real_time is not a time", path, row->name);
}

/* Rows called warm stand beside the cold ones in the file, and figures and tables are of those. */
static bool is_warm(const json_t *object) {
    const char *name = get_string(object, "name"), *last = name ? strrchr(name, '/') : NULL;
    return last && strcmp(last, "/warm") == 0;
}

/* The directory of a path, without its slash. */
static char *directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *from = slash ? path : ".";
    const size_t length = slash ? (size_t)(slash - path) : 1;
    char *directory = allocate(length + 1, 1);
    memcpy(directory, from, length);
    return directory;
}

/* "model, N cores" as far as the context says so, else the folder's name. To be freed. */
static char *describe_device(const json_t *context, const char *directory) {
    const char *slash = strrchr(directory, '/');
    const char *model = get_string(context, "model");
    const double cores = get_number(context, "cores");
    char *text;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        die("out of memory");
    fputs(model ? model : slash ? slash + 1 : directory, stream);
    if (cores > 0)
        fprintf(stream, ", %.0f core%s", cores, cores > 1 ? "s" : "");
    if (fclose(stream))
        die("out of memory");
    return text;
}

struct results read_results(const char *path) {
    json_error_t error;
    struct results results = {.root = json_load_file(path, 0, &error)};
    if (!results.root && error.line > 0)
        die("%s:%d: %s", path, error.line, error.text);
    if (!results.root)
        die("%s", error.text);
    const json_t *context = json_object_get(results.root, "context");
    const json_t *benchmarks = json_object_get(results.root, "benchmarks");
    if (!json_is_object(context) || !json_is_array(benchmarks))
        die("%s: no context and benchmarks in it: not Google Benchmark's JSON", path);

    results.directory = directory_of(path);
    results.device = describe_device(context, results.directory);
    results.copy_rate = get_number(context, "copy_rate");
    results.gemm_rate = get_number(context, "gemm_rate");
    const size_t count = json_array_size(benchmarks);
    results.row = allocate(count, sizeof *results.row);
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(benchmarks, i);
        if (!is_warm(row))
            read_row(row, &results.row[results.count++], path, i);
    }
    return results;
}

void free_results(struct results *results) {
    for (size_t i = 0; i < results->count; i++)
        free(results->row[i].parts);
    free(results->row);
    free(results->directory);
    free(results->device);
    json_decref(results->root);
}

bool is_yardstick(const struct row *row) {
    static const char *const yardsticks[] = {"copy", "gemm", "empty"};
    for (size_t i = 0; i < sizeof yardsticks / sizeof *yardsticks; i++)
        if (!strcmp(row->operator_name, yardsticks[i]))
            return true;
    return false;
}

double limit_share(const struct row *row) {
    return row->copy_share > row->gemm_share ? row->copy_share : row->gemm_share;
}
