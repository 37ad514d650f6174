/* What the commands share (program/command.h). */
#include "program/command.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void complain(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("tnl: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
}

int misused(const command *self, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "tnl %s: ", self->name);
    vfprintf(stderr, format, list);
    fprintf(stderr, "\nusage: tnl %s %s\n'tnl %s --help' says more.\n", self->name, self->arguments,
            self->name);
    va_end(list);
    return EXIT_USAGE;
}

void print_help(const command *self, FILE *stream) {
    fprintf(stream, "usage: tnl %s %s\n\n%s.\n\n%s", self->name, self->arguments, self->summary,
            self->help);
}

double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- options ------------------------------------------------------------------------------ */

bool parse_integer(const char *option, const char *text, int64_t least, int64_t most,
                   int64_t *value) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && *value >= least && *value <= most)
        return true;
    complain("%s=%s: expected a whole number from %lld to %lld", option, text, (long long)least,
             (long long)most);
    return false;
}

bool parse_real(const char *option, const char *text, double least, double most, double *value) {
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    if (errno == 0 && end != text && *end == '\0' && *value >= least && *value <= most)
        return true;
    complain("%s=%s: expected a number from %g to %g", option, text, least, most);
    return false;
}

bool parse_type(const char *text, tnl_type *type) {
    for (*type = TNL_FLOAT32; *type <= TNL_BFLOAT16; (*type)++)
        if (strcmp(text, tnl_type_name(*type)) == 0)
            return true;
    complain("--dtype=%s: expected f32, f16 or bf16", text);
    return false;
}

bool parse_place(int option, const char *text, place *where) {
    if (option == OPTION_DTYPE)
        return parse_type(text, &where->type);
    where->device = strcmp(text, "cuda") == 0 ? TNL_CUDA : TNL_CPU;
    if (where->device == TNL_CUDA || strcmp(text, "cpu") == 0)
        return true;
    complain("--device=%s: expected cpu or cuda", text);
    return false;
}

int32_t *parse_tokens(const char *from, const char *text, int64_t *count) {
    static const char separators[] = ", \t\r\n";
    int32_t *tokens = malloc((strlen(text) / 2 + 1) * sizeof *tokens);
    *count = 0;
    for (text += strspn(text, separators); tokens && *text; text += strspn(text, separators)) {
        char *end;
        errno = 0;
        const long token = strtol(text, &end, 10);
        if (errno || end == text || token < 0 || token > INT32_MAX ||
            (*end && !strchr(separators, *end))) {
            complain("%s: '%.20s' is no token id", from, text);
            free(tokens);
            return NULL;
        }
        tokens[(*count)++] = (int32_t)token;
        text = end;
    }
    if (tokens && *count > 0)
        return tokens;
    complain("%s: no token ids", from);
    free(tokens);
    return NULL;
}

/* ---- models ------------------------------------------------------------------------------- */

void show_progress(void *what, size_t done, size_t total) {
    static int shown = -1;
    const int percent = total ? (int)(100.0 * (double)done / (double)total) : 100;
    if (percent == shown || !isatty(STDERR_FILENO))
        return;
    shown = done < total ? percent : -1;
    fprintf(stderr, "\r\033[K%s %d%%%s", (const char *)what, percent,
            done < total ? "" : "\r\033[K");
    fflush(stderr);
}

bool blame(const opened *o) {
    complain("%s", tnl_context_error(o->context));
    return false;
}

bool open_all(opened *o, const char *directory, place where, const tnl_state_options *options) {
    static char loading[] = "loading";
    const tnl_model_options model_options = {
        .type = where.type, .progress = show_progress, .user = loading};
    *o = (opened){0};
    const tnl_status status = tnl_context_create(where.device, 0, &o->context);
    if (status != TNL_OK) {
        complain("--device=%s: %s", where.device == TNL_CUDA ? "cuda" : "cpu",
                 status == TNL_NO_DEVICE ? "there is none here" : tnl_status_name(status));
        return false;
    }
    if (tnl_model_open(o->context, directory, &model_options, &o->model) == TNL_OK &&
        tnl_state_create(o->model, o->context, options, &o->state) == TNL_OK)
        return true;
    blame(o);
    close_all(o);
    return false;
}

void close_all(opened *o) {
    tnl_state_destroy(o->state);
    tnl_model_close(o->model);
    tnl_context_destroy(o->context);
    *o = (opened){0};
}
