/*
 * A state: slots, and the buffers that a call works in. All of them are pieces of one allocation:
 *
 *     | layer 0's slots | layer 1's | ... | index | activations | logits | workspace |
 *
 * A layer's slots are float32 [slots,h,f,e], f = d, where the layer has LRPE 2d; e = d.
 */
#ifndef TNL_MODEL_STATE_H
#define TNL_MODEL_STATE_H

#include "core/graph.h"
#include "model/model.h"
#include "model/step.h"

/* Steps that a generation may be ahead of what the host has seen of it. */
enum { TNL_STATE_AHEAD = 8 };

/* What a call's tensors of integers are, in one buffer on the host and one on the device, so that
 * one copy brings them there: the tokens come last, and only those of the call are copied. */
typedef struct tnl_index {
    int64_t *positions;  /* [slots]: of the sequences or tokens of the call */
    int32_t *cu_seqlens; /* [slots+1] */
    int32_t *slots;      /* [slots] */
    int32_t *tokens;     /* [max_tokens] */
} tnl_index;

/* Activations, in the model's type; a row a token unless it says otherwise. */
typedef struct tnl_buffers {
    float *residual; /* float32 [max_tokens,D]: the stream */
    void *x, *y;     /* [max_tokens,D]: what a mixer reads and writes */
    void *packed;    /* [max_tokens,c]: Q, K, V and U */
    void *o;         /* [max_tokens,hidden_dim]: attention's output */
    void *gated;     /* [slots,g]: decoding's p */
    float *addend;   /* float32 [slots,D]: what decoding adds to the stream */
    float *gathered; /* float32 [slots,h,f,e]: states of slots that lie apart */
    void *last;      /* [slots,D]: the rows that logits are wanted of */
    void *logits;    /* [logit_rows,vocab_size] */
    void *step;      /* state->step's memory */
} tnl_buffers;

struct tnl_state {
    tnl_model *model;
    tnl_context *context;
    int slots;
    int64_t max_tokens, logit_rows;
    int64_t *position; /* [slots]: tokens fed */
    bool *named;       /* [slots]: by the call being checked */
    void *memory;
    float *layer[TNL_MAX_LAYERS]; /* a layer's slots */
    void *index_memory;           /* on the host */
    tnl_index host_index, index;
    tnl_buffers buffer;
    void *workspace;
    tnl_state_bytes bytes;
    int64_t rows;  /* of logits, of the last call */
    int sequences; /* of that call; their slots are host_index.slots */
    tnl_step step; /* memory NULL: it does not take this model */
    size_t step_bytes;
    tnl_graph *graph; /* [slots+1]: of a decoding pass of so many tokens */
    bool *decoded;    /* [slots+1]: one has run */
    int32_t *made;    /* [TNL_STATE_AHEAD,slots]: tokens chosen; NULL before the first generation */
    void *mark[TNL_STATE_AHEAD]; /* behind the choice of each */
};

/* Elements of one slot of a layer. */
static inline int64_t tnl_slot_elements(const tnl_config *config, int layer) {
    return config->heads * tnl_lrpe_dim(config, layer) * tnl_head_dim(config);
}

/* A call's work: every operator of the model's layers. */
typedef struct tnl_pass {
    tnl_state *state;
    bool decoding;      /* a token for each sequence, by the recurrent form */
    int64_t tokens;     /* m, in all */
    int sequences;      /* s */
    int64_t logit_rows; /* 0, the sequences' last tokens', or all tokens' */
    size_t *measured;   /* not NULL: run nothing, keep the most workspace asked for here */
} tnl_pass;

/* Run it on what state->index holds. host_index has the same, to be read. */
tnl_status tnl_run_pass(const tnl_pass *pass);

/* Whether `count` different slots are named that can take another token. */
tnl_status tnl_check_slots(tnl_state *state, const char *function, int count, const int32_t *slots);
/* The index of a decoding pass of these slots, with no tokens yet, to the device. */
tnl_status tnl_send_slots(tnl_state *state, int count, const int32_t *slots);

/* The same for a decoding pass, in as few launches as can be (model/decode.c). */
tnl_status tnl_run_decode(const tnl_pass *pass);
/* What of state->step is known before its memory is; the bytes of that, 0: there is no step. */
size_t tnl_describe_step(tnl_state *state);
/* The rest, once all memory is laid out. Waits; false: a device failure. */
bool tnl_prepare_step(tnl_state *state, void *memory, size_t bytes);

#endif
