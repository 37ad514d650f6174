/*
 * tnl_state_generate against the same by hand, on a small model with random weights: its tokens
 * against those chosen on the host from logits that decoding has made, token by token; where it
 * stops; where slots then are.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/sampler.h"
#include "verify/damage.h"
#include "verify/fed.h"
#include "verify/parts.h"

enum { VOCABULARY = 3000, SLOTS = 2, PROMPT = 5, STEPS = 40, QUICK_STEPS = 9 };

typedef struct maker {
    report *r;
    tnl_context *context;
    tnl_model *model;
    tnl_state *state;
    tnl_type type;
    int length; /* the steps of a generation */
    int32_t made[STEPS][SLOTS];
    int64_t steps, most; /* tokens given; most: then no more are wanted */
} maker;

static const int32_t slots[SLOTS] = {1, 0};

static int take(void *user, int64_t step, const int32_t *tokens) {
    maker *m = user;
    if (step == m->steps && step < m->length)
        memcpy(m->made[m->steps++], tokens, sizeof m->made[0]);
    return m->steps >= m->most;
}

/* Prompts in empty slots, and the logits behind them. */
static bool begin(maker *m) {
    int32_t tokens[SLOTS][PROMPT];
    tnl_piece pieces[SLOTS];
    bool begun = true;
    for (int i = 0; i < SLOTS; i++) {
        for (int j = 0; j < PROMPT; j++)
            tokens[i][j] = (i * 711 + j * 97 + 3) % VOCABULARY;
        pieces[i] = (tnl_piece){slots[i], tokens[i], PROMPT - i};
        begun = begun && tnl_state_reset(m->state, slots[i]) == TNL_OK;
    }
    m->steps = 0;
    m->most = INT64_MAX;
    return begun && tnl_state_prefill(m->state, SLOTS, pieces, TNL_LAST_LOGITS) == TNL_OK;
}

/* The same prompt in both. */
static bool begin_alike(maker *m) {
    static const int32_t prompt[PROMPT] = {3, 100, 197, 294, 391};
    tnl_piece pieces[SLOTS];
    bool begun = begin(m);
    for (int i = 0; i < SLOTS; i++) {
        pieces[i] = (tnl_piece){slots[i], prompt, PROMPT};
        begun = begun && tnl_state_reset(m->state, slots[i]) == TNL_OK;
    }
    return begun && tnl_state_prefill(m->state, SLOTS, pieces, TNL_LAST_LOGITS) == TNL_OK;
}

static tnl_status generate(maker *m, tnl_sampling sampling, int32_t stop) {
    const tnl_generation how = {
        .sampling = sampling, .steps = m->length, .stop = stop, .give = take, .user = m};
    return tnl_state_generate(m->state, SLOTS, slots, &how);
}

/* Whether the host chooses the token from the logits, by a draw or a limit as near to the one given
 * as the device's arithmetic can tell. */
static bool is_choice(tnl_sampler *s, tnl_sampling how, const float *logits, double drawn,
                      int32_t token) {
    static const double off[] = {0, -4e-6, 4e-6};
    const double top_p = how.top_p;
    for (int i = 0; i < 9; i++) {
        const double at = drawn + off[i % 3];
        how.top_p = top_p < 1 ? top_p + off[i / 3] : 1;
        if (tnl_sampler_choose(s, &how, logits, at < 0 ? 0 : at) == token)
            return true;
    }
    return false;
}

/* Feed by hand what was generated, and hold every token against the host's choice; the last logits
 * and the positions must be the same. */
static void check_choices(maker *m, tnl_sampling sampling, const char *what) {
    float *logits = malloc(sizeof *logits * 2 * SLOTS * VOCABULARY);
    float *last = logits + SLOTS * VOCABULARY;
    tnl_sampler s = {0};
    bool done = logits && tnl_sampler_open(&s, VOCABULARY) && begin(m) &&
                generate(m, sampling, -1) == TNL_OK && m->steps == m->length &&
                tnl_state_read_logits(m->state, last) == TNL_OK;
    int64_t position[SLOTS];
    int wrong = 0;
    for (int i = 0; i < SLOTS; i++)
        position[i] = tnl_state_position(m->state, slots[i]);
    done = done && begin(m) && tnl_state_read_logits(m->state, logits) == TNL_OK;
    for (int step = 0; done && step < m->length; step++) {
        for (int i = 0; i < SLOTS; i++)
            wrong += !is_choice(&s, sampling, logits + i * VOCABULARY,
                                tnl_draw(&sampling, (uint64_t)i, (uint64_t)step), m->made[step][i]);
        done = step + 1 == m->length || fed_decode(m->state, SLOTS, slots, m->made[step], logits);
    }
    report_case(m->r, done && wrong == 0, 0, 0, "%s: %d of %d tokens are not the host's choice%s%s",
                what, wrong, m->length * SLOTS, done ? "" : ": ",
                done ? "" : tnl_context_error(m->context));
    bool same = done && memcmp(logits, last, sizeof *logits * SLOTS * VOCABULARY) == 0;
    for (int i = 0; i < SLOTS; i++)
        same = same && position[i] == PROMPT - i + m->length - 1 &&
               position[i] == tnl_state_position(m->state, slots[i]);
    report_case(m->r, same, 0, 0, "%s: a slot is not where decoding by hand leaves it", what);
    if (logits)
        tnl_sampler_close(&s);
    free(logits);
}

/* A slot stops behind its token, the others go on as they were; the last one's stop ends it all. */
static void check_stop(maker *m) {
    int32_t whole[STEPS][SLOTS];
    const tnl_sampling hot = {.temperature = 1, .top_p = 1, .seed = 11};
    bool done = begin(m) && generate(m, hot, -1) == TNL_OK;
    memcpy(whole, m->made, sizeof whole);
    const int32_t stop = whole[7][1];
    done = done && begin(m) && generate(m, hot, stop) == TNL_OK && m->steps == m->length;
    bool right = done;
    for (int i = 0; i < SLOTS; i++) {
        int64_t step = 0;
        for (; right && step < m->length && (step == 0 || m->made[step - 1][i] != stop); step++)
            right = m->made[step][i] == whole[step][i];
        right = right && tnl_state_position(m->state, slots[i]) ==
                             PROMPT - i + (m->made[step - 1][i] == stop ? step - 1 : m->length - 1);
        for (; right && step < m->length; step++)
            right = m->made[step][i] == -1;
    }
    report_case(m->r, right, 0, 0, "a stop: other tokens or positions%s%s", done ? "" : ": ",
                done ? "" : tnl_context_error(m->context));
    /* All stop at once: both go on from the same prompt. */
    done = begin_alike(m) && generate(m, (tnl_sampling){.top_p = 1}, -1) == TNL_OK;
    const int32_t first = m->made[2][0];
    int64_t last = 0;
    while (done && m->made[last][0] != first)
        last++;
    done = done && begin_alike(m) && generate(m, (tnl_sampling){.top_p = 1}, first) == TNL_OK;
    report_case(m->r, done && m->steps == last + 1, 0, 0,
                "all stopped at step %lld, %lld steps were given", (long long)last,
                (long long)m->steps);
    float *logits = malloc(sizeof *logits * SLOTS * VOCABULARY);
    report_case(m->r, logits && tnl_state_read_logits(m->state, logits) == TNL_INVALID_ARGUMENT, 0,
                0, "logits of slots that have stopped could be read");
    free(logits);
    /* Ended by the one who gets the tokens. */
    done = begin(m);
    m->most = 4;
    done = done && generate(m, hot, -1) == TNL_OK && m->steps == 4;
    const int64_t fed = tnl_state_position(m->state, slots[0]) - PROMPT;
    report_case(
        m->r, done && fed >= 3 && fed <= 4 + 8 && memcmp(whole, m->made, sizeof whole[0] * 4) == 0,
        0, 0, "ended after 4 steps: %lld tokens were fed", (long long)fed);
}

static void refuse(const maker *m, tnl_status got, const char *part) {
    const char *text = tnl_context_error(m->context);
    report_case(m->r, got == TNL_INVALID_ARGUMENT && strstr(text, part) != NULL, 0, 0,
                "%s (\"%s\"), expected TNL_INVALID_ARGUMENT and a text with \"%s\"",
                tnl_status_name(got), text, part);
}

static void misuse(maker *m) {
    const tnl_sampling good = {.top_p = 1};
    const tnl_generation how = {.sampling = good, .steps = 1, .stop = -1, .give = take, .user = m};
    if (!report_case(m->r, begin(m), 0, 0, "%s", tnl_context_error(m->context)))
        return;
    tnl_generation bad = how;
    refuse(m, tnl_state_generate(m->state, 1, slots, &how), "count is 1");
    refuse(m, tnl_state_generate(m->state, SLOTS, NULL, &how), "NULL");
    refuse(m, tnl_state_generate(m->state, SLOTS, (int32_t[]){1, 1}, &how), "slot 1");
    refuse(m, tnl_state_generate(m->state, SLOTS, (int32_t[]){0, 1}, &how), "slots[0] is 0");
    refuse(m, tnl_state_generate(m->state, SLOTS, slots, NULL), "how is NULL");
    bad.give = NULL;
    refuse(m, tnl_state_generate(m->state, SLOTS, slots, &bad), "give is NULL");
    bad = how;
    bad.steps = 0;
    refuse(m, tnl_state_generate(m->state, SLOTS, slots, &bad), "steps is 0");
    bad.steps = INT64_MAX;
    refuse(m, tnl_state_generate(m->state, SLOTS, slots, &bad), "steps is");
    refuse(m, generate(m, (tnl_sampling){.temperature = -1, .top_p = 1}, -1), "temperature is -1");
    refuse(m, generate(m, (tnl_sampling){.temperature = 1e-300, .top_p = 1}, -1), "1e-300");
    refuse(m, generate(m, (tnl_sampling){.top_k = -1, .top_p = 1}, -1), "top_k is -1");
    refuse(m, generate(m, (tnl_sampling){.top_p = 1.5}, -1), "top_p is 1.5");
    report_case(m->r, tnl_state_generate(NULL, 1, slots, &how) == TNL_INVALID_ARGUMENT, 0, 0,
                "a state that is NULL was taken");
}

static void check_type(maker *m) {
    static const struct {
        tnl_sampling how;
        const char *what;
    } tried[] = {{{.top_p = 1}, "greedy"},
                 {{.temperature = 1, .top_p = 1, .seed = 3}, "temperature 1"},
                 {{.temperature = 0.3, .top_p = 1, .seed = 4}, "temperature 0.3"},
                 {{.temperature = 1, .top_k = 7, .top_p = 1, .seed = 5}, "top 7"},
                 {{.temperature = 1, .top_p = 0.7, .seed = 6}, "top 0.7"},
                 {{.temperature = 1, .top_p = 0, .seed = 7}, "top 0"},
                 {{.temperature = 2, .top_k = 1000, .top_p = 0.9, .seed = 8}, "top 1000 and 0.9"}};
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i += m->r->quick ? 6 : 1)
        check_choices(m, tried[i].how, tried[i].what);
    check_stop(m);
    misuse(m);
}

void verify_generation(report *r, tnl_context *context) {
    damage_scene scene = {.r = r,
                          .context = context,
                          .directory = "/tmp/tnl-verify-XXXXXX",
                          .config = damage_small_config()};
    scene.config.vocab_size = VOCABULARY;
    const bool made = mkdtemp(scene.directory) && damage_restore(&scene);
    for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++) {
        maker m = {
            .r = r, .context = context, .type = type, .length = r->quick ? QUICK_STEPS : STEPS};
        const tnl_model_options options = {.type = type};
        const tnl_status status = tnl_model_open(context, scene.directory, &options, &m.model);
        if (status == TNL_UNSUPPORTED ||
            !report_begin(r, "tnl_state_generate", "", tnl_type_name(type))) {
            tnl_model_close(m.model);
            continue;
        }
        const tnl_state_options room = {.slots = SLOTS};
        if (report_case(r,
                        made && status == TNL_OK &&
                            tnl_state_create(m.model, context, &room, &m.state) == TNL_OK,
                        0, 0, "%s", tnl_context_error(context)))
            check_type(&m);
        tnl_state_destroy(m.state);
        /* As many rows of logits as one pleases between the slots and the tokens. */
        tnl_state *other = NULL;
        const tnl_state_options rows = {.slots = 1, .max_tokens = 64, .logit_rows = 17};
        report_case(r, made && tnl_state_create(m.model, context, &rows, &other) == TNL_OK, 0, 0,
                    "%s", tnl_context_error(context));
        tnl_state_destroy(other);
        tnl_model_close(m.model);
    }
    if (made)
        damage_clear(&scene);
}
