/*
 * Writes the README's table of main numbers: for each operator, at its largest shape measured, the
 * fastest row of those that the table of variants may choose. What stands between the markers is
 * replaced; the rest of the README stays as it is.
 */
#include "plots/readme.h"

#include <stdlib.h>
#include <string.h>

#include "plots/tables.h"
#include "plots/text.h"

static const char begin_marker[] = "<!-- results:begin -->";
static const char end_marker[] = "<!-- results:end -->";

static const struct row *fastest_row(const struct results *results, const struct row *largest) {
    const struct row *fastest = largest;
    for (size_t i = 0; i < results->count; i++) {
        const struct row *row = &results->row[i];
        if (is_measured(row) && !row->only_named &&
            !strcmp(row->operator_name, largest->operator_name) &&
            !strcmp(row->type, largest->type) && !strcmp(row->shape, largest->shape) &&
            row->time < fastest->time)
            fastest = row;
    }
    return fastest;
}

static void write_table(FILE *file, const char *path) {
    struct results results = read_results(path);
    char *origin = describe_origin(&results);
    fprintf(file,
            "\n**%s**: copy rate %s, GEMM rate %s; drawn from `%s`; %s.\n\n"
            "| operator | fastest row | shape | time | of the copy rate | of the GEMM rate |\n"
            "|---|---|---|--:|--:|--:|\n",
            results.device, format_rate(results.copy_rate, "B/s").s,
            format_rate(results.gemm_rate, "flop/s").s, path, origin);
    for (size_t i = 0; i < results.count; i++) {
        const char *name = results.row[i].operator_name;
        const struct row *largest =
            opens_operator(&results, i)
                ? largest_row(&results, name, NULL, operator_type(&results, name))
                : NULL;
        if (!largest)
            continue;
        const struct row *row = fastest_row(&results, largest);
        fprintf(file, "| `%s` | `%s` %s | %s | %s | %s | %s |\n", name, row->variant, row->type,
                row->shape, format_time(row->time).s, format_share(row->copy_share).s,
                format_share(row->gemm_share).s);
    }
    free(origin);
    free_results(&results);
}

void write_readme(const char *readme, char *const *results_path, int count) {
    char *content = read_file(readme);
    char *begin = strstr(content, begin_marker);
    char *end = begin ? strstr(begin, end_marker) : NULL;
    if (!end)
        die("%s: no line %s with a %s after it", readme, begin_marker, end_marker);
    struct output output = open_output(NULL, readme);
    fprintf(output.file, "%.*s%s\n", (int)(begin - content), content, begin_marker);
    for (int i = 0; i < count; i++)
        write_table(output.file, results_path[i]);
    fprintf(output.file, "\n%s", end);
    close_output(&output);
    free(content);
}
