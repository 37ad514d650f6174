/* tnl generate: a prompt in, tokens out as they come. */
#include <stdlib.h>
#include <string.h>

#include "program/command.h"
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
    int32_t *tokens;      /* the prompt's, and those made so far */
    int64_t prompt_count, made_count;
    size_t shown; /* bytes of their text that need not be written any more */
    int32_t eos;
    bool failed;  /* to show a token */
    double begun; /* when the first token had come */
} run_state;

/* ---- output ------------------------------------------------------------------------------- */

/* Whether a text ends within a character of UTF-8, which the next token may complete: the
 * tokenizer then writes U+FFFD in its place. */
static bool is_complete(const char *text, size_t length) {
    return length < 3 || memcmp(text + length - 3, "\xef\xbf\xbd", 3) != 0;
}

/* The text has grown: `write` what was not there before. What ends within a character waits, unless
 * no more is to come. */
static bool show_text(run_state *r, bool write, bool last) {
    char *text = tokenizer_decode(r->tokenizer, r->tokens, r->prompt_count + r->made_count);
    if (!text) {
        complain("the tokenizer can't make text of the tokens");
        return false;
    }
    const size_t length = strlen(text);
    if (length > r->shown && (last || is_complete(text, length))) {
        if (write)
            fputs(text + r->shown, stdout);
        r->shown = length;
    }
    free(text);
    return true;
}

/* The last token: its id, or its text. */
static bool show(run_state *r) {
    bool shown = true;
    if (r->tokenizer)
        shown = show_text(r, true, false);
    else
        printf("%s%d", r->made_count > 1 ? " " : "",
               r->tokens[r->prompt_count + r->made_count - 1]);
    fflush(stdout);
    return shown;
}

/* ---- feeding ------------------------------------------------------------------------------ */

static bool feed_prompt(run_state *r) {
    const int64_t count = r->prompt_count;
    for (int64_t done = 0; done < count; done += PIECE) {
        const int64_t some = count - done < PIECE ? count - done : PIECE;
        const tnl_piece piece = {0, r->tokens + done, some};
        if (tnl_state_prefill(r->o.state, 1, &piece,
                              done + some < count ? TNL_NO_LOGITS : TNL_LAST_LOGITS) != TNL_OK)
            return blame(&r->o);
    }
    return true;
}

/* A token has come; not 0: no more of them. */
static int take(void *user, int64_t step, const int32_t *token) {
    run_state *r = user;
    if (step == 0)
        r->begun = seconds();
    if (*token == r->eos)
        return 1;
    r->tokens[r->prompt_count + r->made_count++] = *token;
    r->failed = !show(r);
    return r->failed;
}

/* Tokens until there are enough, or the text ends. */
static bool make_tokens(run_state *r, const settings *s) {
    static const int32_t slot = 0;
    const tnl_generation how = {.sampling = {.temperature = s->temperature,
                                             .top_k = s->top_k,
                                             .top_p = s->top_p,
                                             .seed = (uint64_t)s->seed},
                                .steps = s->count,
                                .stop = r->eos,
                                .give = take,
                                .user = r};
    if (tnl_state_generate(r->o.state, 1, &slot, &how) != TNL_OK)
        return blame(&r->o);
    return !r->failed && (!r->tokenizer || show_text(r, true, true));
}

static bool generate(run_state *r, const settings *s) {
    const double start = seconds();
    if ((r->tokenizer && !show_text(r, false, true)) || !feed_prompt(r))
        return false;
    r->begun = seconds();
    const bool made = make_tokens(r, s);
    const double end = seconds(), fed = r->begun;
    const int64_t more = r->made_count > 1 ? r->made_count - 1 : 0;
    putchar('\n');
    fflush(stdout);
    fprintf(stderr,
            "prompt: %lld tokens and one made in %.3f s, %.1f tokens/s; made: %lld more in %.3f s, "
            "%.1f tokens/s\n",
            (long long)r->prompt_count, fed - start, (double)r->prompt_count / (fed - start),
            (long long)more, end - fed, (double)more / (end - fed));
    return made;
}

/* ---- setting up --------------------------------------------------------------------------- */

/* The prompt's tokens, with room behind them for those to come; an empty prompt begins with the
 * token that begins every text. false: said on stderr. */
static bool read_prompt(run_state *r, const settings *s) {
    const int bos = tnl_model_config(r->o.model)->bos;
    int32_t *tokens = s->tokens ? parse_tokens("--tokens", s->tokens, &r->prompt_count)
                                : tokenizer_encode(r->tokenizer, s->prompt, &r->prompt_count);
    if (tokens && r->prompt_count == 0 && bos >= 0)
        tokens[r->prompt_count++] = bos;
    if (tokens && r->prompt_count > 0)
        r->tokens = realloc(tokens, sizeof *tokens * (size_t)(r->prompt_count + s->count));
    if (r->tokens)
        return true;
    if (!s->tokens)
        complain("--prompt: no tokens can be made of it");
    free(tokens);
    return false;
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
    r->eos = s->ignore_eos ? -1 : tnl_model_config(r->o.model)->eos;
    return true;
}

static int run_all(const settings *s, const char *directory) {
    run_state r = {0};
    const bool good = set_up(&r, s, directory) && read_prompt(&r, s) && generate(&r, s);
    free(r.tokens);
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
