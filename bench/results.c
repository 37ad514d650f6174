/*
 * Reading, merging and writing results. A file is written beside its place and then moved there,
 * so that an interrupted run leaves the old one whole.
 */
#include "bench/results.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *results_name(const json_t *row) {
    const char *name = json_string_value(json_object_get(row, "name"));
    return name ? name : "";
}

double results_number(const json_t *row, const char *key) {
    const json_t *value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Counters are doubles to Google Benchmark: whole ones, such as bytes, become integers again. */
static void make_integers(json_t *row) {
    const double exact = 9007199254740992; /* 2^53 */
    const char *key;
    json_t *value;
    json_object_foreach(row, key, value) {
        double number = json_is_real(value) ? json_real_value(value) : NAN;
        if (number == floor(number) && fabs(number) <= exact)
            json_object_set_new(row, key, json_integer((json_int_t)number));
    }
}

/* The row of that name, or NULL. */
static const bench_row *find_row(const row_list *rows, const char *name) {
    for (int i = 0; i < rows->count; i++)
        if (strcmp(rows->row[i].name, name) == 0)
            return &rows->row[i];
    return NULL;
}

/* A row that no table chooses. */
static bool is_only_named(const bench_row *row) {
    return (row->variant && !row->variant->chosen) ||
           (row->kind == ROW_MODEL && row->model.transformer);
}

json_t *results_parse(const char *text, json_t *stamp, const row_list *rows) {
    json_error_t error;
    json_t *run = json_loads(text, 0, &error);
    if (!run) {
        fprintf(stderr, "the run's JSON, line %d: %s\n", error.line, error.text);
        return NULL;
    }
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(run, "benchmarks"), index, row) {
        json_object_del(row, "family_index");
        json_object_del(row, "per_family_instance_index");
        make_integers(row);
        const bench_row *timed = find_row(rows, results_name(row));
        if (timed && is_only_named(timed))
            json_object_set_new(row, "only_named", json_true());
        json_object_update(row, stamp);
    }
    json_t *context = json_object_get(run, "context");
    json_object_del(context, "executable"); /* where it lay says nothing of what it measured */
    json_object_update(context, stamp);
    return run;
}

json_t *results_read(const char *path) {
    json_error_t error;
    if (access(path, R_OK) != 0) {
        perror(path);
        return NULL;
    }
    json_t *results = json_load_file(path, 0, &error);
    if (!results)
        fprintf(stderr, "%s: line %d: %s\n", path, error.line, error.text);
    else if (!json_is_array(json_object_get(results, "benchmarks"))) {
        fprintf(stderr, "%s: no array \"benchmarks\" in it\n", path);
        json_decref(results);
        results = NULL;
    }
    return results;
}

/* ---- merging ------------------------------------------------------------------------------- */

static int find_name(const json_t *array, const char *name) {
    size_t index;
    json_t *row;
    json_array_foreach(array, index, row) {
        if (strcmp(results_name(row), name) == 0)
            return (int)index;
    }
    return -1;
}

/* Where a new row goes: behind the nearest of those that run before it; first where none is there.
 */
static size_t place_of(const json_t *array, const char *name, const row_list *rows) {
    int number = 0;
    while (number < rows->count && strcmp(rows->row[number].name, name) != 0)
        number++;
    for (int i = number - 1; i >= 0; i--) {
        int before = find_name(array, rows->row[i].name);
        if (before >= 0)
            return (size_t)before + 1;
    }
    return 0;
}

static bool put_rows(json_t *into, const json_t *from, const row_list *rows) {
    size_t index;
    json_t *row;
    bool put = true;
    json_array_foreach(from, index, row) {
        int old = find_name(into, results_name(row));
        int failed = old >= 0
                         ? json_array_set(into, (size_t)old, row)
                         : json_array_insert(into, place_of(into, results_name(row), rows), row);
        put = put && !failed;
    }
    return put;
}

static bool make_folders(const char *path) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
            perror(folder);
            return false;
        }
        *slash = '/';
    }
    return true;
}

static bool write_whole(const char *path, const json_t *results) {
    char beside[4096 + 8];
    snprintf(beside, sizeof beside, "%s.new", path);
    if (json_dump_file(results, beside, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0 ||
        rename(beside, path) != 0) {
        perror(path);
        remove(beside);
        return false;
    }
    return true;
}

bool results_merge(const char *path, json_t *run, const row_list *rows, bool all) {
    if (!make_folders(path))
        return false;
    struct stat status;
    if (all || stat(path, &status) != 0)
        return write_whole(path, run);
    json_t *results = results_read(path);
    if (!results)
        return false;
    bool merged = json_object_set(results, "context", json_object_get(run, "context")) == 0 &&
                  put_rows(json_object_get(results, "benchmarks"),
                           json_object_get(run, "benchmarks"), rows) &&
                  write_whole(path, results);
    json_decref(results);
    return merged;
}
