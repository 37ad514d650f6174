/*
 * The report: what was judged, row by row, on the screen and as JSON. A test is one case of one
 * row (operator, variant, type), or one check that belongs to no variant. Every part of verify
 * records into it:
 *
 *     if (!report_begin(r, "attention_forward", "chunked", "f32"))
 *         return;                                     // left out by the filter
 *     report_case(r, passed, error, bound, "b:1/h:2/n:65 seed:7: %s", text);
 *
 * Not for several threads at once.
 */
#ifndef TNL_VERIFY_REPORT_H
#define TNL_VERIFY_REPORT_H

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct report {
    regex_t filter;
    bool filtered;
    bool quick; /* a tenth of the cases */
    uint64_t seed;
    struct report_row *row;
    int row_count, row_capacity, current;
    int64_t passed, failed, skipped;
    bool progress; /* stderr is a terminal */
    double started, shown;
} report;

/* filter: an extended regular expression, matched anywhere in "operator/variant/type"; false: it
 * is none (said on stderr). */
bool report_open(report *r, const char *filter, bool quick, uint64_t seed);
void report_close(report *r);

/* Go to the row of this name, made if it is new; false: the filter leaves it out. For checks of
 * no variant, variant and type may be "". */
bool report_begin(report *r, const char *operator_, const char *variant, const char *type);

/* Record a test of the row gone to. error and bound: both 0 where the test is a plain yes or no.
 * The text says what was tried, enough to do it again, and for a failure what went wrong; it is
 * printed when the test failed (a few of each row) and kept in the JSON. Returns `passed`. */
__attribute__((format(printf, 5, 6))) bool report_case(report *r, bool passed, double error,
                                                       double bound, const char *format, ...);
/* The row gone to can't be judged here (no device, no file): one test skipped. */
__attribute__((format(printf, 2, 3))) void report_skip(report *r, const char *format, ...);

/* The table, and the line "N passed, N failed, N skipped" that ends it. */
void report_print(const report *r);
/* verify.json at `path`; false: could not be written (said on stderr). */
bool report_write(const report *r, const char *path, const char *device, const char *commit);

#endif
