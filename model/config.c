/*
 * config.json, with the keys of the published checkpoints. Every number is checked before anything
 * is computed from it.
 */
#include "model/config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/file_error.h"
#include "model/text_file.h"

typedef struct reader {
    tnl_file_error to;
    const json_t *root;
} reader;

static bool read_size(const reader *from, const char *key, int64_t most, int64_t *size) {
    const json_t *value = json_object_get(from->root, key);
    if (!json_is_integer(value))
        return tnl_file_fail(&from->to, key, "is %s, expected a whole number",
                             value ? "none" : "missing");
    *size = json_integer_value(value);
    if (*size < 1 || *size > most)
        return tnl_file_fail(&from->to, key, "is %lld, expected 1 to %lld", (long long)*size,
                             (long long)most);
    return true;
}

/* absent: -1. */
static bool read_token(const reader *from, const char *key, int64_t vocab_size, int *token) {
    const json_t *value = json_object_get(from->root, key);
    *token = -1;
    if (!value || json_is_null(value))
        return true;
    if (!json_is_integer(value))
        return tnl_file_fail(&from->to, key, "is no whole number, expected a token's id");
    const long long id = json_integer_value(value);
    if (id < -1 || id >= vocab_size)
        return tnl_file_fail(&from->to, key, "is %lld, expected -1 to %lld, vocab_size - 1", id,
                             (long long)vocab_size - 1);
    *token = (int)id;
    return true;
}

/* absent: untouched. */
static bool read_boolean(const reader *from, const char *key, int *value) {
    const json_t *found = json_object_get(from->root, key);
    if (!found || json_is_null(found))
        return true;
    if (!json_is_boolean(found))
        return tnl_file_fail(&from->to, key, "is neither true nor false");
    *value = json_is_true(found);
    return true;
}

/* A key that, where it is there, must say one of two words. */
static bool expect_word(const reader *from, const char *key, const char *word, const char *other) {
    const json_t *found = json_object_get(from->root, key);
    const char *said = json_string_value(found);
    if (!found || (said && (strcmp(said, word) == 0 || strcmp(said, other) == 0)))
        return true;
    return tnl_file_fail(&from->to, key, "is %s%.64s%s, expected \"%s\"", said ? "\"" : "",
                         said ? said : "no text", said ? "\"" : "", word);
}

static bool read_lrpe(const reader *from, tnl_config *config) {
    static const char key[] = "linear_use_lrpe_list";
    const json_t *list = json_object_get(from->root, key);
    if (!json_is_array(list))
        return tnl_file_fail(&from->to, key, "is %s, expected a list", list ? "none" : "missing");
    if (json_array_size(list) != (size_t)config->layers)
        return tnl_file_fail(&from->to, key, "has %zu entries, expected %d, one a layer",
                             json_array_size(list), config->layers);
    for (int i = 0; i < config->layers; i++) {
        const json_t *entry = json_array_get(list, (size_t)i);
        const long long use = json_is_boolean(entry)   ? json_is_true(entry)
                              : json_is_integer(entry) ? json_integer_value(entry)
                                                       : -1;
        if (use != 0 && use != 1)
            return tnl_file_fail(&from->to, key, "entry %d is neither 0 nor 1", i);
        config->lrpe[i] = (unsigned char)use;
    }
    return true;
}

static bool read_sizes(const reader *from, tnl_config *config) {
    int64_t layers = 0, heads = 0;
    if (!read_size(from, "vocab_size", TNL_MAX_DIMENSION, &config->vocab_size) ||
        !read_size(from, "decoder_embed_dim", TNL_MAX_DIMENSION, &config->embed_dim) ||
        !read_size(from, "hidden_dim", TNL_MAX_DIMENSION, &config->hidden_dim) ||
        !read_size(from, "glu_dim", TNL_MAX_DIMENSION, &config->glu_dim) ||
        !read_size(from, "decoder_layers", TNL_MAX_LAYERS, &layers) ||
        !read_size(from, "decoder_attention_heads", TNL_MAX_DIMENSION, &heads))
        return false;
    config->layers = (int)layers;
    config->heads = (int)heads;
    if (config->hidden_dim % heads != 0)
        return tnl_file_fail(&from->to, "decoder_attention_heads",
                             "is %d, expected a divisor of hidden_dim = %lld", config->heads,
                             (long long)config->hidden_dim);
    return true;
}

/* What makes it a TransNormerLLM of this kind and no other. */
static bool check_kind(const reader *from) {
    int bias = 0;
    if (!expect_word(from, "model_type", "transnormer", "transnormer") ||
        !expect_word(from, "norm_type", "simplermsnorm", "simplermsnorm") ||
        !expect_word(from, "linear_act_fun", "silu", "swish") || !read_boolean(from, "bias", &bias))
        return false;
    return !bias || tnl_file_fail(&from->to, "bias", "is true, expected false");
}

static bool read_all(const reader *from, tnl_config *config) {
    int no_scale = 0, tie = -1;
    if (!json_is_object(from->root))
        return tnl_file_fail(&from->to, NULL, "is not a JSON object");
    if (!check_kind(from) || !read_sizes(from, config) || !read_lrpe(from, config) ||
        !read_boolean(from, "no_scale_embedding", &no_scale) ||
        !read_boolean(from, "tie_word_embeddings", &tie) ||
        !read_token(from, "bos_token_id", config->vocab_size, &config->bos) ||
        !read_token(from, "eos_token_id", config->vocab_size, &config->eos) ||
        !read_token(from, "pad_token_id", config->vocab_size, &config->pad))
        return false;
    config->scale_embedding = !no_scale;
    config->tie = tie < 0 ? TNL_TIE_BY_FILE : tie ? TNL_TIE_YES : TNL_TIE_NO;
    return true;
}

bool tnl_config_parse(tnl_config *config, const char *path, const char *text, size_t length,
                      char *error, size_t error_bytes) {
    reader from = {{path, error, error_bytes}, NULL};
    json_error_t json_error;
    memset(config, 0, sizeof *config);
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &json_error);
    if (!root)
        return tnl_file_fail(&from.to, NULL, "is not JSON: %s at line %d", json_error.text,
                             json_error.line);
    from.root = root;
    const bool read = read_all(&from, config);
    json_decref(root);
    return read;
}

bool tnl_config_read(tnl_config *config, const char *path, char *error, size_t error_bytes) {
    size_t length;
    char *text = tnl_read_text(path, &length, error, error_bytes);
    if (!text)
        return false;
    const bool parsed = tnl_config_parse(config, path, text, length, error, error_bytes);
    free(text);
    return parsed;
}

static json_t *token(int id) {
    return id < 0 ? json_null() : json_integer(id);
}

bool tnl_config_write(const tnl_config *config, tnl_type type, const char *path, char *error,
                      size_t error_bytes) {
    static const char *const dtype[] = {
        [TNL_FLOAT32] = "float32", [TNL_FLOAT16] = "float16", [TNL_BFLOAT16] = "bfloat16"};
    json_t *lrpe = json_array();
    for (int i = 0; i < config->layers; i++)
        json_array_append_new(lrpe, json_integer(config->lrpe[i]));
    json_t *root = json_pack(
        "{s:s, s:[s], s:s, s:o, s:o, s:o, s:s, s:s, s:b, s:b, s:I, s:I, s:i, s:i, s:I, s:I, s:o}",
        "model_type", "transnormer", "architectures", "TransnormerForCausalLM", "torch_dtype",
        dtype[type], "bos_token_id", token(config->bos), "eos_token_id", token(config->eos),
        "pad_token_id", token(config->pad), "norm_type", "simplermsnorm", "linear_act_fun", "silu",
        "bias", 0, "no_scale_embedding", !config->scale_embedding, "vocab_size",
        (json_int_t)config->vocab_size, "decoder_embed_dim", (json_int_t)config->embed_dim,
        "decoder_layers", config->layers, "decoder_attention_heads", config->heads, "hidden_dim",
        (json_int_t)config->hidden_dim, "glu_dim", (json_int_t)config->glu_dim,
        "linear_use_lrpe_list", lrpe);
    if (config->tie != TNL_TIE_BY_FILE)
        json_object_set_new(root, "tie_word_embeddings", json_boolean(config->tie == TNL_TIE_YES));
    const bool written = root && json_dump_file(root, path, JSON_INDENT(2)) == 0;
    json_decref(root);
    if (!written)
        snprintf(error, error_bytes, "%s: can't be written", path);
    return written;
}
