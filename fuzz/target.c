/*
 * The fuzz target (fuzz/target.h). A parser must either refuse its input, with a text that names
 * the file and nothing left open, or accept it, and then everything it says must be true of the
 * input.
 */
#include "fuzz/target.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint_index.h"

static const char path[] = "fuzzed";

static void must(bool holds, const char *what) {
    if (holds)
        return;
    fprintf(stderr, "fuzz: does not hold: %s\n", what);
    abort();
}

static void must_be_refusal(const char *error) {
    must(strncmp(error, path, sizeof path - 1) == 0 && error[sizeof path - 1] == ':',
         "an error names the file");
    must(strlen(error) > sizeof path + 1, "an error says something");
}

/* Every tensor lies in the file, one behind the other, and its size is its shape's. */
static void check_tensors(const tnl_safetensors *file, const uint8_t *data, size_t size) {
    const uint8_t *next = NULL;
    size_t sum = 0;
    for (size_t i = 0; i < file->count; i++) {
        const tnl_safetensors_tensor *tensor = &file->tensor[i];
        const uint8_t *bytes = tensor->data;
        must(tensor->name && tensor->type, "a tensor has a name and a type");
        must(tensor->rank >= 0 && tensor->rank <= TNL_SAFETENSORS_MAX_RANK, "a rank is in range");
        must(bytes >= data && tensor->bytes <= size && bytes + tensor->bytes <= data + size,
             "a tensor lies in the file");
        size_t elements = 1;
        for (int j = 0; j < tensor->rank; j++)
            must(!__builtin_mul_overflow(elements, (size_t)tensor->shape[j], &elements),
                 "a shape does not overflow");
        must(elements == 0 || tensor->bytes % elements == 0, "a size is the shape's");
        for (size_t j = 0; j < tensor->bytes; j++)
            sum += bytes[j];
        must(!next || bytes == next, "a tensor begins where the one before ended");
        next = bytes + tensor->bytes;
        must(tnl_safetensors_find(file, tensor->name) == tensor, "a tensor is found by its name");
    }
    must(!next || next == data + size, "the last tensor ends the file");
    must(sum <= 255 * size, "every byte is in one tensor");
}

static void fuzz_safetensors(const uint8_t *data, size_t size) {
    char error[256] = "";
    tnl_safetensors file;
    if (tnl_safetensors_parse(&file, path, data, size, error, sizeof error)) {
        check_tensors(&file, data, size);
        tnl_safetensors_metadata(&file, "format");
        tnl_safetensors_close(&file);
    } else {
        must_be_refusal(error);
        must(!file.tensor && !file.header && file.count == 0, "what is refused is empty");
    }
}

static bool in_range(int64_t size) {
    return size >= 1 && size <= TNL_MAX_DIMENSION;
}

static void fuzz_config(const uint8_t *data, size_t size) {
    char error[256] = "";
    tnl_config config;
    if (!tnl_config_parse(&config, path, (const char *)data, size, error, sizeof error)) {
        must_be_refusal(error);
        return;
    }
    must(in_range(config.vocab_size) && in_range(config.embed_dim) && in_range(config.hidden_dim) &&
             in_range(config.glu_dim) && in_range(config.heads),
         "sizes are in range");
    must(config.layers >= 1 && config.layers <= TNL_MAX_LAYERS, "layers are in range");
    must(config.hidden_dim % config.heads == 0, "heads divide the hidden dimension");
    must(config.bos < config.vocab_size && config.eos < config.vocab_size, "tokens are in range");
    tnl_counts counts;
    must(tnl_config_count(&config, &counts) == TNL_OK && counts.layers > 0 && counts.table > 0,
         "counts are positive");
    size_t count;
    tnl_weight *weights = tnl_list_weights(&config, &count);
    must(weights && count >= 1 + 5 * (size_t)config.layers, "there are weights");
    free(weights);
}

static void fuzz_index(const uint8_t *data, size_t size) {
    char error[256] = "";
    tnl_shard_index index;
    if (!tnl_shard_index_parse(&index, path, (const char *)data, size, error, sizeof error)) {
        must_be_refusal(error);
        return;
    }
    must(index.file_count > 0, "an index has files");
    for (size_t i = 0; i < index.file_count; i++)
        must(!strchr(index.file[i], '/') && index.file[i][0] != '.',
             "a file lies beside its index");
    tnl_shard_index_free(&index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const parsers[FUZZ_PARSERS])(const uint8_t *,
                                               size_t) = {[FUZZ_SAFETENSORS] = fuzz_safetensors,
                                                          [FUZZ_CONFIG] = fuzz_config,
                                                          [FUZZ_INDEX] = fuzz_index};
    if (size > 0)
        parsers[data[0] % FUZZ_PARSERS](data + 1, size - 1);
    return 0;
}
