/*
 * tnl-extract: from the files in results/<device> to what gnuplot draws, what claims.md says and
 * what the README shows.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "plots/claims.h"
#include "plots/readme.h"
#include "plots/robust.h"
#include "plots/tables.h"

static void usage(FILE *file) {
    fputs("Usage: tnl-extract tables FOLDER BENCH.JSON\n"
          "         write the figures' tables into FOLDER, and claims.md beside BENCH.JSON\n"
          "       tnl-extract robust FOLDER ROBUST_INFERENCE.JSON\n"
          "         write the table of Algorithm 1 against Algorithm 2 into FOLDER\n"
          "       tnl-extract readme README.md BENCH.JSON...\n"
          "         write the main numbers of each file between the README's markers\n",
          file);
}

static void write_tables(const char *folder, const char *path) {
    struct results results = read_results(path);
    write_figure(&results, &figure2, folder);
    write_figure(&results, &figure3, folder);
    if (has_curves(&results, &figure4))
        write_figure(&results, &figure4, folder);
    write_roofline(&results, folder);
    write_claims(&results);
    free_results(&results);
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    const int option = getopt_long(argc, argv, "h", options, NULL);
    char **word = argv + optind;
    const int words = argc - optind;
    if (option == 'h')
        usage(stdout);
    else if (option == -1 && words == 3 && !strcmp(word[0], "tables"))
        write_tables(word[1], word[2]);
    else if (option == -1 && words == 3 && !strcmp(word[0], "robust"))
        write_robust_inference(word[2], word[1]);
    else if (option == -1 && words >= 3 && !strcmp(word[0], "readme"))
        write_readme(word[1], word + 2, words - 2);
    else {
        usage(stderr);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
