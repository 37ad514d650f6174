/* tnl generate: a prompt in, tokens out as they come. */
#include <stdlib.h>
#include <string.h>

#include "program/command.h"
#include "program/sampler.h"
#include "program/tokenizer.h"

enum { PIECE = 512 }; /* tokens of the prompt fed at a time */

typedef struct settings {
    const char *prompt, *tokens;
    int64_t count, top_k, seed;
    double temperature, top_p;
    bool ignore_eos;
    place where;
} settings;

/* A generation under way. */
typedef struct run_state {
    opened o;
    tokenizer *tokenizer; /* NULL: ids are printed */
    sampler sampler;
    float *logits;
    int32_t *made; /* tokens made so far */
    int64_t made_count;
    size_t shown; /* bytes of their text on the screen */
} run_state;

/* ---- output ------------------------------------------------------------------------------- */

/* Whether a text ends within a character of UTF-8, which the next token may complete: the
 * tokenizer then writes U+FFFD in its place. */
static bool is_complete(const char *text, size_t length) {
    return length < 3 || memcmp(text + length - 3, "\xef\xbf\xbd", 3) != 0;
}

/* The last token: its id, or what the text has grown by since it was last shown. */
static bool show(run_state *r, bool last) {
    if (!r->tokenizer) {
        printf("%s%d", r->made_count > 1 ? " " : "", r->made[r->made_count - 1]);
    } else {
        char *text = tokenizer_decode(r->tokenizer, r->made, r->made_count);
        if (!text) {
            complain("the tokenizer can't make text of the tokens");
            return false;
        }
        const size_t length = strlen(text);
        if (length > r->shown && (last || is_complete(text, length))) {
            fputs(text + r->shown, stdout);
            r->shown = length;
        }
        free(text);
    }
    fflush(stdout);
    return true;
}

/* ---- feeding ------------------------------------------------------------------------------ */

static bool feed_prompt(run_state *r, const int32_t *tokens, int64_t count) {
    for (int64_t done = 0; done < count; done += PIECE) {
        const int64_t some = count - done < PIECE ? count - done : PIECE;
        const tnl_piece piece = {0, tokens + done, some};
        if (tnl_state_prefill(r->o.state, 1, &piece,
                              done + some < count ? TNL_NO_LOGITS : TNL_LAST_LOGITS) != TNL_OK)
            return blame(&r->o);
    }
    return tnl_state_read_logits(r->o.state, r->logits) == TNL_OK || blame(&r->o);
}

/* Tokens until there are enough, or the text ends. */
static bool make_tokens(run_state *r, const settings *s) {
    const int eos = s->ignore_eos ? -1 : tnl_model_config(r->o.model)->eos;
    static const int32_t slot = 0;
    while (r->made_count < s->count) {
        const int32_t token = sampler_choose(&r->sampler, r->logits, (uint64_t)r->made_count);
        if (token < 0) {
            complain("a logit is not a finite number");
            return false;
        }
        if (token == eos)
            return true;
        r->made[r->made_count++] = token;
        if (!show(r, r->made_count == s->count))
            return false;
        if (r->made_count < s->count && (tnl_state_decode(r->o.state, 1, &slot, &token) != TNL_OK ||
                                         tnl_state_read_logits(r->o.state, r->logits) != TNL_OK))
            return blame(&r->o);
    }
    return true;
}

static bool generate(run_state *r, const settings *s, const int32_t *tokens, int64_t count) {
    const double start = seconds();
    if (!feed_prompt(r, tokens, count))
        return false;
    const double fed = seconds();
    const bool made = make_tokens(r, s);
    const double end = seconds();
    putchar('\n');
    fflush(stdout);
    fprintf(stderr,
            "prompt: %lld tokens in %.3f s, %.1f tokens/s; made: %lld in %.3f s, %.1f "
            "tokens/s\n",
            (long long)count, fed - start, (double)count / (fed - start), (long long)r->made_count,
            end - fed, (double)r->made_count / (end - fed));
    return made;
}

/* ---- setting up --------------------------------------------------------------------------- */

/* The prompt's tokens, to be given to free(); an empty one begins with the token that begins every
 * text. NULL: said on stderr. */
static int32_t *read_prompt(const run_state *r, const settings *s, int64_t *count) {
    const int bos = tnl_model_config(r->o.model)->bos;
    if (s->tokens)
        return parse_tokens("--tokens", s->tokens, count);
    int32_t *tokens = tokenizer_encode(r->tokenizer, s->prompt, count);
    if (tokens && *count == 0 && bos >= 0)
        tokens[(*count)++] = bos;
    if (tokens && *count > 0)
        return tokens;
    complain("--prompt: no tokens can be made of it");
    free(tokens);
    return NULL;
}

/* A prompt of text needs the tokenizer; one of ids is answered in ids. */
static bool open_tokenizer(run_state *r, const settings *s, const char *directory) {
    char error[1024];
    if (s->tokens)
        return true;
    r->tokenizer = tokenizer_open(directory, error, sizeof error);
    if (!r->tokenizer)
        complain("%s; --tokens takes token ids", error);
    return r->tokenizer != NULL;
}

static bool set_up(run_state *r, const settings *s, const char *directory) {
    const tnl_state_options options = {.slots = 1, .max_tokens = PIECE};
    if (!open_tokenizer(r, s, directory) || !open_all(&r->o, directory, s->where, &options))
        return false;
    const int64_t vocab = tnl_model_config(r->o.model)->vocab_size;
    r->sampler = (sampler){.temperature = s->temperature,
                           .top_k = s->top_k,
                           .top_p = s->top_p,
                           .seed = (uint64_t)s->seed};
    r->logits = malloc(sizeof *r->logits * (size_t)vocab);
    r->made = malloc(sizeof *r->made * (size_t)s->count);
    if (sampler_open(&r->sampler, vocab) && r->logits && r->made)
        return true;
    complain("out of memory");
    return false;
}

static int run_all(const settings *s, const char *directory) {
    run_state r = {0};
    int64_t count;
    bool good = set_up(&r, s, directory);
    int32_t *tokens = good ? read_prompt(&r, s, &count) : NULL;
    good = tokens && generate(&r, s, tokens, count);
    free(tokens);
    free(r.logits);
    free(r.made);
    sampler_close(&r.sampler);
    close_all(&r.o);
    tokenizer_close(r.tokenizer);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- options ------------------------------------------------------------------------------ */

static bool set(int option, const char *text, settings *s) {
    switch (option) {
    case 'p':
        s->prompt = text;
        return true;
    case 't':
        s->tokens = text;
        return true;
    case 'n':
        return parse_integer("-n", text, 1, 1 << 30, &s->count);
    case 'T':
        return parse_real("--temperature", text, 0, 1e6, &s->temperature);
    case 'k':
        return parse_integer("--top-k", text, 0, INT32_MAX, &s->top_k);
    case 'P':
        return parse_real("--top-p", text, 0, 1, &s->top_p);
    case 's':
        return parse_integer("--seed", text, 0, INT64_MAX, &s->seed);
    case 'e':
        s->ignore_eos = true;
        return true;
    case OPTION_DEVICE:
    case OPTION_DTYPE:
        return parse_place(option, text, &s->where);
    default:
        return false;
    }
}

static int run(const command *self, int argc, char **argv) {
    static const struct option options[] = {{"prompt", required_argument, NULL, 'p'},
                                            {"tokens", required_argument, NULL, 't'},
                                            {"count", required_argument, NULL, 'n'},
                                            {"temperature", required_argument, NULL, 'T'},
                                            {"top-k", required_argument, NULL, 'k'},
                                            {"top-p", required_argument, NULL, 'P'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"ignore-eos", no_argument, NULL, 'e'},
                                            {"device", required_argument, NULL, OPTION_DEVICE},
                                            {"dtype", required_argument, NULL, OPTION_DTYPE},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {0}};
    settings s = {.count = 64, .temperature = -1, .top_p = 1, .seed = 1};
    for (int option; (option = getopt_long(argc, argv, "hn:", options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            print_help(self, stdout);
            return EXIT_SUCCESS;
        }
        if (!set(option, optarg, &s))
            return EXIT_USAGE;
    }
    if (argc - optind != 1)
        return misused(self, "expected a model's directory");
    if (!s.prompt == !s.tokens)
        return misused(self, "expected either --prompt or --tokens");
    if (s.temperature < 0)
        s.temperature = s.top_k || s.top_p < 1 ? 1 : 0;
    return run_all(&s, argv[optind]);
}

const command generate_command = {
    "generate", "DIRECTORY --prompt=TEXT|--tokens=IDS [OPTION]...", "Continue a prompt",
    "Tokens are written as they come; how fast, on stderr at the end.\n\n"
    "  --prompt=TEXT     needs DIRECTORY/tokenizer.model, and a program built with SentencePiece\n"
    "  --tokens=IDS      token ids, separated by commas; the answer is ids, too\n"
    "  -n, --count=N     tokens to make (64)\n"
    "  --temperature=T   0: always the likeliest token (0; with --top-k or --top-p: 1)\n"
    "  --top-k=K         choose among the K likeliest (0: all)\n"
    "  --top-p=P         choose among the likeliest that together have this probability (1)\n"
    "  --seed=N          of the choices (1)\n"
    "  --ignore-eos      go on after the token that ends a text\n"
    "  --device=DEVICE   cpu or cuda (cpu)\n"
    "  --dtype=TYPE      f32, f16 or bf16 (cuda: the checkpoint's, cpu: f32)\n",
    run};
