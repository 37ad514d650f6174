/* What the outputs share: files that appear whole or not at all, and numbers as people read them.
 */
#ifndef TNL_PLOTS_TEXT_H
#define TNL_PLOTS_TEXT_H

#include <stdio.h>

#include "plots/rows.h"

/* A file being written: under another name until it is complete. */
struct output {
    FILE *file;
    char *path, *temporary;
};

/* directory/name, or name alone where directory is NULL. */
struct output open_output(const char *directory, const char *name);
void close_output(struct output *output);
/* A whole file as a string, to be freed. */
char *read_file(const char *path);

typedef struct text {
    char s[48];
} text;

text format_time(double milliseconds);
text format_bytes(double bytes);
text format_rate(double per_second, const char *unit); /* "12.3 GB/s" for unit "B/s" */
text format_share(double share);                       /* percent; "–" for 0 */

/* Which commits the rows come from, "`0123456` (12 rows), ...", and whether some are of a quick
 * run. To be freed. */
char *describe_origin(const struct results *results);

#endif
