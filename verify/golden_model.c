/*
 * The golden models: DIRECTORY/NAME/ with a checkpoint and golden.safetensors, logits that an
 * independent program computed. For every length N that the file has:
 *
 *     logits   of all positions, prefilled in one piece and in random pieces
 *     greedy   the tokens that follow (in float32) and the logits after each, by decoding
 *     slots    all sequences of the file in one packed call, in slots that lie in several ways, and
 *              decoded together: as each alone
 *     parked   a slot copied, or saved and loaded, in the middle of decoding: the very same logits
 *
 * and the mean cross-entropy of the texts that the file has it of.
 */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/context.h"
#include "core/table.h"
#include "model/safetensors.h"
#include "program/likelihood.h"
#include "verify/fed.h"
#include "verify/golden_lengths.h"
#include "verify/parts.h"

enum { MOST_LENGTHS = 16, MOST_TEXT = 512 };

typedef struct golden {
    report *r;
    tnl_context *context;
    const char *name, *directory;
    tnl_safetensors file;
    tnl_model *model;
    tnl_type type;
    double bound;
    int64_t vocab;
    int count;
    golden_length length[MOST_LENGTHS];
} golden;

/* ---- states ------------------------------------------------------------------------------- */

static tnl_state *make_state(const golden *g, int slots, int64_t tokens) {
    const tnl_state_options options = {.slots = slots, .max_tokens = tokens, .logit_rows = tokens};
    tnl_state *state;
    tnl_state_create(g->model, g->context, &options, &state);
    return state;
}

/* The error of a set of logits against the bound: in float32 that of the worst row, in the smaller
 * types, of which a row now and then loses several times as much as the others, that of the set
 * as a whole. `done` false: why they could not be had is in the context. */
static void judge(const golden *g, bool done, const float *x, const float *y, int64_t rows,
                  const char *what, int64_t n) {
    const bool whole = g->type != TNL_FLOAT32;
    const double error =
        !done ? NAN : fed_error(x, y, whole ? 1 : rows, whole ? rows * g->vocab : g->vocab);
    report_case(g->r, error <= g->bound, done ? error : g->bound * 2, g->bound,
                "%s: n:%lld: %s: relative error %.3g%s%s", g->directory, (long long)n, what, error,
                done ? "" : ": ", done ? "" : tnl_context_error(g->context));
}

static float *floats(int64_t count) {
    float *memory = malloc(sizeof *memory * (size_t)count);
    if (!memory) {
        fputs("verify: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

/* ---- logits ------------------------------------------------------------------------------- */

/* Every text of one length from an empty slot, in pieces of at most `most` tokens. */
static bool feed_all(const golden *g, const golden_length *l, tnl_state *state, int64_t most,
                     uint64_t seed, float *logits) {
    bool done = state != NULL;
    for (int64_t b = 0; done && b < l->batch; b++)
        done = tnl_state_reset(state, 0) == TNL_OK &&
               fed_prefill(state, 0, l->ids + b * l->n, l->n, most, seed,
                           logits + b * l->n * g->vocab);
    return done;
}

static void check_logits(const golden *g, const golden_length *l) {
    const int64_t rows = l->batch * l->n;
    tnl_state *state = make_state(g, 1, l->n);
    float *whole = floats(rows * g->vocab), *pieces = floats(rows * g->vocab);
    bool done = feed_all(g, l, state, l->n, 0, whole);
    judge(g, done, whole, l->logits, rows, "in one piece", l->n);
    for (int64_t most = 1; most <= l->n; most = most * 8 - most / 2) {
        done = feed_all(g, l, state, most, g->r->seed + (uint64_t)most, pieces);
        judge(g, done, pieces, l->logits, rows, "in pieces", l->n);
        /* In the smaller types each is as far from the other as both are from the file. */
        if (g->type == TNL_FLOAT32)
            judge(g, done, pieces, whole, rows, "in pieces, against one", l->n);
    }
    free(whole);
    free(pieces);
    tnl_state_destroy(state);
}

/* ---- decoding ----------------------------------------------------------------------------- */

/* Greedy decoding of one text, fed the file's tokens: in float32 every token chosen must be the
 * file's, too. made: [more,vocab]. */
static bool decode_greedily(const golden *g, const golden_length *l, int64_t b, tnl_state *state,
                            float *made) {
    static const int32_t slot = 0;
    const int64_t last = (l->n - 1) * g->vocab;
    float *logits = floats(l->n * g->vocab);
    bool done = state && tnl_state_reset(state, slot) == TNL_OK &&
                fed_prefill(state, slot, l->ids + b * l->n, l->n, l->n, 0, logits);
    int32_t next = done ? fed_argmax(logits + last, g->vocab) : -1;
    for (int64_t step = 0; done && step < l->more; step++) {
        const int32_t token = l->greedy[b * l->more + step];
        if (g->type == TNL_FLOAT32)
            report_case(g->r, next == token, 0, 0,
                        "%s: n:%lld sequence:%lld: greedy token %lld is %d, expected %d",
                        g->directory, (long long)l->n, (long long)b, (long long)step, next, token);
        done = fed_decode(state, 1, &slot, &token, made + step * g->vocab);
        next = fed_argmax(made + step * g->vocab, g->vocab);
    }
    free(logits);
    return done;
}

static void check_greedy(const golden *g, const golden_length *l, tnl_state *state) {
    float *made = floats(l->batch * l->more * g->vocab);
    bool done = true;
    for (int64_t b = 0; b < l->batch; b++)
        done = decode_greedily(g, l, b, state, made + b * l->more * g->vocab) && done;
    judge(g, done, made, l->greedy_logits, l->batch * l->more, "greedy logits", l->n);
    free(made);
}

/* A slot parked in the middle: copied to another slot, and saved and loaded into a third. All
 * three go on, one after the other, and must end with the same bits. */
static void check_parked(const golden *g, const golden_length *l, tnl_state *state) {
    static const int32_t slots[] = {0, 1, 2};
    char path[] = "/tmp/tnl-verify-XXXXXX";
    const int descriptor = mkstemp(path);
    const size_t bytes = sizeof(float) * (size_t)g->vocab;
    float *logits = floats(3 * g->vocab);
    bool done = descriptor >= 0 && state && tnl_state_reset(state, 0) == TNL_OK &&
                fed_prefill(state, 0, l->ids, l->n, l->n, 0, NULL) &&
                tnl_state_copy(state, 0, 1) == TNL_OK && tnl_state_save(state, 0, path) == TNL_OK &&
                tnl_state_load(state, 2, path) == TNL_OK;
    for (int i = 0; done && i < 3; i++) {
        for (int64_t step = 0; done && step < l->more; step++)
            done = fed_decode(state, 1, &slots[i], &l->greedy[step], logits + i * g->vocab);
        done = done && tnl_state_position(state, i) == l->n + l->more;
    }
    report_case(g->r,
                done && memcmp(logits, logits + g->vocab, bytes) == 0 &&
                    memcmp(logits, logits + 2 * g->vocab, bytes) == 0,
                0, 0, "%s: n:%lld: a slot copied, or saved and loaded, goes on differently: %s",
                g->directory, (long long)l->n,
                done ? "other logits" : tnl_context_error(g->context));
    free(logits);
    if (descriptor >= 0)
        close(descriptor);
    unlink(path);
}

/* ---- all sequences at once ---------------------------------------------------------------- */

/* All sequences of the file: how many, and their tokens together. */
typedef struct crowd {
    int count, slots;
    int64_t tokens, more;
    tnl_piece *piece;
    int32_t *slot, *token;
    const golden_length **length;
    int64_t *sequence; /* in its length's batch */
} crowd;

/* How the sequences' slots lie: their states are used in place where they lie evenly and forwards.
 */
enum { SCATTERED, SIDE_BY_SIDE, EVENLY, BACKWARDS, ARRANGEMENTS };

static int32_t arrange(const crowd *c, int arrangement, int i) {
    switch (arrangement) {
    case SCATTERED: /* from both ends */
        return i % 2 ? c->slots - 1 - i : i;
    case SIDE_BY_SIDE:
        return i + 1;
    case EVENLY:
        return 2 * i + 1;
    default:
        return c->count - i;
    }
}

static void gather_crowd(const golden *g, int arrangement, crowd *c) {
    *c = (crowd){.more = INT64_MAX};
    for (int i = 0; i < g->count; i++)
        c->count += (int)g->length[i].batch;
    c->slots = 2 * c->count + 1;
    c->piece = calloc((size_t)c->count, sizeof *c->piece);
    c->slot = calloc((size_t)c->count, sizeof *c->slot);
    c->token = calloc((size_t)c->count, sizeof *c->token);
    c->length = calloc((size_t)c->count, sizeof *c->length);
    c->sequence = calloc((size_t)c->count, sizeof *c->sequence);
    for (int i = 0, at = 0; i < g->count; i++) {
        const golden_length *l = &g->length[i];
        c->more = l->more < c->more ? l->more : c->more;
        for (int64_t b = 0; b < l->batch; b++, at++) {
            c->slot[at] = arrange(c, arrangement, at);
            c->piece[at] = (tnl_piece){c->slot[at], l->ids + b * l->n, l->n};
            c->length[at] = l;
            c->sequence[at] = b;
            c->tokens += l->n;
        }
    }
}

static void free_crowd(crowd *c) {
    free(c->piece);
    free(c->slot);
    free(c->token);
    free(c->length);
    free(c->sequence);
}

/* The rows of logits that the file has for the crowd: of step `step` of decoding, or before the
 * first of them (-1) of the prompts' ends. */
static void expect(const golden *g, const crowd *c, int64_t step, float *rows) {
    for (int i = 0; i < c->count; i++) {
        const golden_length *l = c->length[i];
        const float *from = step < 0
                                ? l->logits + ((c->sequence[i] + 1) * l->n - 1) * g->vocab
                                : l->greedy_logits + (c->sequence[i] * l->more + step) * g->vocab;
        memcpy(rows + i * g->vocab, from, sizeof *rows * (size_t)g->vocab);
    }
}

static void check_crowd(const golden *g, int arrangement) {
    crowd c;
    gather_crowd(g, arrangement, &c);
    tnl_state *state = make_state(g, c.slots, c.tokens > c.slots ? c.tokens : c.slots);
    const int64_t each = c.count * g->vocab;
    float *made = floats((c.more + 1) * each), *expected = floats((c.more + 1) * each);
    bool done = state && tnl_state_prefill(state, c.count, c.piece, TNL_LAST_LOGITS) == TNL_OK &&
                tnl_state_read_logits(state, made) == TNL_OK;
    expect(g, &c, -1, expected);
    judge(g, done, made, expected, c.count, "packed with others", 0);
    for (int64_t step = 0; done && step < c.more; step++) {
        for (int i = 0; i < c.count; i++)
            c.token[i] = c.length[i]->greedy[c.sequence[i] * c.length[i]->more + step];
        done = fed_decode(state, c.count, c.slot, c.token, made + (step + 1) * each);
        expect(g, &c, step, expected + (step + 1) * each);
    }
    judge(g, done, made + each, expected + each, c.count * c.more, "decoded with others", 0);
    free(made);
    free(expected);
    tnl_state_destroy(state);
    free_crowd(&c);
}

/* ---- likelihood --------------------------------------------------------------------------- */

/* The mean cross-entropy of the texts train.ids [B,N], where the file has them. */
static void check_loss(const golden *g) {
    const tnl_safetensors_tensor *ids = tnl_safetensors_find(&g->file, "train.ids");
    const tnl_safetensors_tensor *loss = tnl_safetensors_find(&g->file, "train.loss");
    if (!ids || !loss || ids->rank != 2 || strcmp(ids->type, "I32") != 0 ||
        strcmp(loss->type, "F32") != 0 || loss->bytes != sizeof(float))
        return;
    enum { PIECE = 32 };
    const int64_t texts = ids->shape[0], count = ids->shape[1];
    tnl_state *state = make_state(g, 1, PIECE);
    double total = 0;
    bool done = state != NULL;
    for (int64_t b = 0; done && b < texts; b++) {
        double sum;
        done = likelihood_sum(state, (const int32_t *)ids->data + b * count, count, PIECE, g->vocab,
                              NULL, &sum);
        total += sum / (double)(texts * (count - 1));
    }
    const double expected = *(const float *)loss->data, error = fabs(total / expected - 1);
    report_case(g->r, done && error <= g->bound, done ? error : 2 * g->bound, g->bound,
                "%s: the loss is %.8g, expected %.8g", g->directory, total, expected);
    tnl_state_destroy(state);
}

/* ---- a model ------------------------------------------------------------------------------ */

static void check_model(golden *g) {
    for (int i = 0; i < g->count; i++) {
        const golden_length *l = &g->length[i];
        check_logits(g, l);
        tnl_state *state = make_state(g, 3, l->n > 3 ? l->n : 3);
        check_greedy(g, l, state);
        check_parked(g, l, state);
        tnl_state_destroy(state);
    }
    for (int i = 0; i < ARRANGEMENTS; i++)
        check_crowd(g, i);
    check_loss(g);
}

/* The bounds of the relative error of a row of logits. */
static double bound_of(const tnl_context *context, tnl_type type) {
    if (type == TNL_FLOAT32)
        return context->device == TNL_CPU ? 1e-5 : 1e-4;
    return type == TNL_FLOAT16 ? 5e-3 : 2e-2;
}

static void check_type(golden *g, tnl_type type) {
    const tnl_model_options options = {.type = type};
    char text[MOST_TEXT] = "";
    g->type = type;
    g->bound = bound_of(g->context, type);
    const tnl_status status = tnl_model_open(g->context, g->directory, &options, &g->model);
    if (status == TNL_UNSUPPORTED || !report_begin(g->r, "model", g->name, tnl_type_name(type))) {
        tnl_model_close(g->model);
        return;
    }
    if (!report_case(g->r, status == TNL_OK, 0, 0, "%s", tnl_context_error(g->context)))
        return;
    g->vocab = tnl_model_config(g->model)->vocab_size;
    g->count = golden_find_lengths(&g->file, g->vocab, g->length, MOST_LENGTHS, text, sizeof text);
    report_case(g->r, g->count > 0, 0, 0, "%s: golden.safetensors: %s", g->directory, text);
    if (g->count > 0)
        check_model(g);
    tnl_model_close(g->model);
}

static void check_directory(report *r, tnl_context *context, const char *directory,
                            const char *name) {
    char path[4096 + sizeof "/golden.safetensors"], error[MOST_TEXT];
    golden g = {.r = r, .context = context, .name = name, .directory = directory};
    snprintf(path, sizeof path, "%s/golden.safetensors", directory);
    if (!tnl_safetensors_open(&g.file, path, error, sizeof error)) {
        if (report_begin(r, "model", name, ""))
            report_case(r, false, 0, 0, "%s", error);
        return;
    }
    for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++)
        check_type(&g, type);
    tnl_safetensors_close(&g.file);
}

void verify_golden_models(report *r, tnl_context *context, const char *directory) {
    struct dirent **entry = NULL;
    const int count = scandir(directory, &entry, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[4096];
        const int length =
            snprintf(path, sizeof path, "%s/%s/config.json", directory, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.' && length < (int)sizeof path && access(path, F_OK) == 0) {
            path[length - (int)strlen("/config.json")] = '\0';
            check_directory(r, context, path, entry[i]->d_name);
        }
        free(entry[i]);
    }
    free(entry);
}
