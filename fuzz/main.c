/*
 * tnl-fuzz: feeds the fuzz target with damaged inputs, where libFuzzer is not there to do it.
 *
 *     tnl-fuzz [--seconds=N | --inputs=N] [--seed=N] [--results=DIR]
 *
 * Each input starts as a good one and is changed some times: bytes, stretches, numbers, words of
 * the formats. In a .safetensors file the header's length is mostly set right afterwards, so that
 * what is behind it is read at all. The input under way is kept in a file, fuzz-input, by a
 * handler of the signal that a finding ends in.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/random.h"
#include "fuzz/record.h"
#include "fuzz/target.h"

enum { MOST_BYTES = 4096, LENGTH_BYTES = 8 };

/* The parser's number, and its input. */
static struct {
    uint8_t bytes[MOST_BYTES];
    size_t size;
    size_t data_bytes; /* of a .safetensors file: what follows its header */
} input;

static uint64_t seed = 1, drawn;

/* Below n. */
static size_t draw(size_t n) {
    return (size_t)(random_bits(seed, 0, drawn++) % n);
}

/* ---- good inputs -------------------------------------------------------------------------- */

static const char safetensors[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"position\":\"7\"},"
    "\"model.embed_tokens.weight\":{\"dtype\":\"BF16\",\"shape\":[4,3],\"data_offsets\":[0,24]},"
    "\"lrpe.theta\":{\"dtype\":\"F32\",\"shape\":[2,1,2],\"data_offsets\":[24,40]},"
    "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[40,48]},"
    "\"empty\":{\"dtype\":\"F16\",\"shape\":[0,5],\"data_offsets\":[48,48]}}";
enum { DATA_BYTES = 48 };

static const char config[] =
    "{\"model_type\":\"transnormer\",\"norm_type\":\"simplermsnorm\",\"linear_act_fun\":\"silu\","
    "\"bias\":false,\"tie_word_embeddings\":true,\"no_scale_embedding\":false,\"bos_token_id\":1,"
    "\"eos_token_id\":2,\"pad_token_id\":null,\"vocab_size\":320,\"decoder_embed_dim\":64,"
    "\"decoder_layers\":3,\"decoder_attention_heads\":4,\"hidden_dim\":64,\"glu_dim\":176,"
    "\"linear_use_lrpe_list\":[1,0,true]}";

static const char shard_index[] =
    "{\"metadata\":{\"total_size\":48},\"weight_map\":{"
    "\"model.embed_tokens.weight\":\"model-00001-of-00002.safetensors\","
    "\"lm_head.weight\":\"model-00002-of-00002.safetensors\"}}";

static void append(const void *bytes, size_t count) {
    memcpy(input.bytes + input.size, bytes, count);
    input.size += count;
}

static void set_length(size_t header_bytes) {
    for (int i = 0; i < LENGTH_BYTES; i++)
        input.bytes[1 + i] = (uint8_t)((uint64_t)header_bytes >> 8 * i);
}

/* A header of a few tensors with sizes of their own; where their data end. */
static size_t append_tensors(void) {
    static const struct {
        const char *name;
        size_t size;
    } types[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}};
    char text[256], shape[64];
    size_t end = 0;
    append("{", 1);
    for (size_t i = 0, count = draw(4); i < count; i++) {
        const size_t type = draw(sizeof types / sizeof *types), rank = draw(4), begin = end;
        size_t elements = 1;
        int length = 0;
        shape[0] = '\0';
        for (size_t j = 0; j < rank; j++) {
            const size_t size = draw(5);
            elements *= size;
            length += snprintf(shape + length, sizeof shape - (size_t)length, "%s%zu", j ? "," : "",
                               size);
        }
        end += elements * types[type].size;
        length = snprintf(text, sizeof text,
                          "%s\"t%zu\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                          i ? "," : "", i, types[type].name, shape, begin, end);
        append(text, (size_t)length);
    }
    append("}", 1);
    return end;
}

static void start_safetensors(void) {
    static const uint8_t zeros[MOST_BYTES / 2];
    append(zeros, LENGTH_BYTES);
    input.data_bytes = DATA_BYTES;
    if (draw(2))
        input.data_bytes = append_tensors();
    else
        append(safetensors, sizeof safetensors - 1);
    set_length(input.size - 1 - LENGTH_BYTES);
    append(zeros, input.data_bytes);
}

static void start(uint8_t parser) {
    input.size = 0;
    append(&parser, 1);
    if (parser == FUZZ_SAFETENSORS) {
        start_safetensors();
    } else if (parser == FUZZ_CONFIG) {
        append(config, sizeof config - 1);
    } else {
        append(shard_index, sizeof shard_index - 1);
    }
}

/* ---- changes ------------------------------------------------------------------------------ */

/* Among them numbers at the ends of ranges, and one that takes [2,1,2] past 2^64 and back to 4. */
static const char *const words[] = {"0",
                                    "1",
                                    "-1",
                                    "48",
                                    "49",
                                    "2147483648",
                                    "9223372036854775807",
                                    "-9223372036854775808",
                                    "18446744073709551616",
                                    "2305843009213693954",
                                    "1e999",
                                    "0.5",
                                    "null",
                                    "true",
                                    "[]",
                                    "{}",
                                    "[0,48]",
                                    "\"\"",
                                    "\"F32\"",
                                    "\"F64\"",
                                    "\"BF16\"",
                                    "\"I32\"",
                                    "\"dtype\":",
                                    "\"shape\":",
                                    "\"data_offsets\":",
                                    "\\u0000",
                                    "\\ud800",
                                    "../",
                                    ".safetensors",
                                    "\"a\":",
                                    ",",
                                    ":",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    "\"",
                                    "[[[[[[[["};

/* Put `count` bytes in the place of `removed` ones, as far as there is room. */
static void replace(size_t at, size_t removed, const void *bytes, size_t count) {
    if (removed > input.size - at)
        removed = input.size - at;
    if (input.size - removed + count > MOST_BYTES)
        return;
    memmove(input.bytes + at + count, input.bytes + at + removed, input.size - at - removed);
    memcpy(input.bytes + at, bytes, count);
    input.size = input.size - removed + count;
}

/* The digits from `at` on. */
static size_t number_at(size_t at) {
    size_t digits = 0;
    while (at + digits < input.size && input.bytes[at + digits] >= '0' &&
           input.bytes[at + digits] <= '9')
        digits++;
    return digits;
}

static void put_number(void) {
    char text[24];
    for (size_t tries = 0; tries < 64; tries++) {
        const size_t at = 1 + draw(input.size - 1), digits = number_at(at);
        if (digits == 0)
            continue;
        const int length = snprintf(text, sizeof text, "%zu", draw((size_t)1 << draw(24)));
        replace(at, digits, text, (size_t)length);
        return;
    }
}

static void change(void) {
    uint8_t stretch[64];
    if (input.size < 2)
        return;
    const size_t at = 1 + draw(input.size - 1);
    const size_t count = 1 + draw(sizeof stretch);
    switch (draw(6)) {
    case 0:
        input.bytes[at] ^= (uint8_t)(1u << draw(8));
        break;
    case 1:
        input.bytes[at] = (uint8_t)draw(256);
        break;
    case 2: /* a stretch goes */
        replace(at, count, stretch, 0);
        break;
    case 3: { /* a stretch comes again elsewhere */
        const size_t some = count < input.size - at ? count : input.size - at;
        memcpy(stretch, input.bytes + at, some);
        replace(1 + draw(input.size - 1), draw(2) * some, stretch, some);
        break;
    }
    case 4: {
        const char *word = words[draw(sizeof words / sizeof *words)];
        replace(at, number_at(at), word, strlen(word));
        break;
    }
    default:
        put_number();
    }
}

static void make_input(void) {
    const uint8_t parser = (uint8_t)draw(FUZZ_PARSERS);
    start(parser);
    for (size_t changes = draw(1 + draw(8)); changes > 0; changes--)
        change();
    const size_t around = 1 + LENGTH_BYTES + input.data_bytes;
    if (input.size > around && parser == FUZZ_SAFETENSORS && draw(8) > 0)
        set_length(input.size - around);
    if (input.size > 0)
        input.bytes[0] = parser;
}

/* ---- running ------------------------------------------------------------------------------ */

/* Only what a signal's handler may do. */
static void keep_input(int signal_number) {
    const int file = open("fuzz-input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file >= 0 && write(file, input.bytes, input.size) == (ssize_t)input.size)
        close(file);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* How long, or for how many inputs; and where the record goes, NULL: nowhere. */
typedef struct settings {
    unsigned long long inputs;
    double limit;
    const char *results;
} settings;

static bool parse(int argc, char **argv, settings *s) {
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {"inputs", required_argument, NULL, 'i'},
                                            {"seed", required_argument, NULL, 'r'},
                                            {"results", required_argument, NULL, 'o'},
                                            {0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == '?')
            return false;
        if (option == 'o') {
            s->results = optarg;
            continue;
        }
        char *end;
        const double value = strtod(optarg, &end);
        if (end == optarg || *end || !(value >= 0 && value < 1e18)) {
            fprintf(stderr, "tnl-fuzz: %s: expected a number\n", optarg);
            return false;
        }
        if (option == 's')
            s->limit = value;
        else if (option == 'i')
            s->inputs = (unsigned long long)value;
        else
            seed = (uint64_t)value;
    }
    return optind == argc;
}

/* Feed inputs, a thousand between two looks at the clock; the seconds they took. */
static double feed(const settings *s, unsigned long long *done) {
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    double seconds = 0;
    while (s->inputs ? *done < s->inputs : seconds < s->limit) {
        for (int i = 0; i < 1000; i++) {
            make_input();
            LLVMFuzzerTestOneInput(input.bytes, input.size);
        }
        *done += 1000;
        clock_gettime(CLOCK_MONOTONIC, &now);
        seconds =
            (double)(now.tv_sec - begin.tv_sec) + 1e-9 * (double)(now.tv_nsec - begin.tv_nsec);
    }
    return seconds;
}

int main(int argc, char **argv) {
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    settings s = {.limit = 60};
    unsigned long long done = 0;
    if (!parse(argc, argv, &s)) {
        fputs("usage: tnl-fuzz [--seconds=60] [--inputs=N, whatever time they take] [--seed=1]\n"
              "                [--results=DIR, where DIR/<device>/fuzz.json is written]\n",
              stderr);
        return 2;
    }
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], keep_input);
    const double seconds = feed(&s, &done);
    printf("%llu inputs in %.1f s, no finding\n", done, seconds);
    return s.results && !fuzz_record(s.results, done, seconds, seed);
}
