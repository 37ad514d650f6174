/*
 * Every kind of damage that a model directory can have, one by one: in config.json, in the header
 * of a .safetensors file, in its bytes, among its tensors, and in an index of shards. Each must be
 * refused with a text that names the file and the key or tensor.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verify/damage.h"
#include "verify/parts.h"

#define CONFIG "config.json"
#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define EMBEDDING "model.embed_tokens.weight"
#define QKVU "model.layers.0.token_mixer.qkvu_proj.weight"
#define THETA "model.layers.1.token_mixer.lrpe.theta"
#define L2 "model.layers.1.channel_mixer.l2.weight"
#define HEAD "lm_head.weight"

/* ---- config.json -------------------------------------------------------------------------- */

static const struct {
    const char *key, *value; /* NULL: removed */
} configs[] = {
    {"vocab_size", NULL},
    {"vocab_size", "0"},
    {"vocab_size", "-5"},
    {"vocab_size", "\"64\""},
    {"vocab_size", "64.0"},
    {"vocab_size", "16777217"},
    {"vocab_size", "9223372036854775807"},
    {"decoder_embed_dim", NULL},
    {"decoder_embed_dim", "0"},
    {"hidden_dim", NULL},
    {"hidden_dim", "[32]"},
    {"glu_dim", NULL},
    {"glu_dim", "null"},
    {"decoder_layers", NULL},
    {"decoder_layers", "257"},
    {"decoder_attention_heads", NULL},
    {"decoder_attention_heads", "3"},
    {"decoder_attention_heads", "0"},
    {"linear_use_lrpe_list", NULL},
    {"linear_use_lrpe_list", "1"},
    {"linear_use_lrpe_list", "[1]"},
    {"linear_use_lrpe_list", "[1,0,1]"},
    {"linear_use_lrpe_list", "[1,2]"},
    {"linear_use_lrpe_list", "[1,\"0\"]"},
    {"model_type", "\"llama\""},
    {"norm_type", "\"layernorm\""},
    {"linear_act_fun", "\"relu\""},
    {"linear_act_fun", "3"},
    {"bias", "true"},
    {"bias", "1"},
    {"no_scale_embedding", "\"yes\""},
    {"tie_word_embeddings", "2"},
    {"bos_token_id", "64"},
    {"eos_token_id", "1.5"},
    {"pad_token_id", "-2"},
};

/* Sizes that config.json could have, but for the tensors. */
static const struct {
    const char *key, *value, *tensor;
} mismatches[] = {
    {"vocab_size", "63", EMBEDDING},
    {"decoder_embed_dim", "16", EMBEDDING},
    {"hidden_dim", "64", QKVU},
    {"glu_dim", "47", "channel_mixer.l1.weight"},
    {"decoder_layers", "1", "linear_use_lrpe_list"},
    {"decoder_attention_heads", "4", THETA},
    {"linear_use_lrpe_list", "[1,1]", "model.layers.0.token_mixer.lrpe.theta"},
    {"linear_use_lrpe_list", "[0,0]", THETA},
    {"tie_word_embeddings", "true", HEAD},
};

static void damage_config(const damage_scene *s) {
    static const char *const texts[] = {
        "", "{", "[]", "3", "nonsense", "\"\"", "{\"a\":1,\"a\":2}", "{\"vocab_size\":1e}"};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        const bool done =
            damage_restore(s) && damage_json(s, CONFIG, configs[i].key, configs[i].value);
        damage_judge(s, done, configs[i].value ? configs[i].value : "removed", CONFIG,
                     configs[i].key);
    }
    for (size_t i = 0; i < sizeof mismatches / sizeof *mismatches; i++) {
        const bool done =
            damage_restore(s) && damage_json(s, CONFIG, mismatches[i].key, mismatches[i].value);
        damage_judge(s, done, mismatches[i].key, s->directory, mismatches[i].tensor);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const bool done = damage_restore(s) && damage_write(s, CONFIG, texts[i], strlen(texts[i]));
        damage_judge(s, done, "not JSON, or no object", CONFIG, "is not");
    }
    damage_judge(s, damage_restore(s) && unlink(damage_path(s, CONFIG)) == 0, "no config.json",
                 CONFIG, "No such file");
}

/* ---- the header of a .safetensors file ---------------------------------------------------- */

static const struct {
    const char *what, *tensor, *key, *value;
} headers[] = {
    {"an unknown type", L2, "dtype", "\"F8_E4M3\""},
    {"no type", L2, "dtype", NULL},
    {"a type that is no text", L2, "dtype", "32"},
    {"integers for weights", L2, "dtype", "\"I32\""},
    {"half as many bytes as the shape has", L2, "dtype", "\"F64\""},
    {"twice as many bytes as the shape has", L2, "dtype", "\"BF16\""},
    {"no shape", L2, "shape", NULL},
    {"a shape that is no array", L2, "shape", "1536"},
    {"a shape of other rank", L2, "shape", "[1536]"},
    {"a transposed shape", L2, "shape", "[32,48]"},
    {"too many dimensions", L2, "shape", "[48,32,1,1,1,1,1,1,1]"},
    {"a negative size", L2, "shape", "[-48,-32]"},
    {"a size that is no integer", L2, "shape", "[48.0,32]"},
    {"a size that overflows", L2, "shape", "[4611686018427387904,4]"},
    {"sizes that overflow to the right product", L2, "shape", "[4611686018427387952,32]"},
    {"an empty tensor", L2, "shape", "[0,32]"},
    {"no offsets", L2, "data_offsets", NULL},
    {"one offset", L2, "data_offsets", "[0]"},
    {"offsets that are no integers", L2, "data_offsets", "[0.5,\"6144\"]"},
    {"offsets that run backwards", L2, "data_offsets", "[6144,0]"},
    {"a negative offset", L2, "data_offsets", "[-6144,0]"},
    {"offsets beyond the file", L2, "data_offsets", "[1000000000,1000006144]"},
    {"offsets that overlap", QKVU, "data_offsets", "[0,16384]"},
    {"a tensor left out, and a gap", QKVU, NULL, NULL},
    {"an entry that is no object", QKVU, NULL, "7"},
    {"metadata that are no object", "__metadata__", NULL, "[]"},
    {"metadata that are no text", "__metadata__", NULL, "{\"format\":1}"},
};

static void damage_headers(const damage_scene *s) {
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        const bool done = damage_restore(s) && damage_header(s, SINGLE, headers[i].tensor,
                                                             headers[i].key, headers[i].value);
        /* These are noticed at the tensor behind. */
        const bool elsewhere = (headers[i].key == NULL && headers[i].value == NULL) ||
                               strstr(headers[i].what, "overlap");
        damage_judge(s, done, headers[i].what, SINGLE, elsewhere ? "" : headers[i].tensor);
    }
}

/* ---- its bytes ---------------------------------------------------------------------------- */

typedef size_t spoil(unsigned char *bytes, size_t count);

static size_t cut_all(unsigned char *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return 0;
}
static size_t cut_length(unsigned char *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return 7;
}
static size_t cut_header(unsigned char *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return 100;
}
static size_t cut_data(unsigned char *bytes, size_t count) {
    (void)bytes;
    return count - 1;
}
static size_t add_data(unsigned char *bytes, size_t count) {
    bytes[count] = 0;
    return count + 1;
}
static size_t huge_length(unsigned char *bytes, size_t count) {
    memset(bytes, 0xff, 8);
    return count;
}
static size_t longer_length(unsigned char *bytes, size_t count) {
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)(count - 7) >> 8 * i);
    return count;
}
static size_t no_length(unsigned char *bytes, size_t count) {
    memset(bytes, 0, 8);
    return count;
}
static size_t broken_json(unsigned char *bytes, size_t count) {
    bytes[8] = '[';
    return count;
}
static size_t zero_in_name(unsigned char *bytes, size_t count) {
    bytes[11] = 0;
    return count;
}
static size_t bad_utf8(unsigned char *bytes, size_t count) {
    bytes[11] = 0xc0;
    return count;
}
/* Both l1 of layer 0 and l2 are called l1. */
static size_t same_names(unsigned char *bytes, size_t count) {
    static const char name[] = "layers.0.channel_mixer.l2";
    for (size_t i = 0; i + sizeof name < count; i++)
        if (memcmp(bytes + i, name, sizeof name - 1) == 0)
            bytes[i + sizeof name - 2] = '1';
    return count;
}

static const struct {
    const char *what;
    spoil *spoil;
    const char *part;
} bytes_damages[] = {
    {"an empty file", cut_all, "is empty"},
    {"a file of seven bytes", cut_length, "7 bytes"},
    {"cut within the header", cut_header, "header length"},
    {"cut by one byte", cut_data, HEAD},
    {"a byte too many", add_data, "behind the last tensor"},
    {"a header length of 2^64 - 1", huge_length, "18446744073709551615"},
    {"a header length one beyond the file", longer_length, "header length"},
    {"a header length of 0", no_length, "header is not JSON"},
    {"a header that is no JSON", broken_json, "header is not JSON"},
    {"a name with a zero byte", zero_in_name, "header is not JSON"},
    {"a name that is no UTF-8", bad_utf8, "header is not JSON"},
    {"a name that is there twice", same_names, "duplicate"},
};

static void damage_bytes(const damage_scene *s) {
    for (size_t i = 0; i < sizeof bytes_damages / sizeof *bytes_damages; i++) {
        size_t count = 0;
        bool done = damage_restore(s);
        unsigned char *bytes = damage_read(s, SINGLE, &count); /* with a byte to spare */
        done = done && bytes;
        if (done)
            done = damage_write(s, SINGLE, bytes, bytes_damages[i].spoil(bytes, count));
        damage_judge(s, done, bytes_damages[i].what, SINGLE, bytes_damages[i].part);
        free(bytes);
    }
    bool done = damage_restore(s) && unlink(damage_path(s, SINGLE)) == 0;
    damage_judge(s, done, "no tensors", s->directory, SINGLE);
    done = done && symlink(".", damage_path(s, SINGLE)) == 0;
    damage_judge(s, done, "a directory", SINGLE, "not a regular file");
    unlink(damage_path(s, SINGLE));
}

/* ---- tensors ------------------------------------------------------------------------------ */

static void damage_set(const damage_scene *s) {
    static const char *const needed[] = {EMBEDDING,
                                         QKVU,
                                         THETA,
                                         "model.layers.1.token_mixer.out_proj.weight",
                                         "model.layers.0.channel_mixer.l1.weight",
                                         L2,
                                         "model.layers.1.channel_mixer.l3.weight",
                                         HEAD};
    static const char *const surplus[] = {"model.layers.2.channel_mixer.l2.weight",
                                          "model.layers.0.token_mixer.lrpe.theta", "bias", ""};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        damage_judge(s, damage_restore(s) && damage_tensors(s, SINGLE, needed[i], NULL, NULL),
                     "a tensor missing", SINGLE, needed[i]);
    for (size_t i = 0; i < sizeof surplus / sizeof *surplus; i++)
        damage_judge(s, damage_restore(s) && damage_tensors(s, SINGLE, NULL, surplus[i], L2),
                     "a tensor too many", SINGLE, surplus[i]);
}

/* ---- shards ------------------------------------------------------------------------------- */

static void damage_shards(damage_scene *s) {
    static const char first[] = "model-00001-of-00003.safetensors";
    static const char second[] = "model-00002-of-00003.safetensors";
    static const char *const maps[][2] = {
        {"[]", "weight_map"},
        {"{}", "weight_map"},
        {"{\"a\":1}", "is no text, expected the name"},
        {"{\"a\":\"../model.safetensors\"}", "is ../model.safetensors, expected the name"},
        {"{\"a\":\"/etc/passwd\"}", "is /etc/passwd, expected the name"},
        {"{\"a\":\".safetensors\"}", "is .safetensors, expected the name"},
        {"{\"a\":\"nowhere.safetensors\"}", "nowhere.safetensors"}};
    s->shard_bytes = 40000; /* three files */
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        damage_judge(s, damage_restore(s) && damage_json(s, INDEX, "weight_map", maps[i][0]),
                     maps[i][0], s->directory, maps[i][1]);
    damage_judge(s, damage_restore(s) && damage_json(s, INDEX, "weight_map", NULL), "no weight_map",
                 INDEX, "weight_map");
    damage_judge(s, damage_restore(s) && damage_write(s, INDEX, "{", 1), "an index that is no JSON",
                 INDEX, "is not JSON");
    damage_judge(s, damage_restore(s) && unlink(damage_path(s, second)) == 0, "a shard missing",
                 second, "No such file");
    damage_judge(s, damage_restore(s) && damage_tensors(s, first, EMBEDDING, NULL, NULL),
                 "a tensor missing in its shard", first, EMBEDDING);
    damage_judge(s, damage_restore(s) && damage_tensors(s, second, NULL, EMBEDDING, THETA),
                 "a tensor in two shards", second, EMBEDDING);
    damage_judge(s, damage_restore(s) && damage_tensors(s, second, NULL, "bias", THETA),
                 "a tensor that the index does not have", second, "bias");
    s->shard_bytes = 0;
}

/* ---- all of it ---------------------------------------------------------------------------- */

void verify_damage(report *r, tnl_context *context) {
    damage_scene s = {.r = r,
                      .context = context,
                      .directory = "/tmp/tnl-verify-XXXXXX",
                      .config = damage_small_config()};
    if (!report_begin(r, "damage", "", "") ||
        !report_case(r, mkdtemp(s.directory) != NULL, 0, 0, "no directory in /tmp can be made"))
        return;
    tnl_model *model = NULL;
    const bool good =
        damage_restore(&s) && tnl_model_open(context, s.directory, NULL, &model) == TNL_OK;
    report_case(r, good, 0, 0, "undamaged: %s", tnl_context_error(context));
    tnl_model_close(model);
    damage_config(&s);
    damage_headers(&s);
    damage_bytes(&s);
    damage_set(&s);
    damage_shards(&s);
    damage_clear(&s);
}
