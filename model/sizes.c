/* Table 10: the sizes of the paper's models, and its count of their parameters. */
#include <string.h>

#include "model/config.h"

/* g is not in the table: these are the values with which its counts come out exactly. */
static const struct {
    const char *name;
    int layers, heads;
    int64_t embed_dim, glu_dim;
} sizes[] = {
    {"385M", 24, 8, 1024, 2816},    {"1B", 16, 16, 2048, 5632},   {"3B", 32, 20, 2560, 6912},
    {"7B", 30, 32, 4096, 11008},    {"13B", 36, 40, 5120, 13824}, {"65B", 72, 64, 8192, 22016},
    {"175B", 88, 96, 12288, 32768},
};

const char *tnl_size_name(int index) {
    return index >= 0 && index < (int)(sizeof sizes / sizeof *sizes) ? sizes[index].name : NULL;
}

tnl_status tnl_config_for_size(const char *size, tnl_config *config) {
    for (int i = 0; size && config && tnl_size_name(i); i++) {
        if (strcmp(size, sizes[i].name) != 0)
            continue;
        *config = (tnl_config){.vocab_size = 64000,
                               .embed_dim = sizes[i].embed_dim,
                               .hidden_dim = sizes[i].embed_dim,
                               .glu_dim = sizes[i].glu_dim,
                               .layers = sizes[i].layers,
                               .heads = sizes[i].heads,
                               .lrpe = {1},
                               .scale_embedding = 1,
                               .tie = TNL_TIE_NO,
                               .bos = 1,
                               .eos = 2};
        return TNL_OK;
    }
    return TNL_INVALID_ARGUMENT;
}

/* L (5 D^2 + 3 D g) + D (50272 + L/2), in 385M's row D (50272 + 2 L). */
static int64_t table_count(const tnl_config *config) {
    const int64_t layers = config->layers, width = config->embed_dim;
    const bool first_row = layers == sizes[0].layers && width == sizes[0].embed_dim;
    return layers * (5 * width * width + 3 * width * config->glu_dim) + width * 50272 +
           (first_row ? width * layers * 2 : width * layers / 2);
}

tnl_status tnl_config_count(const tnl_config *config, tnl_counts *counts) {
    if (!config || !counts)
        return TNL_INVALID_ARGUMENT;
    const int64_t width = config->embed_dim, hidden = config->hidden_dim;
    const int64_t layer = 4 * hidden * width + width * hidden + 3 * width * config->glu_dim;
    *counts = (tnl_counts){.embedding = config->vocab_size * width,
                           .layers = config->layers * layer,
                           .head = config->tie == TNL_TIE_NO ? config->vocab_size * width : 0,
                           .table = table_count(config)};
    for (int i = 0; i < config->layers; i++)
        counts->layers += config->lrpe[i] ? hidden : 0; /* theta */
    return TNL_OK;
}
