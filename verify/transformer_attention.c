/*
 * The Transformer's attention (transformer/attention.h), against its definition in double precision
 * on the same inputs, as they are stored. What a call stores on its way, turned keys and, on CUDA,
 * the queries of a prefill, is judged against the turning in double, and is then itself an input of
 * the softmax. Each head of a sequence is judged by itself; nothing else of the cache may change.
 */
#include "transformer/attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "core/types.h"
#include "verify/parts.h"

enum { D = ATTENTION_DIM, PAIRS = ATTENTION_PAIRS };

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
    double *turned;  /* packed, with Q and K at their positions */
    double *rounded; /* the same, rounded to the type */
    double *o;       /* what the device says */
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

static int64_t packed_at(const attention_data *a, int64_t row, int part, int head) {
    return ((row * 3 + part) * a->of.heads + head) * D;
}

static bool turn(attention_data *a) {
    const int64_t count = a->of.rows * 3 * a->of.heads * D;
    a->turned = malloc((size_t)count * sizeof *a->turned);
    a->rounded = malloc((size_t)count * sizeof *a->rounded);
    if (!a->turned || !a->rounded)
        return false;
    memcpy(a->turned, a->packed, (size_t)count * sizeof *a->turned);
#pragma omp parallel for
    for (int64_t row = 0; row < a->of.rows; row++)
        for (int part = 0; part < 2; part++)
            for (int head = 0; head < a->of.heads; head++) {
                const int64_t at = packed_at(a, row, part, head);
                rotate(a->packed + at, position_of(&a->of, row), a->turned + at);
            }
    return true;
}

/* The key and value of a sequence's token: those of the call, from `packed`, or cached ones. */
static void find_token(const attention_data *a, const double *packed, int64_t row, int head,
                       int64_t token, const double **k, const double **v) {
    const int64_t first = position_of(&a->of, a->of.decoding ? row : 0);
    const int64_t sequence = a->of.decoding ? row : 0;
    const int64_t cached = ((sequence * a->of.heads + head) * a->capacity + token) * D;
    const int64_t own = a->of.decoding ? row : token - first;
    *k = token < first ? a->k + cached : packed + packed_at(a, own, 1, head);
    *v = token < first ? a->v + cached : packed + packed_at(a, own, 2, head);
}

/* Softmax attention by its definition; scores has room for all tokens. `naive`: what would be kept
 * in memory, or meets V on a tensor core, is rounded to the type. */
static void attend(const attention_data *a, int64_t row, int head, bool naive, double *scores,
                   double *o) {
    const int64_t position = position_of(&a->of, row);
    const double *packed = naive ? a->rounded : a->turned, *k, *v;
    const double *q = packed + packed_at(a, row, 0, head);
    double highest = -INFINITY, total = 0;
    for (int64_t t = 0; t <= position; t++) {
        find_token(a, packed, row, head, t, &k, &v);
        scores[t] = 0;
        for (int i = 0; i < D; i++)
            scores[t] += q[i] * k[i];
        scores[t] /= sqrt(D);
        highest = fmax(highest, scores[t]);
    }
    memset(o, 0, D * sizeof *o);
    for (int64_t t = 0; t <= position; t++) {
        const double weight = exp(scores[t] - highest);
        const double met = naive ? tnl_round(a->type, weight) : weight;
        find_token(a, packed, row, head, t, &k, &v);
        total += weight;
        for (int i = 0; i < D; i++)
            o[i] += met * v[i];
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

/* What the device has of a tensor, as doubles; NULL: it could not be read. */
static double *read_back(const attention_data *a, const void *device, int64_t count) {
    const size_t bytes = (size_t)count * tnl_type_size(a->type);
    void *stored = malloc(bytes);
    double *values = malloc((size_t)count * sizeof *values);
    const bool read =
        stored && values && tnl_memory_from_device(a->context->device, stored, device, bytes);
    for (int64_t i = 0; read && i < count; i++)
        values[i] = tnl_load(stored, a->type, i);
    free(stored);
    if (read)
        return values;
    free(values);
    return NULL;
}

/* The relative error of a row that the call has turned and stored, which then is what attention is
 * judged on where it is read from there. */
static double judge_row(const attention_data *a, const double *stored, double *turned) {
    double wrong = 0, size = 0;
    for (int i = 0; i < D; i++) {
        wrong += (stored[i] - turned[i]) * (stored[i] - turned[i]);
        size += turned[i] * turned[i];
        turned[i] = a->of.decoding ? turned[i] : stored[i];
    }
    const double error = sqrt(wrong / size);
    return error >= 0 ? error : INFINITY;
}

/* A head's cache after the call: the new tokens' rows, and that nothing else has changed. */
static double judge_cache(const attention_data *a, const double *k, const double *v,
                          int64_t sequence, int head) {
    const int64_t first = position_of(&a->of, sequence), count = a->of.decoding ? 1 : a->of.rows;
    double worst = 0;
    for (int64_t token = 0; token < a->capacity; token++) {
        const int64_t at = ((sequence * a->of.heads + head) * a->capacity + token) * D;
        const int64_t row = a->of.decoding ? sequence : token - first;
        const bool is_new = token >= first && token < first + count;
        const double *value = is_new ? a->packed + packed_at(a, row, 2, head) : a->v + at;
        if (memcmp(v + at, value, D * sizeof *v) != 0 ||
            (!is_new && memcmp(k + at, a->k + at, D * sizeof *k) != 0))
            return INFINITY;
        if (is_new)
            worst = fmax(worst, judge_row(a, k + at, a->turned + packed_at(a, row, 1, head)));
    }
    return worst;
}

/* The worst relative error of the rows that the call has stored: new keys, and queries on CUDA. */
static double judge_stored(const attention_data *a, const attention_call *call) {
    const int64_t cached = a->sequences * a->of.heads * a->capacity * D;
    const int64_t count = a->of.rows * 3 * a->of.heads * D;
    const bool queries = a->type != TNL_FLOAT32 && !a->of.decoding;
    double *k = read_back(a, call->k, cached), *v = read_back(a, call->v, cached);
    double *packed = read_back(a, call->packed, count), worst = k && v && packed ? 0 : INFINITY;
    for (int64_t i = 0; worst < INFINITY && i < a->sequences; i++)
        for (int head = 0; head < a->of.heads; head++)
            worst = fmax(worst, judge_cache(a, k, v, i, head));
    for (int64_t row = 0; queries && worst < INFINITY && row < a->of.rows; row++)
        for (int head = 0; head < a->of.heads; head++) {
            const int64_t at = packed_at(a, row, 0, head);
            worst = fmax(worst, judge_row(a, packed + at, a->turned + at));
        }
    for (int64_t i = 0; i < count; i++)
        a->rounded[i] = tnl_round(a->type, a->turned[i]);
    free(k);
    free(v);
    free(packed);
    return worst;
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
    double error = INFINITY, ratio = 0, stored = INFINITY;
    const bool ran = packed && k && v && o && turn(&a) && run_attention(&a, &call, o);
    if (ran && (stored = judge_stored(&a, &call)) < INFINITY)
        judge_slices(&a, &error, &ratio);
    error = fmax(error, stored);
    report_case(
        r, error <= bound && ratio <= 1, error, bound,
        "%s h:%d rows:%lld pos:%lld apart:%lld seed:%llu: %.3g of the largest error allowed "
        "%s",
        of.decoding ? "decode" : "prefill", of.heads, (long long)of.rows, (long long)of.position,
        (long long)of.apart, (unsigned long long)seed, ratio,
        ran ? "" : tnl_context_error(context));
    void *device[] = {packed, k, v, o};
    double *host[] = {a.packed, a.k, a.v, a.turned, a.rounded, a.o, nothing};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        tnl_memory_free(context->device, device[i]);
    for (size_t i = 0; i < sizeof host / sizeof *host; i++)
        free(host[i]);
}

/* A position of each kind: the first, few, around a split's and a tile's edges, many. */
void verify_transformer_attention(report *r, tnl_context *context) {
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
