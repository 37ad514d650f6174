/* Results on the screen: the table that ends a run, what the table of variants chooses, and the
 * comparison of two runs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/results.h"

/* operator | variant | type, size and the rest of a name; yardsticks have no type. */
typedef struct name_parts {
    char operator_[48], variant[48];
    const char *rest;
} name_parts;

static name_parts split(const char *name) {
    name_parts parts = {"", "", name + strlen(name)};
    const char *first = strchr(name, '/'), *second = first ? strchr(first + 1, '/') : NULL;
    if (!second) {
        snprintf(parts.operator_, sizeof parts.operator_, "%s", name);
        return parts;
    }
    snprintf(parts.operator_, sizeof parts.operator_, "%.*s", (int)(first - name), name);
    snprintf(parts.variant, sizeof parts.variant, "%.*s", (int)(second - first - 1), first + 1);
    parts.rest = second + 1;
    return parts;
}

static void print_share(const json_t *row, const char *key) {
    double share = results_number(row, key);
    if (isnan(share))
        printf(" %9s", "");
    else
        printf(" %8.1f%%", 100 * share);
}

/* Four digits, whatever the size: no column of a table is only zeros. */
static void print_milliseconds(double milliseconds) {
    int digits = milliseconds > 0 ? 3 - (int)floor(log10(milliseconds)) : 0;
    printf(" %10.*f", digits < 0 ? 0 : digits > 6 ? 6 : digits, milliseconds);
}

static const char *error_of(const json_t *row) {
    return json_string_value(json_object_get(row, "error_message"));
}

void results_print(const json_t *run) {
    const char *line = "%-28s %-13s %-44s";
    printf(line, "operator", "variant", "size");
    printf(" %10s %9s %9s %9s %9s %9s\n", "ms", "spread", "of copy", "same size", "of GEMM",
           "bare");
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(run, "benchmarks"), index, row) {
        name_parts parts = split(results_name(row));
        printf(line, parts.operator_, parts.variant, parts.rest);
        if (error_of(row)) {
            printf(" %s\n", error_of(row));
            continue;
        }
        print_milliseconds(results_number(row, "real_time"));
        print_share(row, "spread");
        print_share(row, "copy_share");
        print_share(row, "copy_share_same_size");
        print_share(row, "gemm_share");
        print_share(row, "bare_gemms_share");
        puts("");
    }
}

/* ---- choices ------------------------------------------------------------------------------ */

/* Whether the table may choose this row: it has a time and runs not only when named. */
static bool may_be_chosen(const json_t *row) {
    return !error_of(row) && !json_is_true(json_object_get(row, "only_named")) &&
           !isnan(results_number(row, "copy_share"));
}

static bool same_problem(const name_parts *a, const name_parts *b) {
    return strcmp(a->operator_, b->operator_) == 0 && strcmp(a->rest, b->rest) == 0;
}

int results_print_choices(const json_t *run) {
    const double allowed = 1.05;
    const json_t *rows = json_object_get(run, "benchmarks");
    int problems = 0, slow = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *chosen = json_array_get(rows, i), *fastest = chosen;
        const name_parts name = split(results_name(chosen));
        bool last = may_be_chosen(chosen);
        for (size_t j = 0; last && j < json_array_size(rows); j++) {
            const json_t *row = json_array_get(rows, j);
            const name_parts other = split(results_name(row));
            if (j == i || !may_be_chosen(row) || !same_problem(&name, &other))
                continue;
            last = j < i;
            if (results_number(row, "real_time") < results_number(fastest, "real_time"))
                fastest = row;
        }
        if (!last)
            continue;
        problems++;
        const double ratio =
            results_number(chosen, "real_time") / results_number(fastest, "real_time");
        if (ratio <= allowed)
            continue;
        slow++;
        printf("chosen, but not the fastest: %s, %.2f times %s's\n", results_name(chosen), ratio,
               split(results_name(fastest)).variant);
    }
    printf("at %d of %d sizes the row that the table chooses is within %.0f %% of the fastest\n",
           problems - slow, problems, 100 * (allowed - 1));
    return slow;
}

/* ---- comparison ---------------------------------------------------------------------------- */

typedef enum row_verdict { FASTER, SLOWER, SAME, NOT_COMPARED, VERDICTS } row_verdict;

/* Medians that differ by more than the wider of the two interquartile ranges. */
static row_verdict judge(const json_t *now, const json_t *before) {
    double a = results_number(before, "real_time"), b = results_number(now, "real_time");
    if (error_of(now) || error_of(before) || isnan(a) || isnan(b))
        return NOT_COMPARED;
    double range = fmax(a * results_number(before, "spread"), b * results_number(now, "spread"));
    if (fabs(b - a) <= range)
        return SAME;
    return b < a ? FASTER : SLOWER;
}

static const json_t *find_row(const json_t *results, const char *name) {
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(results, "benchmarks"), index, row) {
        if (strcmp(results_name(row), name) == 0)
            return row;
    }
    return NULL;
}

void results_compare(const json_t *run, const json_t *old) {
    static const char *const word[VERDICTS] = {"faster", "slower", "the same", "not compared"};
    int count[VERDICTS] = {0};
    printf("\n%-84s %10s %10s %8s\n", "row", "old ms", "new ms", "change");
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(run, "benchmarks"), index, row) {
        const json_t *before = find_row(old, results_name(row));
        row_verdict verdict = before ? judge(row, before) : NOT_COMPARED;
        count[verdict]++;
        printf("%-84s", results_name(row));
        if (verdict == NOT_COMPARED) {
            const char *error = error_of(row) ? error_of(row) : before ? error_of(before) : NULL;
            printf(" %s\n", !before ? "not in the old file" : error ? error : "has no time");
            continue;
        }
        double a = results_number(before, "real_time"), b = results_number(row, "real_time");
        print_milliseconds(a);
        print_milliseconds(b);
        printf(" %+7.1f%%  %s\n", 100 * (b / a - 1), verdict == SAME ? "" : word[verdict]);
    }
    for (int i = 0; i < VERDICTS; i++)
        printf("%s%d %s", i ? ", " : "", count[i], word[i]);
    puts(" (faster, slower: by more than the spread)");
}
