/* tnl perplexity: how well a model predicts a text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/text_file.h"
#include "program/command.h"
#include "program/likelihood.h"
#include "program/tokenizer.h"

enum { PIECE = 256 }; /* tokens, and rows of logits, at a time */

typedef struct settings {
    bool ids;
    place where;
} settings;

static void show(int64_t done, int64_t count, double sum) {
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%lld of %lld tokens, perplexity %.4f%s", (long long)done,
                (long long)count, exp(sum / (double)(done - 1)), done < count ? "" : "\r\033[K");
}

/* The file's tokens, to be given to free(); NULL: said on stderr. */
static int32_t *read_tokens(const char *directory, const char *path, const settings *s,
                            int64_t *count) {
    char error[1024];
    size_t length;
    int32_t *tokens = NULL;
    char *text = tnl_read_text(path, &length, error, sizeof error);
    tokenizer *t = text && !s->ids ? tokenizer_open(directory, error, sizeof error) : NULL;
    if (!text)
        complain("%s", error);
    else if (s->ids)
        tokens = parse_tokens(path, text, count);
    else if (!t)
        complain("%s; --ids takes a file of token ids", error);
    else if (!(tokens = tokenizer_encode(t, text, count)))
        complain("%s: no tokens can be made of it", path);
    tokenizer_close(t);
    free(text);
    if (!tokens || *count >= 2)
        return tokens;
    complain("%s: %lld tokens, expected at least 2", path, (long long)*count);
    free(tokens);
    return NULL;
}

static int measure(const char *directory, const char *path, const settings *s) {
    const tnl_state_options options = {.slots = 1, .max_tokens = PIECE, .logit_rows = PIECE};
    int64_t count;
    opened o;
    int32_t *tokens = read_tokens(directory, path, s, &count);
    if (!tokens || !open_all(&o, directory, s->where, &options)) {
        free(tokens);
        return EXIT_FAILURE;
    }
    const double start = seconds();
    double sum;
    const bool good = likelihood_sum(o.state, tokens, count, PIECE,
                                     tnl_model_config(o.model)->vocab_size, show, &sum);
    const double mean = sum / (double)(count - 1), taken = seconds() - start;
    if (good)
        printf("%lld tokens, mean cross-entropy %.6f, perplexity %.6f\n", (long long)count, mean,
               exp(mean));
    else
        blame(&o);
    if (good)
        fprintf(stderr, "%.3f s, %.1f tokens/s\n", taken, (double)(count - 1) / taken);
    close_all(&o);
    free(tokens);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(const command *self, int argc, char **argv) {
    static const struct option options[] = {{"ids", no_argument, NULL, 'i'},
                                            {"device", required_argument, NULL, OPTION_DEVICE},
                                            {"dtype", required_argument, NULL, OPTION_DTYPE},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {0}};
    settings s = {0};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            print_help(self, stdout);
            return EXIT_SUCCESS;
        }
        if (option == 'i')
            s.ids = true;
        else if (option == '?' || !parse_place(option, optarg, &s.where))
            return EXIT_USAGE;
    }
    if (argc - optind != 2)
        return misused(self, "expected a model's directory and a file");
    return measure(argv[optind], argv[optind + 1], &s);
}

const command perplexity_command = {
    "perplexity", "DIRECTORY FILE [OPTION]...", "Say how well a model predicts a text",
    "Printed are the mean cross-entropy of every token but the first, in nats, and its "
    "exponential.\n\n"
    "  --ids             FILE has token ids, in place of text for DIRECTORY/tokenizer.model\n"
    "  --device=DEVICE   cpu or cuda (cpu)\n"
    "  --dtype=TYPE      f32, f16 or bf16 (cuda: the checkpoint's, cpu: f32)\n",
    run};
