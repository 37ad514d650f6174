/*
 * The Transformer of figure 4 (transformer/): prompts fed at once, in pieces and token by token
 * must lead to the same logits. Its attention is judged in verify/transformer_attention.c.
 */
#include "transformer/transformer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "core/types.h"
#include "model/convert.h"
#include "transformer/attention.h"
#include "verify/fed.h"
#include "verify/parts.h"

enum { VOCABULARY = 320, TOKENS = 150, QUICK_TOKENS = 40, SLOTS = 2 };

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

/* The tokens, the first `at_once` of them in two prefills of slot 1, the rest one by one in both
 * slots; the logits of that slot after the last. */
static bool feed(transformer *model, tnl_context *context, const int32_t *tokens, int64_t count,
                 int64_t at_once, float *logits) {
    const transformer_options options = {SLOTS, count, count};
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
    for (int64_t i = at_once; fed && i < count; i++)
        fed = transformer_decode(state, (int32_t[]){5, tokens[i]}) == TNL_OK;
    fed = fed && read_logits(context, state, both);
    if (fed)
        memcpy(logits, both + (at_once < count ? VOCABULARY : 0), VOCABULARY * sizeof *logits);
    transformer_state_destroy(state);
    return fed;
}

static void verify_forms(report *r, tnl_context *context) {
    const tnl_config config = {.vocab_size = VOCABULARY,
                               .embed_dim = 2 * ATTENTION_DIM,
                               .hidden_dim = 2 * ATTENTION_DIM,
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
    const int64_t count = r->quick ? QUICK_TOKENS : TOKENS;
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = (int32_t)(random_bits(r->seed, 99, (uint64_t)i) % VOCABULARY);
    bool ran = transformer_create(context, &config, fill, &f, &model) == TNL_OK;
    for (int i = 0; ran && i < 3; i++)
        ran = feed(model, context, tokens, count, (int64_t[]){count, 0, 2 * count / 3 + 1}[i],
                   logits[i]);
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
    verify_transformer_attention(r, context);
    verify_forms(r, context);
}
