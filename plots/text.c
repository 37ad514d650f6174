/* Files and numbers (plots/text.h). */
#include "plots/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char *join(const char *directory, const char *name, const char *suffix) {
    const size_t length = (directory ? strlen(directory) + 1 : 0) + strlen(name) + strlen(suffix);
    char *path = allocate(length + 1, 1);
    snprintf(path, length + 1, "%s%s%s%s", directory ? directory : "", directory ? "/" : "", name,
             suffix);
    return path;
}

struct output open_output(const char *directory, const char *name) {
    struct output output = {.path = join(directory, name, ""),
                            .temporary = join(directory, name, ".new")};
    output.file = fopen(output.temporary, "w");
    if (!output.file)
        die("%s: %s", output.temporary, strerror(errno));
    return output;
}

void close_output(struct output *output) {
    const int failed = ferror(output->file);
    if (fclose(output->file) || failed || rename(output->temporary, output->path))
        die("%s: %s", output->path, strerror(errno));
    free(output->path);
    free(output->temporary);
}

char *read_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file)
        die("%s: %s", path, strerror(errno));
    char *content;
    size_t size;
    FILE *stream = open_memstream(&content, &size);
    if (!stream)
        die("out of memory");
    char block[4096];
    for (size_t got; (got = fread(block, 1, sizeof block, file)) > 0;)
        fwrite(block, 1, got, stream);
    const int failed = ferror(file) || ferror(stream);
    fclose(file);
    if (fclose(stream) || failed)
        die("%s: cannot be read", path);
    return content;
}

/* Three significant digits, never with an exponent: 0.0123, 1.23, 12.3, 123, 1230. */
static text three_digits(double value, const char *unit) {
    text result;
    int decimals = 2;
    for (double limit = 10; limit <= 100 && value >= limit; limit *= 10)
        decimals--;
    for (double limit = 1; decimals < 6 && value > 0 && value < limit; limit /= 10)
        decimals++;
    snprintf(result.s, sizeof result.s, "%.*f %s", decimals, value, unit);
    return result;
}

text format_time(double milliseconds) {
    if (milliseconds >= 1000)
        return three_digits(milliseconds / 1000, "s");
    return milliseconds < 1 ? three_digits(milliseconds * 1000, "µs")
                            : three_digits(milliseconds, "ms");
}

text format_bytes(double bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    for (; i + 1 < sizeof units / sizeof *units && bytes >= 1024; i++)
        bytes /= 1024;
    return three_digits(bytes, units[i]);
}

text format_rate(double per_second, const char *unit) {
    static const char prefix[] = {'M', 'G', 'T', 'P'};
    size_t i = 0;
    double value = per_second / 1e6;
    for (; i + 1 < sizeof prefix && value >= 1000; i++)
        value /= 1000;
    char prefixed[16];
    snprintf(prefixed, sizeof prefixed, "%c%s", prefix[i], unit);
    return three_digits(value, prefixed);
}

text format_share(double share) {
    text result;
    if (share > 0)
        snprintf(result.s, sizeof result.s, share < 0.0995 ? "%.1f %%" : "%.0f %%", 100 * share);
    else
        snprintf(result.s, sizeof result.s, "–");
    return result;
}

static bool same_commit(const struct row *a, const struct row *b) {
    return !strcmp(a->commit ? a->commit : "", b->commit ? b->commit : "");
}

char *describe_origin(const struct results *results) {
    char *origin;
    size_t size, quick = 0;
    FILE *stream = open_memstream(&origin, &size);
    if (!stream)
        die("out of memory");
    for (size_t i = 0; i < results->count; i++) {
        const struct row *row = &results->row[i];
        size_t first = 0, rows = 0;
        while (!same_commit(&results->row[first], row))
            first++;
        for (size_t j = i; j < results->count; j++)
            rows += same_commit(&results->row[j], row);
        if (first == i)
            fprintf(stream, "%s`%s` (%zu rows)", i ? ", " : "commit ",
                    row->commit ? row->commit : "not given", rows);
        quick += row->quick;
    }
    if (!results->count)
        fputs("no rows", stream);
    if (quick)
        fprintf(stream, "; %zu rows are of quick runs, with few samples", quick);
    if (fclose(stream))
        die("out of memory");
    return origin;
}
