/*
 * The Transformer of figure 4 (transformer/). Its attention is judged, each head of a sequence by
 * itself, against softmax attention in double precision on the same inputs, as they are stored; and
 * prompts fed at once, in pieces and token by token must lead to the same logits.
 */
#include "transformer/transformer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/types.h"
#include "model/convert.h"
#include "transformer/attention.h"
#include "verify/fed.h"
#include "verify/parts.h"
#include "verify/random.h"

enum { D = ATTENTION_DIM, PAIRS = ATTENTION_PAIRS };

/* ---- attention ---------------------------------------------------------------------------- */

/* A call: so many rows, the first at a position, of one sequence or each of its own. Positions of
 * sequences differ: the i-th is `apart` i tokens behind the first. */
typedef struct attention_case {
    bool decoding;
    int heads;
    int64_t rows, position, apart;
} attention_case;

/* Its tensors on the host, as stored on the device and widened. */
typedef struct attention_data {
    attention_case of;
    tnl_context *context;
    tnl_type type;
    int64_t sequences, capacity;
    double *packed, *k, *v;
    double *turned; /* packed, with Q and K at their positions */
    double *o;      /* what the device says */
} attention_data;

static int64_t position_of(const attention_case *c, int64_t row) {
    return c->decoding ? c->position - c->apart * row : c->position + row;
}

/* Random numbers of the type on the device, and their values. Queries and keys of this size make
 * weights that differ, but of which not one stands for all. */
static void *make_tensor(const attention_data *a, int64_t count, uint64_t stream, uint64_t seed,
                         double **values) {
    const size_t bytes = (size_t)count * tnl_type_size(a->type);
    void *stored = malloc(bytes), *device = tnl_memory_allocate(a->context->device, bytes);
    *values = malloc((size_t)count * sizeof **values);
#pragma omp parallel for
    for (int64_t i = 0; i < (stored && *values ? count : 0); i++) {
        tnl_store(stored, a->type, i, random_normal(seed, stream, (uint64_t)i));
        (*values)[i] = tnl_load(stored, a->type, i);
    }
    if (!stored || !*values || !device ||
        !tnl_memory_to_device(a->context->device, device, stored, bytes)) {
        tnl_memory_free(a->context->device, device);
        device = NULL;
    }
    free(stored);
    return device;
}

/* x turned to a position. */
static void rotate(const double *x, int64_t position, double *y) {
    for (int i = 0; i < PAIRS; i++) {
        const double angle = (double)position * pow(10000, -(double)i / PAIRS);
        y[i] = x[i] * cos(angle) - x[i + PAIRS] * sin(angle);
        y[i + PAIRS] = x[i] * sin(angle) + x[i + PAIRS] * cos(angle);
    }
}

static double *turned_row(const attention_data *a, int64_t row, int part, int head) {
    return a->turned + ((row * 3 + part) * a->of.heads + head) * D;
}

static bool turn(attention_data *a) {
    const int64_t count = a->of.rows * 3 * a->of.heads * D;
    a->turned = malloc((size_t)count * sizeof *a->turned);
    if (!a->turned)
        return false;
    memcpy(a->turned, a->packed, (size_t)count * sizeof *a->turned);
#pragma omp parallel for
    for (int64_t row = 0; row < a->of.rows; row++)
        for (int part = 0; part < 2; part++)
            for (int head = 0; head < a->of.heads; head++) {
                double *to = turned_row(a, row, part, head);
                rotate(a->packed + (to - a->turned), position_of(&a->of, row), to);
            }
    return true;
}

/* The key and value of a sequence's token: those of the call, or cached ones. */
static void find_token(const attention_data *a, int64_t row, int head, int64_t token,
                       const double **k, const double **v) {
    const int64_t first = position_of(&a->of, a->of.decoding ? row : 0);
    const int64_t sequence = a->of.decoding ? row : 0;
    const int64_t cached = ((sequence * a->of.heads + head) * a->capacity + token) * D;
    const int64_t own = a->of.decoding ? row : token - first;
    *k = token < first ? a->k + cached : turned_row(a, own, 1, head);
    *v = token < first ? a->v + cached : turned_row(a, own, 2, head);
}

/* Softmax attention by its definition; scores has room for all tokens. `naive`: what would be kept
 * in memory, or meets V on a tensor core, is rounded to the type. */
static void attend(const attention_data *a, int64_t row, int head, bool naive, double *scores,
                   double *o) {
    const int64_t position = position_of(&a->of, row);
    const double *q = turned_row(a, row, 0, head), *k, *v;
    double highest = -INFINITY, total = 0;
    for (int64_t t = 0; t <= position; t++) {
        find_token(a, row, head, t, &k, &v);
        scores[t] = 0;
        for (int i = 0; i < D; i++)
            scores[t] += naive ? tnl_round(a->type, q[i]) * tnl_round(a->type, k[i]) : q[i] * k[i];
        scores[t] /= sqrt(D);
        highest = fmax(highest, scores[t]);
    }
    memset(o, 0, D * sizeof *o);
    for (int64_t t = 0; t <= position; t++) {
        const double weight = exp(scores[t] - highest);
        find_token(a, row, head, t, &k, &v);
        total += weight;
        for (int i = 0; i < D; i++)
            o[i] += (naive ? tnl_round(a->type, weight) : weight) * v[i];
    }
    for (int i = 0; i < D; i++)
        o[i] = naive ? tnl_round(a->type, o[i] / total) : o[i] / total;
}

/* What is wrong with a slice, a head of a sequence. */
typedef struct slice_error {
    double wrong, size;    /* sums of squares */
    double peak;           /* the largest value */
    double largest, naive; /* errors of an element, the device's and the naive computation's */
} slice_error;

/* Of many rows some are looked at, the last among them. false: out of memory. */
static bool judge_slice(const attention_data *a, int64_t sequence, int head, slice_error *e) {
    const int64_t rows = a->of.decoding ? 1 : a->of.rows, step = rows > 24 ? rows / 24 : 1;
    double *scores = malloc((size_t)a->capacity * sizeof *scores), expected[D], naive[D];
    *e = (slice_error){0};
    for (int64_t i = rows - 1; scores && i >= 0; i -= step) {
        const int64_t row = a->of.decoding ? sequence : i;
        attend(a, row, head, false, scores, expected);
        attend(a, row, head, true, scores, naive);
        for (int j = 0; j < D; j++) {
            const double off = a->o[(row * a->of.heads + head) * D + j] - expected[j];
            e->wrong += off * off;
            e->size += expected[j] * expected[j];
            e->peak = fmax(e->peak, fabs(expected[j]));
            e->largest = fabs(off) <= e->largest ? e->largest : fabs(off);
            e->naive = fmax(e->naive, fabs(naive[j] - expected[j]));
        }
    }
    free(scores);
    return scores != NULL;
}

/* The largest error of an element over what is allowed: twice the naive computation's, or a unit
 * in the last place. In float32 the naive one's sums, in double, are too good to be held against.
 */
static double share_of_allowed(const slice_error *e, tnl_type type) {
    const double allowed = fmax(2 * e->naive, tnl_ulp(type, e->peak));
    return type == TNL_FLOAT32 ? 0 : e->largest / allowed;
}

/* The worst of all slices, by either measure. false: out of memory. */
static bool judge_slices(const attention_data *a, double *worst, double *ratio) {
    bool judged = true;
    double most = 0, times = 0;
#pragma omp parallel for collapse(2) reduction(max : most, times) reduction(&& : judged)
    for (int64_t i = 0; i < a->sequences; i++)
        for (int head = 0; head < a->of.heads; head++) {
            slice_error e;
            judged = judge_slice(a, i, head, &e) && judged;
            const double error = sqrt(e.wrong / e.size);
            most = error <= most ? most : isnan(error) ? INFINITY : error;
            times = fmax(times, share_of_allowed(&e, a->type));
        }
    *worst = most;
    *ratio = times;
    return judged;
}

/* Run the call on these tensors and have its output. */
static bool run_attention(attention_data *a, attention_call *call, void *o) {
    const tnl_device device = a->context->device;
    const size_t count = (size_t)(a->of.rows * a->of.heads * D), size = tnl_type_size(a->type);
    const size_t workspace = attention_workspace(a->context, a->of.heads, a->of.rows);
    int64_t *positions = calloc((size_t)a->of.rows, sizeof *positions);
    void *on_device = tnl_memory_allocate(device, (size_t)a->of.rows * sizeof *positions);
    void *host = malloc(count * size);
    call->workspace = tnl_memory_allocate(device, workspace);
    a->o = malloc(count * sizeof *a->o);
    bool good = positions && on_device && host && a->o && (call->workspace || !workspace);
    for (int64_t i = 0; good && i < a->of.rows; i++)
        positions[i] = position_of(&a->of, i);
    call->positions = on_device;
    call->o = o;
    good = good &&
           tnl_memory_to_device(device, on_device, positions,
                                (size_t)a->of.rows * sizeof *positions) &&
           (!workspace || tnl_memory_queue_zero(a->context, call->workspace, workspace)) &&
           (a->of.decoding ? attention_decode : attention_prefill)(call) == TNL_OK &&
           tnl_memory_synchronize(a->context) &&
           tnl_memory_from_device(device, host, o, count * size);
    for (size_t i = 0; good && i < count; i++)
        a->o[i] = tnl_load(host, a->type, (int64_t)i);
    tnl_memory_free(device, call->workspace);
    tnl_memory_free(device, on_device);
    free(positions);
    free(host);
    return good;
}

static void judge_attention(report *r, tnl_context *context, attention_case of, uint64_t seed) {
    attention_data a = {.of = of,
                        .context = context,
                        .type = context->device == TNL_CPU ? TNL_FLOAT32 : TNL_BFLOAT16,
                        .sequences = of.decoding ? of.rows : 1,
                        .capacity = of.position + (of.decoding ? 1 : of.rows) + 5};
    const double bound = a.type == TNL_FLOAT32 ? 1e-5 : 3.5e-3;
    const int64_t cached = a.sequences * of.heads * a.capacity * D, rows = of.rows * of.heads * D;
    double *nothing = NULL;
    void *packed = make_tensor(&a, 3 * rows, 0, seed, &a.packed);
    void *k = make_tensor(&a, cached, 1, seed, &a.k), *v = make_tensor(&a, cached, 2, seed, &a.v);
    void *o = make_tensor(&a, rows, 3, seed, &nothing);
    attention_call call = {.context = context,
                           .heads = of.heads,
                           .capacity = a.capacity,
                           .packed = packed,
                           .k = k,
                           .v = v,
                           .rows = of.rows,
                           .longest = of.position,
                           .first = of.position};
    attention_set_turns(&call);
    double error = INFINITY, ratio = 0;
    const bool ran = packed && k && v && o && turn(&a) && run_attention(&a, &call, o) &&
                     judge_slices(&a, &error, &ratio);
    report_case(
        r, error <= bound && ratio <= 1, error, bound,
        "%s h:%d rows:%lld pos:%lld apart:%lld seed:%llu: %.3g of the largest error allowed "
        "%s",
        of.decoding ? "decode" : "prefill", of.heads, (long long)of.rows, (long long)of.position,
        (long long)of.apart, (unsigned long long)seed, ratio,
        ran ? "" : tnl_context_error(context));
    void *device[] = {packed, k, v, o};
    double *host[] = {a.packed, a.k, a.v, a.turned, a.o, nothing};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        tnl_memory_free(context->device, device[i]);
    for (size_t i = 0; i < sizeof host / sizeof *host; i++)
        free(host[i]);
}

/* A position of each kind: the first, few, around a split's and a tile's edges, many. */
static void verify_attention(report *r, tnl_context *context) {
    static const attention_case cases[] = {
        {true, 1, 1, 0, 0},       {true, 3, 1, 1, 0},      {true, 2, 1, 63, 0},
        {true, 8, 1, 64, 0},      {true, 5, 3, 129, 50},   {true, 8, 1, 1000, 0},
        {true, 8, 1, 4097, 0},    {true, 32, 20, 300, 13}, {true, 1, 1, 70000, 0},
        {true, 4, 2, 5000, 5000}, {false, 1, 1, 0, 0},     {false, 2, 2, 0, 0},
        {false, 3, 64, 0, 0},     {false, 1, 127, 1, 0},   {false, 2, 129, 0, 0},
        {false, 1, 300, 77, 0},   {false, 4, 65, 1000, 0}, {false, 1, 1, 500, 0},
        {false, 1, 40, 65500, 0}, {false, 2, 1025, 0, 0}};
    const size_t count = sizeof cases / sizeof *cases;
    if (report_begin(r, "transformer_attention", "", ""))
        for (size_t i = 0; i < count; i++)
            judge_attention(r, context, cases[i], r->seed + i);
    /* Hopper has a kernel of its own for prefilling; the others' runs there, too. */
    tnl_context older = *context;
    older.compute_capability = 80;
    if (context->compute_capability == 90 && report_begin(r, "transformer_attention", "older", ""))
        for (size_t i = 0; i < count; i++)
            if (!cases[i].decoding)
                judge_attention(r, &older, cases[i], r->seed + i);
}

/* ---- the whole ---------------------------------------------------------------------------- */

enum { VOCABULARY = 320, TOKENS = 150, SLOTS = 2 };

typedef struct filler {
    tnl_context *context;
    uint64_t seed, stream;
} filler;

/* Normal, of a size that keeps that of what is multiplied. */
static bool fill(void *user, const tnl_tensor *weight) {
    filler *f = user;
    const int64_t count = weight->shape[0] * weight->shape[1];
    const double scale = 1 / sqrt((double)weight->shape[1]);
    void *made = malloc((size_t)count * tnl_type_size(weight->type));
    f->stream++;
    for (int64_t i = 0; made && i < count; i++)
        tnl_store(made, weight->type, i, scale * random_normal(f->seed, f->stream, (uint64_t)i));
    const bool filled = made && tnl_memory_to_device(f->context->device, weight->data, made,
                                                     (size_t)count * tnl_type_size(weight->type));
    free(made);
    return filled;
}

/* The last logits, as float32 on the host. */
static bool read_logits(tnl_context *context, const transformer_state *state, float *logits) {
    const tnl_tensor t = transformer_logits(state);
    const size_t count = (size_t)(t.shape[0] * t.shape[1]), bytes = count * tnl_type_size(t.type);
    void *stored = malloc(bytes);
    const bool read = stored && tnl_memory_synchronize(context) &&
                      tnl_memory_from_device(context->device, stored, t.data, bytes);
    if (read)
        tnl_convert(logits, TNL_FLOAT32, stored, t.type, count);
    free(stored);
    return read;
}

/* The tokens, the first `at_once` of them in one prefill of slot 1, the rest one by one in both
 * slots; the logits of that slot after the last. */
static bool feed(transformer *model, tnl_context *context, const int32_t *tokens, int64_t at_once,
                 float *logits) {
    const transformer_options options = {SLOTS, TOKENS, TOKENS};
    transformer_state *state;
    if (transformer_state_create(model, &options, &state) != TNL_OK)
        return false;
    float both[SLOTS * VOCABULARY];
    bool fed = true;
    if (at_once > 0)
        fed = transformer_prefill(state, 1, tokens, at_once / 3 + 1) == TNL_OK &&
              (at_once / 3 + 1 == at_once ||
               transformer_prefill(state, 1, tokens + at_once / 3 + 1, at_once - at_once / 3 - 1) ==
                   TNL_OK);
    for (int64_t i = at_once; fed && i < TOKENS; i++)
        fed = transformer_decode(state, (int32_t[]){5, tokens[i]}) == TNL_OK;
    fed = fed && read_logits(context, state, both);
    if (fed)
        memcpy(logits, both + (at_once < TOKENS ? VOCABULARY : 0), VOCABULARY * sizeof *logits);
    transformer_state_destroy(state);
    return fed;
}

static void verify_forms(report *r, tnl_context *context) {
    const tnl_config config = {.vocab_size = VOCABULARY,
                               .embed_dim = 2 * D,
                               .hidden_dim = 2 * D,
                               .glu_dim = 352,
                               .layers = 3,
                               .heads = 2,
                               .tie = TNL_TIE_NO};
    filler f = {context, r->seed, 0};
    int32_t tokens[TOKENS];
    float logits[3][VOCABULARY];
    transformer *model;
    if (!report_begin(r, "transformer_forms", "", ""))
        return;
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = (int32_t)(random_bits(r->seed, 99, (uint64_t)i) % VOCABULARY);
    bool ran = transformer_create(context, &config, fill, &f, &model) == TNL_OK;
    for (int i = 0; ran && i < 3; i++)
        ran = feed(model, context, tokens, (int64_t[]){TOKENS, 0, 101}[i], logits[i]);
    /* Between two ways of rounding: bfloat16 has 3 layers' worth of them. */
    const double bound = context->device == TNL_CPU ? 1e-5 : 2e-2;
    for (int i = 1; i < 3; i++) {
        const double error = ran ? fed_error(logits[i], logits[0], 1, VOCABULARY) : INFINITY;
        report_case(r, error <= bound, error, bound, "%s: %s", i == 1 ? "token by token" : "both",
                    ran ? "differs from all at once" : tnl_context_error(context));
    }
    transformer_destroy(model);
}

void verify_transformer(report *r, tnl_context *context) {
    verify_attention(r, context);
    verify_forms(r, context);
}
