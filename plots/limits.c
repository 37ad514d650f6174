/*
 * Holds rows against copies and bare GEMMs of the same sizes (plots/limits.h).
 *
 * What is wanted is data: an operator, the shapes, a quantity of each shape's fastest row, and the
 * side on which it is to lie of a number, at each shape or in the geometric mean. The numbers
 * wanted are this project's own, for an H200 in bfloat16; all others come out of the rows.
 */
#define _GNU_SOURCE /* FNM_EXTMATCH */
#include "plots/limits.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plots/text.h"

/* What is held against the number wanted. NAN: the row lacks what it takes. */
typedef double quantity(const struct results *results, const struct row *row);

static quantity copy_share_same_size, copies_allowed, copy_share, gemms, gemms_gain, gemms_and_copy,
    milliseconds, doubling, packed_speed, teraflops, prefill_rate;

enum side { AT_LEAST, AT_MOST };
enum over { EACH, MEAN };

static const struct limit {
    const char *words;
    const char *operator_name, *shapes; /* a pattern of the shell's kind */
    quantity *of;
    enum side side;
    double wanted;
    enum over over;
    const char *variant; /* NULL: of each shape the fastest counts */
} limits[] = {
#define ATTENTION(pass, shapes, least)                                                             \
    {                                                                                              \
        "Attention " pass ": of the copy rate", "attention_" pass, shapes "/decay:*", copy_share,  \
            AT_LEAST, least, EACH, NULL                                                            \
    }
    ATTENTION("forward", "b:4/h:32/n:2048/d:128/e:128", 0.74),
    ATTENTION("backward", "b:4/h:32/n:2048/d:128/e:128", 0.50),
    ATTENTION("forward", "b:4/h:32/n:@(8192|32768)/d:128/e:128", 0.83),
    ATTENTION("backward", "b:4/h:32/n:@(8192|32768)/d:128/e:128", 0.55),
    ATTENTION("forward", "b:1/h:64/n:131072/d:128/e:128", 0.70),
    ATTENTION("backward", "b:1/h:64/n:131072/d:128/e:128", 0.45),
    ATTENTION("forward", "b:1/h:16/n:65536/d:128/e:128", 0.60),
    ATTENTION("backward", "b:1/h:16/n:65536/d:128/e:128", 0.40),
    ATTENTION("forward", "b:4/h:32/n:8192/d:256/e:128", 0.65),
    ATTENTION("backward", "b:4/h:32/n:8192/d:256/e:128", 0.40),
#define FEW_HEADS(pass, heads, most)                                                               \
    {                                                                                              \
        "Attention " pass ", few heads: time", "attention_" pass,                                  \
            "b:1/h:" heads "/n:8192/d:128/e:128/decay:*", milliseconds, AT_MOST, most, EACH, NULL  \
    }
    FEW_HEADS("forward", "32", 0.095),
    FEW_HEADS("backward", "32", 0.200),
    FEW_HEADS("forward", "16", 0.055),
    FEW_HEADS("backward", "16", 0.130),
    FEW_HEADS("forward", "8", 0.036),
    FEW_HEADS("backward", "8", 0.075),
#define TWICE_AS_LONG(pass, variant)                                                               \
    {"Attention " pass ", `" variant "`: time over that of half the length",                       \
     "attention_" pass,                                                                            \
     "b:4/h:32/n:@(16384|32768|65536)/d:128/e:128/decay:released",                                 \
     doubling,                                                                                     \
     AT_LEAST,                                                                                     \
     1.9,                                                                                          \
     EACH,                                                                                         \
     variant},                                                                                     \
    {                                                                                              \
        "The same", "attention_" pass,                                                             \
            "b:4/h:32/n:@(16384|32768|65536)/d:128/e:128/decay:released", doubling, AT_MOST, 2.1,  \
            EACH, variant                                                                          \
    }
    TWICE_AS_LONG("forward", "hopper"),
    TWICE_AS_LONG("backward", "hopper"),
    TWICE_AS_LONG("forward", "chunked"),
    TWICE_AS_LONG("backward", "chunked"),
    {"Attention, slices of one packed tensor: speed over that of tensors of their own",
     "attention_*", "*/packed", packed_speed, AT_LEAST, 0.9, EACH, NULL},

#define NORM(name, operator_name, mean)                                                            \
    {                                                                                              \
        name ", 64 MiB a tensor and more: of a copy's rate", operator_name, "m:32768/D:*",         \
            copy_share_same_size, AT_LEAST, mean, MEAN, NULL                                       \
    }
#define SMALL_NORM(name, operator_name)                                                            \
    {name ", 4096 rows: time over 1.15 copies, or over one and 0.7 µs",                            \
     operator_name,                                                                                \
     "m:4096/D:*",                                                                                 \
     copies_allowed,                                                                               \
     AT_MOST,                                                                                      \
     1,                                                                                            \
     EACH,                                                                                         \
     NULL},                                                                                        \
    {                                                                                              \
        name ", up to 256 rows: the same", operator_name, "m:@(1|16|256)/D:*", copies_allowed,     \
            AT_MOST, 1, EACH, NULL                                                                 \
    }
    NORM("SRMSNorm forward", "srmsnorm_forward", 0.97),
    {"The same, each", "srmsnorm_forward", "m:32768/D:*", copy_share_same_size, AT_LEAST, 0.94,
     EACH, NULL},
    NORM("SRMSNorm backward", "srmsnorm_backward", 0.97),
    {"The same, each", "srmsnorm_backward", "m:32768/D:*", copy_share_same_size, AT_LEAST, 0.94,
     EACH, NULL},
    NORM("SRMSNorm with residual, forward", "srmsnorm_residual_forward", 0.95),
    NORM("SRMSNorm with residual, backward", "srmsnorm_residual_backward", 0.95),
    NORM("SRMSNorm with gate, forward", "srmsnorm_gate_forward", 0.95),
    NORM("SRMSNorm with gate, backward", "srmsnorm_gate_backward", 0.95),
    SMALL_NORM("SRMSNorm forward", "srmsnorm_forward"),
    SMALL_NORM("SRMSNorm backward", "srmsnorm_backward"),
    SMALL_NORM("SRMSNorm with residual, forward", "srmsnorm_residual_forward"),
    SMALL_NORM("SRMSNorm with residual, backward", "srmsnorm_residual_backward"),
    SMALL_NORM("SRMSNorm with gate, forward", "srmsnorm_gate_forward"),
    SMALL_NORM("SRMSNorm with gate, backward", "srmsnorm_gate_backward"),

#define GATE(shape, most)                                                                          \
    {                                                                                              \
        "SGLU's gate: time over two bare GEMMs", "sglu_gate", "m:8192/" shape, gemms, AT_MOST,     \
            most, EACH, NULL                                                                       \
    }
    GATE("D:1024/g:2816", 1.05),
    GATE("D:2048/g:5632", 0.98),
    GATE("D:4096/g:11264", 1.00),
    GATE("D:8192/g:22016", 1.02),
#define FORWARD(shape, least)                                                                      \
    {                                                                                              \
        "SGLU: three bare GEMMs and a product, over its time", "sglu_forward", "m:8192/" shape,    \
            gemms_gain, AT_LEAST, least, EACH, NULL                                                \
    }
    FORWARD("D:1024/g:2816", 1.12),
    FORWARD("D:2048/g:5632", 1.07),
    FORWARD("D:4096/g:11264", 1.03),
    FORWARD("D:8192/g:22016", 1.01),
    {"SGLU's gradients: time over six bare GEMMs", "sglu_backward", "m:8192/D:*", gemms, AT_MOST,
     1.03, EACH, NULL},
    {"Packed projection with swish: time over its bare GEMM", "qkvu_projection_forward",
     "m:8192/D:4096/k:16384/lrpe:0", gemms, AT_MOST, 1.02, EACH, NULL},
    {"The same with LRPE: time over the GEMM and a copy of as much as it writes more",
     "qkvu_projection_forward", "m:8192/D:4096/k:16384/lrpe:1", gemms_and_copy, AT_MOST, 1.05, EACH,
     NULL},

#define WEIGHTS(rows, least)                                                                       \
    {"SGLU's gate, " rows ": of the copy rate",                                                    \
     "sglu_gate",                                                                                  \
     rows "/D:4096/g:11264",                                                                       \
     copy_share,                                                                                   \
     AT_LEAST,                                                                                     \
     least,                                                                                        \
     EACH,                                                                                         \
     NULL},                                                                                        \
    {                                                                                              \
        "SGLU's down projection, " rows ": of the copy rate", "sglu_down", rows "/D:4096/g:11264", \
            copy_share, AT_LEAST, least, EACH, NULL                                                \
    }
    WEIGHTS("m:1", 0.92),
    WEIGHTS("m:16", 0.86),

#define DECODE(batch)                                                                              \
    {                                                                                              \
        "Decode, batch " batch ": of a copy's rate", "decode", "b:" batch "/h:32/d:128/e:128",     \
            copy_share_same_size, AT_LEAST, 0.95, EACH, NULL                                       \
    }
    DECODE("16"),
    DECODE("64"),
    DECODE("256"),
    {"Decode, batch 1: time", "decode", "b:1/h:32/d:128/e:128", milliseconds, AT_MOST, 5e-3, EACH,
     NULL},

#define MODEL(size, batch, most)                                                                   \
    {                                                                                              \
        "A model's step, batch " batch ": time", "model_decode",                                   \
            "size:" size "/g:*/b:" batch "/pos:1024", milliseconds, AT_MOST, most, EACH, "tnl"     \
    }
    MODEL("385M", "1", 0.34),
    MODEL("1B", "1", 0.62),
    MODEL("7B", "1", 3.95),
    MODEL("7B", "64", 6.2),
    {"A model's prefill: Tflop/s", "model_prefill", "size:385M/*", teraflops, AT_LEAST, 480, EACH,
     "tnl"},
    {"A model's prefill: Tflop/s", "model_prefill", "size:1B/*", teraflops, AT_LEAST, 600, EACH,
     "tnl"},
    {"A model's prefill: over 630 Tflop/s, or over 0.93 of its GEMMs' rate", "model_prefill",
     "size:7B/*", prefill_rate, AT_LEAST, 1, EACH, "tnl"},
};
enum { LIMITS = sizeof limits / sizeof *limits };

/* ---- quantities ---------------------------------------------------------------------------- */

/* The row whose name is the first `length` characters of this one. */
static const struct row *find_row(const struct results *results, const char *name, size_t length) {
    for (size_t i = 0; i < results->count; i++)
        if (strlen(results->row[i].name) == length && !strncmp(results->row[i].name, name, length))
            return &results->row[i];
    return NULL;
}

static double known(double number) {
    return number > 0 ? number : NAN;
}

static double copy_share_same_size(const struct results *results, const struct row *row) {
    (void)results;
    return known(row->copy_share_same_size);
}

/* Time over what a small row is allowed. */
static double copies_allowed(const struct results *results, const struct row *row) {
    const double copy = copy_share_same_size(results, row) * row->time;
    return row->time / fmax(1.15 * copy, copy + 0.7e-3);
}

static double copy_share(const struct results *results, const struct row *row) {
    (void)results;
    return known(row->copy_share);
}

static double gemms_gain(const struct results *results, const struct row *row) {
    (void)results;
    return known(row->bare_gemms_share);
}

static double gemms(const struct results *results, const struct row *row) {
    return 1 / gemms_gain(results, row);
}

/* The row of the same variant, type and size without LRPE. */
static const struct row *without_lrpe(const struct results *results, const struct row *row) {
    const size_t length = strlen(row->name);
    for (size_t i = 0; i < results->count; i++)
        if (strlen(results->row[i].name) == length &&
            !strncmp(results->row[i].name, row->name, length - 1) && &results->row[i] != row)
            return &results->row[i];
    return NULL;
}

/* LRPE doubles Q and K in y. */
static double gemms_and_copy(const struct results *results, const struct row *row) {
    const struct row *plain = without_lrpe(results, row);
    if (!plain)
        return NAN;
    const double copy = 1e3 * (row->bytes - plain->bytes) / known(results->copy_rate);
    return row->time / (gemms_gain(results, row) * row->time + copy);
}

static double milliseconds(const struct results *results, const struct row *row) {
    (void)results;
    return row->time;
}

/* Time over that of the same variant at half the length. */
static double doubling(const struct results *results, const struct row *row) {
    const char *n = strstr(row->name, "/n:");
    int digits = 0;
    const long length = n ? strtol(n + 3, NULL, 10) : 0;
    if (!length || sscanf(n, "/n:%*d%n", &digits) < 0)
        return NAN;
    char half[256];
    snprintf(half, sizeof half, "%.*s/n:%ld%s", (int)(n - row->name), row->name, length / 2,
             n + digits);
    const struct row *before = find_row(results, half, strlen(half));
    return before && is_measured(before) ? row->time / before->time : NAN;
}

static double packed_speed(const struct results *results, const struct row *row) {
    const struct row *apart = find_row(results, row->name, strlen(row->name) - strlen("/packed"));
    return apart && is_measured(apart) ? apart->time / row->time : NAN;
}

static double teraflops(const struct results *results, const struct row *row) {
    (void)results;
    return known(row->flops / (1e9 * row->time));
}

static double prefill_rate(const struct results *results, const struct row *row) {
    return fmax(teraflops(results, row) / 630, row->bare_gemms_share / 0.93);
}

/* ---- judging ------------------------------------------------------------------------------- */

static bool is_of(const struct limit *limit, const struct row *row) {
    return !fnmatch(limit->operator_name, row->operator_name, 0) && !strcmp(row->type, "bf16") &&
           !row->only_named && is_measured(row) &&
           (!limit->variant || !strcmp(row->variant, limit->variant)) &&
           !fnmatch(limit->shapes, row->shape, FNM_EXTMATCH);
}

/* Whether no other row of its shape is faster. */
static bool is_fastest(const struct results *results, const struct limit *limit,
                       const struct row *row) {
    for (size_t i = 0; i < results->count; i++) {
        const struct row *other = &results->row[i];
        if (is_of(limit, other) && !strcmp(other->operator_name, row->operator_name) &&
            !strcmp(other->shape, row->shape) && other->time < row->time)
            return false;
    }
    return true;
}

/* The limit's number, over all of its shapes. */
struct measured {
    int shapes;
    double mean;  /* geometric */
    double worst; /* on the side away from what is wanted */
    const struct row *worst_row;
};

static struct measured measure_limit(const struct results *results, const struct limit *limit) {
    struct measured measured = {0};
    double logarithms = 0;
    for (size_t i = 0; i < results->count; i++) {
        const struct row *row = &results->row[i];
        if (!is_of(limit, row) || !is_fastest(results, limit, row))
            continue;
        const double value = limit->of(results, row);
        if (!isfinite(value))
            continue;
        logarithms += log(value);
        if (!measured.shapes++ ||
            (limit->side == AT_LEAST ? value < measured.worst : value > measured.worst)) {
            measured.worst = value;
            measured.worst_row = row;
        }
    }
    measured.mean = exp(logarithms / measured.shapes);
    return measured;
}

static void write_number(FILE *file, const struct limit *limit, double number) {
    if (limit->of == milliseconds)
        fputs(format_time(number).s, file);
    else
        fprintf(file, "%.3f", number);
}

static void write_limit(FILE *file, const struct limit *limit, const struct measured *measured) {
    const double value = limit->over == MEAN ? measured->mean : measured->worst;
    fprintf(file, "| %s | %s ", limit->words, limit->side == AT_LEAST ? "at least" : "at most");
    write_number(file, limit, limit->wanted);
    if (!measured->shapes) {
        fprintf(file, " | **not measured** | no row `%s/*/bf16/%s` has it |\n",
                limit->operator_name, limit->shapes);
        return;
    }
    const bool holds = limit->side == AT_LEAST ? value >= limit->wanted : value <= limit->wanted;
    fprintf(file, " | **%s** | ", holds ? "met" : "missed");
    write_number(file, limit, value);
    if (limit->over == MEAN)
        fprintf(file, " in the mean of %d shapes", measured->shapes);
    else
        fprintf(file, "%s: `%s/%s`", measured->shapes > 1 ? " at worst" : "",
                measured->worst_row->variant, measured->worst_row->shape);
    fputs(" |\n", file);
}

void write_limits(FILE *file, const struct results *results) {
    struct measured measured[LIMITS];
    int found = 0;
    for (int i = 0; i < LIMITS; i++) {
        measured[i] = measure_limit(results, &limits[i]);
        found += measured[i].shapes;
    }
    if (!found)
        return;
    fputs(
        "\n## How near the hardware's limits\n\n"
        "What this project sets itself on an H200, in bfloat16, from a cold cache, held against "
        "copies of as many bytes and against cuBLAS's bare GEMMs of the same sizes, which run by "
        "turns with the row. Of each shape the fastest row counts. Models have random weights.\n\n"
        "| what | wanted | verdict | measured |\n|---|---|---|---|\n",
        file);
    for (int i = 0; i < LIMITS; i++)
        write_limit(file, &limits[i], &measured[i]);
}
