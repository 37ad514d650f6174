/*
 * Spills: registers that a kernel keeps in memory because it has too few. ptxas -v says, for each
 * kernel and architecture,
 *
 *     ptxas info    : Compiling entry function 'NAME' for 'sm_80'
 *     ptxas info    : Function properties for NAME
 *         0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "verify/parts.h"

enum { LINE = 4096, NAME = 2048 };

/* What stands between the first two quotes behind `key`; false: the line has no such key. */
static bool quoted_behind(const char *line, const char *key, char *text) {
    const char *at = strstr(line, key);
    return at && sscanf(at + strlen(key), " '%2047[^']'", text) == 1;
}

static void check_log(report *r, FILE *file, const char *path) {
    char line[LINE], name[NAME] = "", architecture[NAME] = "";
    int functions = 0;
    while (fgets(line, sizeof line, file)) {
        long stack, stores, loads;
        if (quoted_behind(line, "Compiling entry function", name)) {
            const char *behind = strstr(line, name) + strlen(name);
            quoted_behind(behind, "for", architecture);
        } else if (sscanf(line, " %ld bytes stack frame, %ld bytes spill stores, %ld bytes spill",
                          &stack, &stores, &loads) == 3) {
            functions++;
            report_case(r, stores == 0 && loads == 0, 0, 0,
                        "%s for %s: %ld bytes of spill stores, %ld of loads", name, architecture,
                        stores, loads);
        }
    }
    report_case(r, functions > 0 && !ferror(file), 0, 0, "%s tells of %d functions", path,
                functions);
}

void verify_ptxas(report *r, const char *path) {
    if (!report_begin(r, "ptxas", "no spills", ""))
        return;
    FILE *file = fopen(path, "r");
    if (!file) {
        report_case(r, false, 0, 0, "%s: %s", path, strerror(errno));
        return;
    }
    check_log(r, file, path);
    fclose(file);
}
