/*
 * A softmax Transformer of the same sizes, whose decoding keeps a key-value cache: what figure 4
 * holds TransNormerLLM against. It is here to be measured and is no part of libtnl.
 *
 * Everything that the two models have in common is the library's, with the same variants: the
 * embedding, the norms, the projections, SGLU. In place of GLA there is one projection to Q, K and
 * V, RoPE, softmax attention over the cache (transformer/attention.h) and an output projection; a
 * layer has 4 D^2 + 3 D g weights where TransNormerLLM's, which has U besides, has 5 D^2 + 3 D g.
 * Heads are of 128. Of the configuration, vocab_size, embed_dim = hidden_dim, glu_dim, layers and
 * heads are used.
 */
#ifndef TNL_TRANSFORMER_H
#define TNL_TRANSFORMER_H

#include "model/model.h"

typedef struct transformer transformer;
typedef struct transformer_state transformer_state;

/* Of float32 on the CPU, of bfloat16 on CUDA; weights by `fill`, as tnl_model_make has them.
 * *model is NULL on failure. */
tnl_status transformer_create(tnl_context *context, const tnl_config *config, tnl_weight_fill *fill,
                              void *user, transformer **model);
void transformer_destroy(transformer *model);
size_t transformer_weight_bytes(const transformer *model);

typedef struct transformer_options {
    int slots;          /* sequences */
    int64_t capacity;   /* most tokens of each */
    int64_t max_tokens; /* most tokens of one prefill call, at least slots */
} transformer_options;

/* All sequences are empty at first. *state is NULL on failure. */
tnl_status transformer_state_create(transformer *model, const transformer_options *options,
                                    transformer_state **state);
void transformer_state_destroy(transformer_state *state);
/* The caches of all sequences, and everything else that a state takes on its device. */
size_t transformer_cache_bytes(const transformer_state *state);
size_t transformer_workspace_bytes(const transformer_state *state);
/* The memory that has both, the caches first, and all bytes of the weights. */
void *transformer_state_memory(const transformer_state *state);
void *transformer_weight_memory(const transformer *model);
/* From here on every sequence has so many tokens, below its capacity: whatever the cache holds. */
void transformer_set_position(transformer_state *state, int64_t position);

/* Feed tokens, in host memory: the next `count` of sequence `slot`, or one to every sequence. The
 * logits, of the last token or of each sequence, are float32 [rows, vocab_size] on the CPU and
 * bfloat16 on CUDA, in the device's memory until the next call. */
tnl_status transformer_prefill(transformer_state *state, int slot, const int32_t *tokens,
                               int64_t count);
tnl_status transformer_decode(transformer_state *state, const int32_t *tokens);
tnl_tensor transformer_logits(const transformer_state *state);

#endif
