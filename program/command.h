/* What the commands of the program share: exit statuses, options, opening a model. */
#ifndef TNL_PROGRAM_COMMAND_H
#define TNL_PROGRAM_COMMAND_H

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#include "tnl_model.h"

/* EXIT_SUCCESS, EXIT_FAILURE (a file, a device), and this: the command line makes no sense. */
enum { EXIT_USAGE = 2 };

typedef struct command {
    const char *name, *arguments, *summary;
    const char *help; /* options and more, a line each */
    int (*run)(const struct command *self, int argc, char **argv);
} command;

extern const command info_command, generate_command, perplexity_command, random_command,
    variants_command;

/* "tnl: text" on stderr. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);
/* The same about the command line, with a hint at --help. Returns EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int misused(const command *self, const char *format, ...);
void print_help(const command *self, FILE *stream);

/* ---- options ------------------------------------------------------------------------------ */

/* Values of options that several commands have. */
enum { OPTION_HELP = 'h', OPTION_DEVICE = 1000, OPTION_DTYPE };

typedef struct place {
    tnl_device device;
    tnl_type type; /* TNL_NO_TYPE: the default */
} place;

/* A number of an option, in a range; false: said on stderr. */
bool parse_integer(const char *option, const char *text, int64_t least, int64_t most,
                   int64_t *value);
bool parse_real(const char *option, const char *text, double least, double most, double *value);
bool parse_type(const char *text, tnl_type *type);
/* OPTION_DEVICE and OPTION_DTYPE. */
bool parse_place(int option, const char *text, place *where);
/* Whole numbers, separated by commas or white space, to be given to free(). NULL: said on stderr,
 * with `from` to say where they are from. */
int32_t *parse_tokens(const char *from, const char *text, int64_t *count);

/* ---- models ------------------------------------------------------------------------------- */

typedef struct opened {
    tnl_context *context;
    tnl_model *model;
    tnl_state *state;
} opened;

/* A context, the model and a state with one slot; what is wrong goes to stderr, and on a terminal
 * the progress too. false: *o is closed. */
bool open_all(opened *o, const char *directory, place where, const tnl_state_options *options);
void close_all(opened *o);
/* The context's error on stderr. Returns false. */
bool blame(const opened *o);

/* Progress on stderr, where that is a terminal: what is done, in percent. */
void show_progress(void *what, size_t done, size_t total);

double seconds(void);

#endif
