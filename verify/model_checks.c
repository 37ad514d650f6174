/*
 * Checks of the model's functions that need no golden data: Table 10's counts, checkpoints in one
 * file and in several, states under bad arguments and from bad files, and sampling.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/context.h"
#include "core/random.h"
#include "core/types.h"
#include "model/convert.h"
#include "model/sampler.h"
#include "verify/damage.h"
#include "verify/parts.h"

/* ---- Table 10 ----------------------------------------------------------------------------- */

/* The table, as printed. */
static const struct {
    const char *size;
    int64_t count;
    int layers, hidden, heads;
} table10[] = {
    {"385M", 384974848, 24, 1024, 8},      {"1B", 992165888, 16, 2048, 16},
    {"3B", 2876006400, 32, 2560, 20},      {"7B", 6780547072, 30, 4096, 32},
    {"13B", 12620195840, 36, 5120, 40},    {"65B", 63528009728, 72, 8192, 64},
    {"175B", 173356498944, 88, 12288, 96},
};
enum { SIZES = sizeof table10 / sizeof *table10 };

static void check_table10(report *r) {
    for (int i = 0; i < SIZES; i++) {
        tnl_config config;
        tnl_counts counts = {0};
        const char *name = tnl_size_name(i);
        const bool known = name && strcmp(name, table10[i].size) == 0 &&
                           tnl_config_for_size(name, &config) == TNL_OK &&
                           tnl_config_count(&config, &counts) == TNL_OK;
        report_case(r,
                    known && config.layers == table10[i].layers &&
                        config.hidden_dim == table10[i].hidden &&
                        config.embed_dim == table10[i].hidden && config.heads == table10[i].heads,
                    0, 0, "%s: its dimensions are not the table's", table10[i].size);
        report_case(r, counts.table == table10[i].count, 0, 0,
                    "%s: counted %lld, the table has %lld", table10[i].size,
                    (long long)counts.table, (long long)table10[i].count);
    }
    tnl_config config;
    tnl_counts counts;
    report_case(r, !tnl_size_name(SIZES) && !tnl_size_name(-1), 0, 0, "there are more sizes");
    report_case(r,
                tnl_config_for_size("2B", &config) == TNL_INVALID_ARGUMENT &&
                    tnl_config_for_size(NULL, &config) == TNL_INVALID_ARGUMENT &&
                    tnl_config_for_size("1B", NULL) == TNL_INVALID_ARGUMENT &&
                    tnl_config_count(NULL, &counts) == TNL_INVALID_ARGUMENT &&
                    tnl_config_count(&config, NULL) == TNL_INVALID_ARGUMENT,
                0, 0, "a size that there is none of, or a NULL pointer, was taken");
}

/* ---- sampling ----------------------------------------------------------------------------- */

enum { VOCABULARY = 6, DRAWS = 20000 };
static const float some_logits[VOCABULARY] = {1, -2, 3, 0.5f, 2.5f, -1};

/* How often each token was drawn, against the softmax over what must be left (bits of `left`). The
 * standard deviation of a share is at most sqrt(1/4 / DRAWS) = 0.0036. */
static void check_shares(report *r, tnl_sampler *s, tnl_sampling how, unsigned left,
                         const char *what) {
    double expected[VOCABULARY], total = 0, worst = 0;
    int drawn[VOCABULARY] = {0};
    const double bound = 0.018;
    for (int i = 0; i < VOCABULARY; i++)
        total += expected[i] = left >> i & 1 ? exp(some_logits[i] / how.temperature) : 0;
    for (int i = 0; i < DRAWS; i++) {
        const int32_t token =
            tnl_sampler_choose(s, &how, some_logits, tnl_draw(&how, 0, (uint64_t)i));
        drawn[token >= 0 && token < VOCABULARY ? token : 0]++;
    }
    for (int i = 0; i < VOCABULARY; i++) {
        const double off = fabs(drawn[i] / (double)DRAWS - expected[i] / total);
        worst = off <= worst ? worst : off;
        report_case(r, drawn[i] == 0 || expected[i] > 0, 0, 0, "%s: token %d was drawn", what, i);
    }
    report_case(r, worst < bound, worst, bound, "%s: a share is off by %.3g", what, worst);
}

static void check_sampling(report *r) {
    tnl_sampler s;
    tnl_sampling how = {.temperature = 1, .top_p = 1, .seed = r->seed};
    if (!report_case(r, tnl_sampler_open(&s, VOCABULARY), 0, 0, "out of memory"))
        return;
    check_shares(r, &s, how, 0x3f, "all");
    how.temperature = 2.5;
    check_shares(r, &s, how, 0x3f, "hot");
    how.temperature = 0.5;
    how.top_k = 3;
    check_shares(r, &s, how, 1 << 2 | 1 << 4 | 1 << 0, "top 3");
    how = (tnl_sampling){.temperature = 1, .top_p = 0.6, .seed = 5};
    check_shares(r, &s, how, 1 << 2 | 1 << 4, "top 0.6"); /* 0.53 and 0.32 of it */
    how.top_p = 0;
    check_shares(r, &s, how, 1 << 2, "top 0");
    how.temperature = 0;
    report_case(r, tnl_sampler_choose(&s, &how, some_logits, 0.9) == 2, 0, 0, "not the likeliest");
    const float bad[VOCABULARY] = {0, NAN};
    report_case(r, tnl_sampler_choose(&s, &how, bad, 0) == TNL_TOKEN_NOT_FINITE, 0, 0,
                "a NaN was taken");
    tnl_sampler_close(&s);
}

/* ---- conversion --------------------------------------------------------------------------- */

/* All numbers of one 16-bit type, or as many of float32, against core/types.h's conversion one by
 * one; `from` is not aligned. Few and many go different ways. */
static void check_conversion(report *r, tnl_type to, tnl_type from, size_t count) {
    const size_t size = tnl_type_size(from);
    char *bytes = malloc(count * size + 1), *made = malloc(count * tnl_type_size(to));
    size_t wrong = 0;
    for (size_t i = 0; bytes && made && i < count; i++) {
        const uint32_t bits = size == 2 ? (uint32_t)i : (uint32_t)random_bits(r->seed, 3, i);
        memcpy(bytes + 1 + i * size, &bits, size);
    }
    if (bytes && made)
        tnl_convert(made, to, bytes + 1, from, count);
    for (size_t i = 0; bytes && made && i < count; i++) {
        uint32_t bits = 0, stored;
        memcpy(&bits, bytes + 1 + i * size, size);
        tnl_store(&stored, to, 0, tnl_load(&bits, from, 0));
        const double x = tnl_load(&stored, to, 0), y = tnl_load(made, to, (int64_t)i);
        wrong += !(x == y && signbit(x) == signbit(y)) && !(isnan(x) && isnan(y));
    }
    report_case(r, bytes && made && wrong == 0, 0, 0, "%s to %s: %zu of %zu are wrong",
                tnl_type_name(from), tnl_type_name(to), wrong, count);
    free(bytes);
    free(made);
}

static void check_conversions(report *r) {
    for (tnl_type to = TNL_FLOAT32; to <= TNL_BFLOAT16; to++)
        for (tnl_type from = TNL_FLOAT32; from <= TNL_BFLOAT16; from++)
            for (size_t count = 1 << 10; count <= 1 << 16; count <<= 6)
                check_conversion(r, to, from, count);
}

/* ---- a model of its own ------------------------------------------------------------------- */

typedef struct scene {
    damage_scene files;
    tnl_model *model;
    tnl_state *state; /* two slots, eight tokens */
} scene;

static tnl_status open_scene(scene *s) {
    const tnl_state_options options = {.slots = 2, .max_tokens = 8};
    tnl_context *context = s->files.context;
    if (!damage_restore(&s->files))
        return TNL_FILE_ERROR;
    const tnl_status status = tnl_model_open(context, s->files.directory, NULL, &s->model);
    return status == TNL_OK ? tnl_state_create(s->model, context, &options, &s->state) : status;
}

static void close_scene(scene *s) {
    tnl_state_destroy(s->state);
    tnl_model_close(s->model);
    s->state = NULL;
    s->model = NULL;
}

/* The call must have been refused, with these words in the text. */
static void refuse(const scene *s, tnl_status got, tnl_status expected, const char *words) {
    const char *text = tnl_context_error(s->files.context);
    report_case(s->files.r, got == expected && strstr(text, words), 0, 0,
                "%s (%s), expected %s with \"%s\"", tnl_status_name(got), text,
                tnl_status_name(expected), words);
}

#define BAD(call, words) refuse(s, call, TNL_INVALID_ARGUMENT, words)

static void misuse_opening(const scene *s) {
    tnl_context *context = s->files.context;
    tnl_model *model;
    tnl_state *state;
    const char *directory = s->files.directory;
    BAD(tnl_model_open(context, NULL, NULL, &model), "directory is NULL");
    BAD(tnl_model_open(context, directory, NULL, NULL), "model is NULL");
    BAD(tnl_model_open(context, directory, &(tnl_model_options){.type = TNL_INT32}, &model), "i32");
    BAD(tnl_state_create(NULL, context, NULL, &state), "model is NULL");
    BAD(tnl_state_create(s->model, context, NULL, NULL), "state is NULL");
    const struct {
        tnl_state_options options;
        const char *words;
    } bad[] = {{{.slots = -1}, "slots is -1"},
               {{.slots = INT_MAX}, "slots is"},
               {{.slots = 2, .max_tokens = 1}, "max_tokens is 1"},
               {{.max_tokens = INT64_MAX}, "max_tokens is"},
               {{.slots = 2, .logit_rows = 1}, "logit_rows is 1"},
               {{.max_tokens = 4, .logit_rows = 5}, "logit_rows is 5"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        BAD(tnl_state_create(s->model, context, &bad[i].options, &state), bad[i].words);
    report_case(s->files.r,
                tnl_model_open(NULL, directory, NULL, &model) == TNL_INVALID_ARGUMENT &&
                    tnl_state_prefill(NULL, 1, NULL, TNL_NO_LOGITS) == TNL_INVALID_ARGUMENT &&
                    tnl_state_decode(NULL, 1, NULL, NULL) == TNL_INVALID_ARGUMENT &&
                    tnl_state_reset(NULL, 0) == TNL_INVALID_ARGUMENT &&
                    tnl_state_save(NULL, 0, "x") == TNL_INVALID_ARGUMENT &&
                    tnl_state_load(NULL, 0, "x") == TNL_INVALID_ARGUMENT &&
                    tnl_state_position(NULL, 0) == -1,
                0, 0, "a NULL pointer was taken");
}

static const int32_t good[9] = {1, 2, 3}, large[] = {1, 64}, negative[] = {-1, 1};

static void misuse_prefill(const scene *s) {
    tnl_state *state = s->state;
    const struct {
        tnl_piece piece[2];
        int count;
        tnl_prefill_flags flags;
        const char *words;
    } bad[] = {{{{0, good, 3}}, 0, TNL_NO_LOGITS, "count is 0"},
               {{{0, good, 3}}, 3, TNL_NO_LOGITS, "count is 3"},
               {{{2, good, 3}}, 1, TNL_NO_LOGITS, "slot is 2"},
               {{{-1, good, 3}}, 1, TNL_NO_LOGITS, "slot is -1"},
               {{{1, good, 3}, {1, good, 3}}, 2, TNL_NO_LOGITS, "slot 1 of entry 1"},
               {{{0, NULL, 3}}, 1, TNL_NO_LOGITS, "NULL"},
               {{{0, good, 0}}, 1, TNL_NO_LOGITS, "is 0, expected 1 to 8"},
               {{{0, good, -3}}, 1, TNL_NO_LOGITS, "is -3"},
               {{{0, good, 9}}, 1, TNL_NO_LOGITS, "is 9, expected 1 to 8"},
               {{{0, good, 6}, {1, good, 3}}, 2, TNL_NO_LOGITS, "expected 1 to 2"},
               {{{0, large, 2}}, 1, TNL_NO_LOGITS, "tokens[1] is 64, expected 0 to 63"},
               {{{0, good, 1}, {1, negative, 2}}, 2, TNL_NO_LOGITS, "tokens[0] is -1"},
               {{{0, good, 3}}, 1, TNL_ALL_LOGITS, "logits of 3 tokens"},
               {{{0, good, 3}}, 1, (tnl_prefill_flags)7, "flags is 7"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        BAD(tnl_state_prefill(state, bad[i].count, bad[i].piece, bad[i].flags), bad[i].words);
    BAD(tnl_state_prefill(state, 1, NULL, TNL_NO_LOGITS), "NULL");
}

static void misuse_slots(const scene *s) {
    static const int32_t slots[] = {0, 1}, twice[] = {1, 1}, outside[] = {0, 2};
    tnl_state *state = s->state;
    tnl_tensor logits;
    BAD(tnl_state_decode(state, 2, twice, good), "slot 1 of entry 1");
    BAD(tnl_state_decode(state, 2, outside, good), "slot is 2");
    BAD(tnl_state_decode(state, 2, slots, large), "tokens[1] is 64");
    BAD(tnl_state_decode(state, 3, slots, good), "count is 3");
    BAD(tnl_state_decode(state, 1, NULL, good), "NULL");
    BAD(tnl_state_decode(state, 1, slots, NULL), "NULL");
    BAD(tnl_state_logits(state, &logits), "made none");
    BAD(tnl_state_read_logits(state, NULL), "made none");
    BAD(tnl_state_reset(state, 2), "slot is 2");
    BAD(tnl_state_copy(state, 0, -1), "slot is -1");
    BAD(tnl_state_copy(state, 5, 0), "slot is 5");
    BAD(tnl_state_save(state, 9, "x"), "slot is 9");
    BAD(tnl_state_save(state, 0, NULL), "path is NULL");
    BAD(tnl_state_load(state, 0, NULL), "path is NULL");
    report_case(s->files.r,
                tnl_state_position(state, 0) == 0 && tnl_state_position(state, 1) == 0 &&
                    tnl_state_position(state, 2) == -1,
                0, 0, "a refused call has moved a slot");
}

/* ---- files of states ---------------------------------------------------------------------- */

/* The saved slot with this damage must be refused, with these words. */
static void refuse_file(const scene *s, bool done, const char *words) {
    const tnl_status status = tnl_state_load(s->state, 0, damage_path(&s->files, "slot"));
    report_case(s->files.r, done, 0, 0, "%s: the damage could not be done", words);
    refuse(s, status, TNL_FILE_ERROR, words);
}

static bool save(const scene *s) {
    return tnl_state_save(s->state, 1, damage_path(&s->files, "slot")) == TNL_OK;
}

static void damage_state(const scene *s) {
    static const struct {
        const char *metadata, *words;
    } bad[] = {{"{}", "format: is missing"},
               {"{\"format\":\"tnl-state-9\"}", "tnl-state-9"},
               {"{\"format\":\"tnl-state-1\"}", "model: is missing"},
               {"{\"format\":\"tnl-state-1\",\"model\":\"0123456789abcdeg\"}", "0123456789abcdeg"},
               {"{\"format\":\"tnl-state-1\",\"model\":\"0123456789abcdef\"}", "this model's"}};
    const damage_scene *files = &s->files;
    const char *layer = "layers.1.state";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse_file(s,
                    save(s) && damage_header(files, "slot", "__metadata__", NULL, bad[i].metadata),
                    bad[i].words);
    refuse_file(s, save(s) && damage_header(files, "slot", "__metadata__", "position", "\"-1\""),
                "position: is -1");
    refuse_file(s, save(s) && damage_header(files, "slot", "__metadata__", "position", "\"4\""),
                "checksum");
    refuse_file(s, save(s) && damage_header(files, "slot", "__metadata__", "checksum", "\"0\""),
                "checksum: is 0");
    refuse_file(s, save(s) && damage_header(files, "slot", layer, "shape", "[2,16,32]"), layer);
    refuse_file(s, save(s) && damage_tensors(files, "slot", layer, NULL, NULL), "format");
    size_t count = 0;
    bool done = save(s);
    unsigned char *bytes = damage_read(files, "slot", &count);
    for (size_t i = 0; done && bytes && i < 16; i++) { /* one bit of the data */
        bytes[count - 1 - i * 37] ^= (unsigned char)(1u << i % 8);
        refuse_file(s, damage_write(files, "slot", bytes, count), "checksum");
        bytes[count - 1 - i * 37] ^= (unsigned char)(1u << i % 8);
    }
    free(bytes);
    refuse_file(s, unlink(damage_path(files, "slot")) == 0, "No such file");
    refuse(s, tnl_state_save(s->state, 1, "/nowhere/slot"), TNL_FILE_ERROR, "/nowhere/slot");
    report_case(files->r, tnl_state_position(s->state, 0) == 0, 0, 0,
                "a refused file has moved a slot");
    unlink(damage_path(files, "slot"));
}

/* ---- checkpoints -------------------------------------------------------------------------- */

/* The logits of a few tokens, and the model's hash. */
static bool feed(const scene *s, float *logits, uint64_t *hash) {
    static const int32_t tokens[] = {5, 60, 33, 7, 0};
    *hash = tnl_model_hash(s->model);
    return tnl_state_prefill(s->state, 1, &(tnl_piece){1, tokens, 5}, TNL_LAST_LOGITS) == TNL_OK &&
           tnl_state_read_logits(s->state, logits) == TNL_OK;
}

/* In three files and in one it is the same model; with other numbers it is another. */
static void check_checkpoints(scene *s) {
    float logits[3][64];
    uint64_t hash[3] = {0};
    bool fed[3];
    report *r = s->files.r;
    for (int i = 0; i < 3; i++) {
        s->files.shard_bytes = i == 1 ? 40000 : 0;
        s->files.config.scale_embedding = i == 2;
        fed[i] = open_scene(s) == TNL_OK && feed(s, logits[i], &hash[i]);
        report_case(r, fed[i], 0, 0, "%s", tnl_context_error(s->files.context));
        if (i < 2)
            close_scene(s);
    }
    report_case(r,
                fed[0] && fed[1] && hash[0] == hash[1] &&
                    memcmp(logits[0], logits[1], sizeof logits[0]) == 0,
                0, 0, "a checkpoint in three files is not the one in one file");
    report_case(r, hash[0] && hash[2] && hash[0] != hash[2], 0, 0,
                "another configuration has the same hash");
}

void verify_model_checks(report *r, tnl_context *context) {
    if (context->device == TNL_CPU && report_begin(r, "table10", "", ""))
        check_table10(r);
    if (context->device == TNL_CPU && report_begin(r, "sampling", "", ""))
        check_sampling(r);
    if (context->device == TNL_CPU && report_begin(r, "conversion", "", ""))
        check_conversions(r);
    scene s = {.files = {.r = r,
                         .context = context,
                         .directory = "/tmp/tnl-verify-XXXXXX",
                         .config = damage_small_config()}};
    if (!report_begin(r, "tnl_model", "bad input", "") ||
        !report_case(r, mkdtemp(s.files.directory) != NULL, 0, 0,
                     "no directory in /tmp can be made"))
        return;
    check_checkpoints(&s);
    if (s.state) {
        damage_state(&s);
        close_scene(&s);
    }
    if (open_scene(&s) == TNL_OK) {
        misuse_opening(&s);
        misuse_prefill(&s);
        misuse_slots(&s);
    }
    close_scene(&s);
    damage_clear(&s.files);
}
