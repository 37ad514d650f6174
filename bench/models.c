/*
 * Which models are timed, and what they move and compute.
 *
 * Sizes are Table 10's but for 7B's g, 11264 for 11008, and a small one for the CPU. A name's pos
 * is the number of tokens before the one that is decoded.
 *
 * Bytes: the weights that a call reads, and the state or cache that it reads and writes; flops: the
 * GEMMs of the layers, without the logits, which are made for the last token alone.
 */
#include "bench/models.h"

#include <stdio.h>

#include "core/types.h"

static const struct {
    const char *name;
    tnl_device device;
    int layers, heads;
    int64_t width, glu_dim, vocabulary;
    int64_t batch;   /* a row of decoding so many sequences besides; 0: none */
    int64_t prefill; /* tokens */
} sizes[] = {{"small", TNL_CPU, 4, 4, 512, 1408, 4000, 0, 512},
             {"385M", TNL_CUDA, 24, 8, 1024, 2816, 64000, 0, 8192},
             {"1B", TNL_CUDA, 16, 16, 2048, 5632, 64000, 0, 8192},
             {"7B", TNL_CUDA, 30, 32, 4096, 11264, 64000, 64, 8192}};
enum { MODEL_SIZES = sizeof sizes / sizeof *sizes, QUICK_POSITIONS = 3 };

static const int64_t positions[] = {1024, 2048, 4096, 8192, 16384, 32768, 65536};
enum { POSITIONS = sizeof positions / sizeof *positions };

tnl_config models_config(const model_work *work) {
    return (tnl_config){.vocab_size = sizes[work->size].vocabulary,
                        .embed_dim = sizes[work->size].width,
                        .hidden_dim = sizes[work->size].width,
                        .glu_dim = sizes[work->size].glu_dim,
                        .layers = sizes[work->size].layers,
                        .heads = sizes[work->size].heads,
                        .lrpe = {1},
                        .scale_embedding = 1,
                        .tie = TNL_TIE_NO,
                        .bos = 1,
                        .eos = 2};
}

double models_context_bytes(const model_work *work, tnl_type type) {
    const tnl_config config = models_config(work);
    const double width = (double)config.embed_dim, layers = config.layers;
    const double batch = (double)work->batch, tokens = (double)work->tokens;
    const double d = width / config.heads;
    if (!work->transformer)
        return batch * (double)sizeof(float) * width * d * (layers + 1); /* one layer has LRPE */
    return 2 * layers * width * (double)tnl_type_size(type) * batch * (tokens + !work->prefill);
}

static void count_work(bench_row *row) {
    const model_work *work = &row->model;
    const tnl_config config = models_config(work);
    const double width = (double)config.embed_dim, g = (double)config.glu_dim;
    const double vocabulary = (double)config.vocab_size, size = (double)tnl_type_size(row->type);
    const double rows = (double)(work->prefill ? work->batch * work->tokens : work->batch);
    const double layer = (work->transformer ? 4 : 5) * width * width + 3 * width * g;
    row->flops = 2 * rows * config.layers * layer;
    row->bytes = size * (config.layers * layer + vocabulary * width + rows * width +
                         (double)work->batch * vocabulary) +
                 (work->transformer ? 1 : 2) * models_context_bytes(work, row->type);
}

/* A layer's GEMMs, as often as there are layers. */
static bare_gemms gemms_of(const bench_row *row) {
    const tnl_config config = models_config(&row->model);
    const int64_t m = row->model.batch * row->model.tokens;
    const int64_t width = config.embed_dim, g = config.glu_dim;
    const int64_t packed = (row->model.transformer ? 3 : 4) * width;
    return (bare_gemms){.gemm = {{row->type, m, packed, width},
                                 {row->type, m, width, width},
                                 {row->type, m, g, width},
                                 {row->type, m, g, width},
                                 {row->type, m, width, g}},
                        .count = 5,
                        .repeats = config.layers};
}

static bool add(row_list *list, model_work work) {
    bench_row *row = rows_add(list);
    if (!row)
        return false;
    row->kind = ROW_MODEL;
    row->type = sizes[work.size].device == TNL_CPU ? TNL_FLOAT32 : TNL_BFLOAT16;
    row->model = work;
    count_work(row);
    if (work.prefill)
        row->bare = gemms_of(row);
    snprintf(row->name, sizeof row->name, "model_%s/%s/%s/size:%s/g:%lld/b:%lld/%s:%lld",
             work.prefill ? "prefill" : "decode", work.transformer ? "transformer" : "tnl",
             tnl_type_name(row->type), sizes[work.size].name, (long long)sizes[work.size].glu_dim,
             (long long)work.batch, work.prefill ? "n" : "pos", (long long)work.tokens);
    return true;
}

static bool add_decoding(row_list *list, int size, bool transformer, bool quick) {
    const int count = quick ? QUICK_POSITIONS : POSITIONS;
    bool added = true;
    for (int i = 0; added && i < count; i++)
        added = add(list, (model_work){size, transformer, false, 1, positions[i]});
    if (added && sizes[size].batch && !quick)
        added = add(list, (model_work){size, transformer, false, sizes[size].batch, positions[0]});
    return added;
}

bool models_add(row_list *list, tnl_device device, bool quick) {
    bool added = true, first = true;
    for (int size = 0; added && size < MODEL_SIZES; size++) {
        if (sizes[size].device != device || (quick && !first))
            continue;
        first = false;
        for (int transformer = 0; added && transformer < 2; transformer++)
            added = add_decoding(list, size, transformer, quick);
        for (int transformer = 0; added && transformer < 2; transformer++)
            added = add(list, (model_work){size, transformer, true, 1, sizes[size].prefill});
    }
    return added;
}
