/* tnl: TransNormerLLM models from the command line. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program/command.h"

static const command *const commands[] = {&info_command, &generate_command, &perplexity_command,
                                          &random_command, &variants_command};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *stream) {
    fputs("usage: tnl COMMAND [OPTION]... [ARGUMENT]...\n\n", stream);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(stream, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n'tnl COMMAND --help' says more of one; 'tnl --version' which version this is.\n"
          "Exit status: 0 done, 1 a file or device is at fault, 2 the command line is.\n",
          stream);
}

/* A token is some hundred short parallel loops. Threads that wait between them should sleep where
 * others want the cores: spinning makes a machine that is shared ten times slower. OpenMP only
 * looks at its environment before main, hence the second start; if it fails, all is as it was. */
static void wait_passively(char **argv) {
    if (!getenv("OMP_WAIT_POLICY") && setenv("OMP_WAIT_POLICY", "passive", 1) == 0)
        execv("/proc/self/exe", argv);
}

int main(int argc, char **argv) {
    wait_passively(argv);
    const char *name = argc > 1 ? argv[1] : "";
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i]->name) != 0)
            continue;
        const int status = commands[i]->run(commands[i], argc - 1, argv + 1);
        if (fflush(stdout) == 0 && !ferror(stdout))
            return status;
        complain("standard output can't be written");
        return EXIT_FAILURE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("tnl %s\n", tnl_version());
        return EXIT_SUCCESS;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return EXIT_SUCCESS;
    }
    if (*name)
        complain("'%s' is no command", name);
    usage(stderr);
    return EXIT_USAGE;
}
