/* What the Transformer's files share: its weights, a state, and a call's work. */
#ifndef TNL_TRANSFORMER_PARTS_H
#define TNL_TRANSFORMER_PARTS_H

#include "core/graph.h"
#include "transformer/attention.h"
#include "transformer/transformer.h"

typedef struct transformer_layer {
    tnl_tensor qkv, out, l1, l2, l3; /* [out,in] */
} transformer_layer;

struct transformer {
    tnl_context *context;
    tnl_config config;
    tnl_type type;
    tnl_tensor embedding, head;
    transformer_layer *layer;
    void *memory; /* all weights */
    size_t bytes;
};

struct transformer_state {
    transformer *model;
    transformer_options options;
    int64_t *position; /* [slots], on the host: tokens fed */
    int64_t rows;      /* of logits, of the last call */
    void *memory;
    size_t cache_bytes, bytes;
    char *k, *v;   /* [layers, slots, heads, capacity, d] */
    float *stream; /* [max_tokens,D] */
    void *x, *y, *packed, *o, *logits;
    int64_t *positions; /* [slots], on the device */
    int32_t *tokens;    /* [max_tokens], on the device */
    void *attention;    /* its workspace */
    size_t attention_bytes;
    void *workspace; /* the operators' */
    size_t workspace_bytes;
    tnl_graph step;                /* CUDA: a step of decoding */
    int step_splits, tried_splits; /* of attention in it, and in the step before; 0: none */
};

/* Aligned pieces of one allocation, one after the other; with base NULL they are only counted. */
typedef struct transformer_carver {
    char *base;
    size_t used;
} transformer_carver;

static inline void *transformer_take(transformer_carver *c, size_t bytes) {
    const size_t unit = TNL_WORKSPACE_ALIGNMENT;
    void *at = c->base ? c->base + c->used : NULL;
    c->used += (bytes + unit - 1) / unit * unit;
    return at;
}

/* A call's work. */
typedef struct transformer_pass {
    transformer_state *state;
    attention_call attention;
    bool decoding;
    int slot;         /* prefilling: the sequence */
    size_t *measured; /* not NULL: run nothing, keep the most workspace asked for here */
} transformer_pass;

/* Run it on the tokens and positions that the state has on the device. */
tnl_status transformer_run_pass(const transformer_pass *p);

#endif
