/* The report: rows kept in the order in which they first came, a table, and JSON (jansson). */
#include "verify/report.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEPT_FAILURES = 8, SHOWN_FAILURES = 3, NAME = 48, TEXT = 1024 };

typedef struct report_row {
    char operator_[NAME], variant[NAME], type[NAME];
    int64_t passed, failed, skipped;
    double error, bound; /* of the case that came nearest its bound */
    int text_count;
    char *text[KEPT_FAILURES]; /* of failures, or why it was skipped */
} report_row;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(const void *allocated) {
    if (allocated)
        return;
    fputs("verify: out of memory\n", stderr);
    exit(EXIT_FAILURE);
}

/* "operator/variant/type", without what is empty. */
static void join(char *name, size_t size, const char *operator_, const char *variant,
                 const char *type) {
    snprintf(name, size, "%s%s%s%s%s", operator_, *variant ? "/" : "", variant, *type ? "/" : "",
             type);
}

bool report_open(report *r, const char *filter, bool quick, uint64_t seed) {
    *r = (struct report){.quick = quick, .seed = seed, .current = -1};
    r->progress = isatty(STDERR_FILENO);
    r->started = now();
    int error = filter ? regcomp(&r->filter, filter, REG_EXTENDED | REG_NOSUB) : 0;
    if (error) {
        char text[256];
        regerror(error, &r->filter, text, sizeof text);
        fprintf(stderr, "verify: filter \"%s\": %s\n", filter, text);
        return false;
    }
    r->filtered = filter != NULL;
    return true;
}

void report_close(report *r) {
    for (int i = 0; i < r->row_count; i++)
        for (int j = 0; j < r->row[i].text_count; j++)
            free(r->row[i].text[j]);
    free(r->row);
    if (r->filtered)
        regfree(&r->filter);
    *r = (struct report){0};
}

static void clear_progress(void) {
    fputs("\r\033[K", stderr);
}

/* One line that changes, on a terminal; elsewhere a line now and then, so that a log of a run that
 * was cut short says how far it came. */
static void show_progress(report *r, const char *name) {
    if (now() - r->shown < (r->progress ? 0.1 : 10))
        return;
    r->shown = now();
    if (r->progress)
        clear_progress();
    fprintf(stderr, "%5.0f s  %lld judged, %lld failed  %s%s", r->shown - r->started,
            (long long)(r->passed + r->failed), (long long)r->failed, name,
            r->progress ? "" : "\n");
    fflush(stderr);
}

bool report_begin(report *r, const char *operator_, const char *variant, const char *type) {
    char name[3 * NAME];
    join(name, sizeof name, operator_, variant, type);
    if (r->filtered && regexec(&r->filter, name, 0, NULL, 0) != 0)
        return false;
    show_progress(r, name);
    for (r->current = 0; r->current < r->row_count; r->current++) {
        const report_row *row = &r->row[r->current];
        if (strcmp(row->operator_, operator_) == 0 && strcmp(row->variant, variant) == 0 &&
            strcmp(row->type, type) == 0)
            return true;
    }
    if (r->row_count == r->row_capacity) {
        r->row_capacity = 2 * r->row_capacity + 16;
        r->row = realloc(r->row, (size_t)r->row_capacity * sizeof *r->row);
        must(r->row);
    }
    report_row *row = &r->row[r->row_count++];
    *row = (report_row){0};
    snprintf(row->operator_, NAME, "%s", operator_);
    snprintf(row->variant, NAME, "%s", variant);
    snprintf(row->type, NAME, "%s", type);
    return true;
}

static void keep_text(report_row *row, const char *format, va_list list) {
    if (row->text_count == KEPT_FAILURES)
        return;
    char *text = malloc(TEXT);
    must(text);
    vsnprintf(text, TEXT, format, list);
    row->text[row->text_count++] = text;
}

bool report_case(report *r, bool passed, double error, double bound, const char *format, ...) {
    report_row *row = &r->row[r->current];
    *(passed ? &row->passed : &row->failed) += 1;
    *(passed ? &r->passed : &r->failed) += 1;
    if (bound > 0 && (row->bound == 0 || !(error / bound <= row->error / row->bound))) {
        row->error = error;
        row->bound = bound;
    }
    if (passed)
        return true;
    va_list list;
    va_start(list, format);
    keep_text(row, format, list);
    va_end(list);
    if (row->failed <= SHOWN_FAILURES) {
        char name[3 * NAME];
        join(name, sizeof name, row->operator_, row->variant, row->type);
        if (r->progress)
            clear_progress();
        printf("FAIL %s\n     %s\n", name, row->text[row->text_count - 1]);
        fflush(stdout);
    }
    return false;
}

void report_skip(report *r, const char *format, ...) {
    report_row *row = &r->row[r->current];
    r->skipped++;
    if (row->skipped++ > 0)
        return; /* the texts of failures want the room */
    va_list list;
    va_start(list, format);
    keep_text(row, format, list);
    va_end(list);
}

static const char *verdict_of(const report_row *row) {
    return row->failed ? "FAIL" : row->passed ? "pass" : "skipped";
}

void report_print(const report *r) {
    if (r->progress)
        clear_progress();
    printf("%-27s %-14s %-5s %6s  %-9s %-9s %s\n", "operator", "variant", "type", "cases", "error",
           "bound", "verdict");
    for (int i = 0; i < r->row_count; i++) {
        const report_row *row = &r->row[i];
        printf("%-27s %-14s %-5s %6lld  ", row->operator_, row->variant, row->type,
               (long long)(row->passed + row->failed + row->skipped));
        if (row->bound > 0)
            printf("%-9.2e %-9.1e ", row->error, row->bound);
        else
            printf("%-9s %-9s ", "", "");
        printf("%s", verdict_of(row));
        if (row->failed)
            printf(", %lld of them", (long long)row->failed);
        else if (row->skipped)
            printf(": %s", row->text[0]);
        putchar('\n');
    }
    printf("%lld passed, %lld failed, %lld skipped\n", (long long)r->passed, (long long)r->failed,
           (long long)r->skipped);
}

/* JSON has no infinity and no NaN: null. */
static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *row_as_json(const report_row *row) {
    json_t *texts = json_array();
    for (int i = 0; i < row->text_count; i++)
        json_array_append_new(texts, json_string(row->text[i]));
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "operator",
                     row->operator_, "variant", row->variant, "type", row->type, "verdict",
                     verdict_of(row), "passed", (json_int_t)row->passed, "failed",
                     (json_int_t)row->failed, "skipped", (json_int_t)row->skipped, "error",
                     row->bound > 0 ? number(row->error) : json_null(), "bound",
                     row->bound > 0 ? number(row->bound) : json_null(), "texts", texts);
}

bool report_write(const report *r, const char *path, const char *device, const char *commit) {
    json_t *rows = json_array();
    for (int i = 0; i < r->row_count; i++)
        json_array_append_new(rows, row_as_json(&r->row[i]));
    char date[32];
    time_t t = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:I, s:b, s:b, s:f, s:I, s:I, s:I, s:o}", "device", device, "commit",
        commit, "date", date, "seed", (json_int_t)r->seed, "quick", r->quick, "filtered",
        r->filtered, "seconds", now() - r->started, "passed", (json_int_t)r->passed, "failed",
        (json_int_t)r->failed, "skipped", (json_int_t)r->skipped, "rows", rows);
    must(root);
    bool written = json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(4)) == 0;
    json_decref(root);
    if (!written)
        fprintf(stderr, "verify: can't write %s\n", path);
    return written;
}
