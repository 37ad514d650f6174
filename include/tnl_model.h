/*
 * tnl_model.h - whole TransNormerLLM models: checkpoints in, logits out.
 *
 * A model is the weights of a checkpoint in the memory of a device. A state holds what so many
 * sequences, each in a slot of its own, need to go on: for every layer and head the d x e matrix of
 * linear attention, of one size whatever the length of the sequence.
 *
 *     tnl_model *model;
 *     tnl_state *state;
 *     tnl_model_open(context, "checkpoint", NULL, &model);
 *     tnl_state_create(model, context, &(tnl_state_options){.slots = 1}, &state);
 *     tnl_state_prefill(state, 1, &(tnl_piece){.slot = 0, .tokens = prompt, .count = n}, 0);
 *     tnl_state_read_logits(state, logits);           // of the token after the prompt
 *     ... choose one ...
 *     tnl_state_decode(state, 1, &slot, &token);      // feed it
 *     tnl_state_read_logits(state, logits);           // of the next
 *
 * or, to have tokens chosen where the logits are and handed on as they come,
 *     tnl_state_generate(state, 1, &slot, &(tnl_generation){.sampling = {.top_p = 1}, ...});
 *
 * The model. Embedding, times sqrt(embed_dim) unless the configuration says otherwise; for each
 * layer x += GLA(SRMSNorm(x)), x += SGLU(SRMSNorm(x)); a final SRMSNorm; the output projection.
 * GLA (eq. 3, 4): one projection to Q, K, V, U; swish on Q and K; LRPE where the layer has it;
 * attention with the decay of tnl_slopes_released; SRMSNorm over all heads; times U; a projection.
 * SGLU: eq. 5.
 *
 * What tnl.h says of streams, errors and threads holds here too: work is asynchronous on the
 * context's stream, but for the functions that say they wait. A call can't be captured into a CUDA
 * graph: its tokens come from host memory. On CUDA a decoding call of one size is recorded as a
 * graph by itself the second time, or, for one or two tokens of a narrow model in bfloat16 from
 * Hopper on, is one kernel. After TNL_DEVICE_ERROR the slots of the call hold nothing of use and
 * must be reset. Texts of errors are the context's. A model is only read once it is open: states on
 * contexts of several threads may share it.
 */
#ifndef TNL_MODEL_H
#define TNL_MODEL_H

#include <tnl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- configuration ------------------------------------------------------------------------ */

#define TNL_MAX_LAYERS 256

/* Whether the output projection is the embedding's own matrix. */
typedef enum tnl_tie {
    TNL_TIE_BY_FILE = 0, /* it is where the checkpoint has no lm_head.weight */
    TNL_TIE_NO,
    TNL_TIE_YES
} tnl_tie;

/* What config.json says, with its key behind each member. */
typedef struct tnl_config {
    int64_t vocab_size;                 /* vocab_size */
    int64_t embed_dim;                  /* decoder_embed_dim: D */
    int64_t hidden_dim;                 /* hidden_dim: of Q, K, V and U; heads of them */
    int64_t glu_dim;                    /* glu_dim: g */
    int layers;                         /* decoder_layers */
    int heads;                          /* decoder_attention_heads */
    unsigned char lrpe[TNL_MAX_LAYERS]; /* linear_use_lrpe_list: 1 where a layer has LRPE */
    int scale_embedding;                /* not no_scale_embedding; absent: 1 */
    tnl_tie tie;                        /* tie_word_embeddings; absent: TNL_TIE_BY_FILE */
    int bos, eos, pad;                  /* bos_token_id and so on; -1: absent or null */
} tnl_config;

/*
 * Table 10's configuration of a size, "385M", "1B", "3B", "7B", "13B", "65B" or "175B", with the
 * published checkpoints' vocabulary of 64000, LRPE in the first layer and an output projection of
 * its own. TNL_INVALID_ARGUMENT: no such size, or a pointer is NULL.
 */
TNL_API tnl_status tnl_config_for_size(const char *size, tnl_config *config);
/* The name of size number `index`, from 0; NULL: there are no more. */
TNL_API const char *tnl_size_name(int index);
/* Numbers in the weights: of the embedding, of the layers, of an output projection of its own. */
typedef struct tnl_counts {
    int64_t embedding, layers, head;
    int64_t table; /* "Non-embedding params" as Table 10 counts them, see below */
} tnl_counts;
/*
 * Table 10's column is L (5 D^2 + 3 D g) + D (50272 + L/2), which is neither the layers' count nor
 * the whole model's; its 385M row has 2 L in place of L/2. `table` is that number, for 385M's
 * dimensions with 2 L. TNL_INVALID_ARGUMENT: a pointer is NULL.
 */
TNL_API tnl_status tnl_config_count(const tnl_config *config, tnl_counts *counts);

/* ---- model -------------------------------------------------------------------------------- */

typedef struct tnl_model tnl_model;

/* A NULL pointer to options is the same as {0}. */
typedef struct tnl_model_options {
    /* Of weights, activations and logits; sums and states are float32. TNL_NO_TYPE: the
     * embedding's type in the checkpoint where the device has rows for it, else float32. */
    tnl_type type;
    /* Called now and then while weights are loaded, with the bytes done and to do; may be NULL. */
    void (*progress)(void *user, size_t done, size_t total);
    void *user;
} tnl_model_options;

/*
 * Open a model directory: config.json, and model.safetensors or the shards that
 * model.safetensors.index.json lists. Names, types and shapes of all tensors are checked against
 * the configuration first. The files stay mapped until the model is closed; weights that the
 * device can't use where they lie are converted into memory of the device, once. Waits.
 * *model is NULL on failure.
 *   TNL_FILE_ERROR        something is wrong with a file; the text names it, and the tensor or key
 *   TNL_UNSUPPORTED       no row of the table takes options->type on this device
 *   TNL_OUT_OF_MEMORY, TNL_DEVICE_ERROR
 *   TNL_INVALID_ARGUMENT  a pointer but options is NULL
 */
TNL_API tnl_status tnl_model_open(tnl_context *context, const char *directory,
                                  const tnl_model_options *options, tnl_model **model);
/* NULL is allowed. Every state of the model must be gone, and their work finished. */
TNL_API void tnl_model_close(tnl_model *model);
TNL_API const tnl_config *tnl_model_config(const tnl_model *model);
TNL_API tnl_type tnl_model_type(const tnl_model *model);
/* Bytes of weights in the device's memory; those used in place, mapped, are counted too. */
TNL_API size_t tnl_model_bytes(const tnl_model *model);
/* A number that is another one for another configuration or other weights: of the checkpoint's
 * content, whatever the device and the type. The first call reads all of it. */
TNL_API uint64_t tnl_model_hash(tnl_model *model);

/* ---- state -------------------------------------------------------------------------------- */

typedef struct tnl_state tnl_state;

typedef struct tnl_state_options {
    int slots;          /* sequences; 0: 1 */
    int64_t max_tokens; /* most tokens of one prefill call; 0: 512, or slots where that is more */
    int64_t logit_rows; /* most rows of logits of one call; 0: slots */
} tnl_state_options;

/*
 * Make a state, with all its slots reset. One allocation on the device holds the slots, the
 * activations of a call and the operators' workspace; feeding tokens allocates nothing. context is
 * one on the model's device; it must outlive the state. options NULL: {0}. *state is NULL on
 * failure. TNL_INVALID_ARGUMENT, TNL_OUT_OF_MEMORY, TNL_DEVICE_ERROR, TNL_UNSUPPORTED.
 */
TNL_API tnl_status tnl_state_create(tnl_model *model, tnl_context *context,
                                    const tnl_state_options *options, tnl_state **state);
/* NULL is allowed. Waits. */
TNL_API void tnl_state_destroy(tnl_state *state);

/* What a state takes on its device, in bytes. */
typedef struct tnl_state_bytes {
    size_t slot;      /* of one slot, whatever the length of its sequence */
    size_t slots;     /* of all of them */
    size_t workspace; /* everything else: activations, logits, the operators' workspace */
} tnl_state_bytes;
TNL_API tnl_state_bytes tnl_state_memory(const tnl_state *state);

/* A prompt, or the next piece of one: count >= 1 tokens in host memory, in [0, vocab_size). */
typedef struct tnl_piece {
    int slot;
    const int32_t *tokens;
    int64_t count;
} tnl_piece;

typedef enum tnl_prefill_flags {
    TNL_LAST_LOGITS = 0, /* a row of logits for each piece: its last token's */
    TNL_ALL_LOGITS = 1,  /* one for each token, piece by piece */
    TNL_NO_LOGITS = 2    /* none */
} tnl_prefill_flags;

/*
 * Feed pieces of several sequences at once, each to its slot, none twice; they may differ in
 * length. The tokens of all pieces together are at most the state's max_tokens: a longer prompt
 * goes in as several calls, to the same effect.
 * TNL_INVALID_ARGUMENT (nothing has changed), TNL_DEVICE_ERROR.
 */
TNL_API tnl_status tnl_state_prefill(tnl_state *state, int count, const tnl_piece *pieces,
                                     tnl_prefill_flags flags);
/*
 * Feed one token to each of `count` different slots, by the recurrent form; a row of logits for
 * each, in the order of `slots`. Both arrays are in host memory and may be reused on return.
 * Errors as above.
 */
TNL_API tnl_status tnl_state_decode(tnl_state *state, int count, const int32_t *slots,
                                    const int32_t *tokens);

/* How a token is chosen from its logits. */
typedef struct tnl_sampling {
    double temperature; /* 0: the likeliest token, of equals the first of the vocabulary; 1e-30 to
                           1e30: one drawn from the softmax of logits / temperature */
    int64_t top_k;      /* only the k likeliest; 0: all */
    double top_p;       /* of those, the fewest likeliest that together reach this probability, at
                           least one; 1: all. Nothing to a temperature of 0 */
    uint64_t seed;      /* of the draws: the same seed, step, row and logits, the same token */
} tnl_sampling;

/* Gets the tokens of a step, in the order of the slots; -1: that one had stopped before. Another
 * value than 0 ends the generation. Called in the thread of tnl_state_generate; it may not call
 * anything on the state. */
typedef int tnl_tokens_function(void *user, int64_t step, const int32_t *tokens);

typedef struct tnl_generation {
    tnl_sampling sampling;
    int64_t steps; /* at least 1 */
    int32_t
        stop; /* a slot for which this token was chosen is fed no more; -1: none. 0 is a token */
    tnl_tokens_function *give; /* not NULL */
    void *user;                /* give's */
} tnl_generation;

/*
 * Choose a token for each of `count` different slots, feed them, choose from the logits that this
 * makes, and so on: `steps` choices, the tokens of the last of which are not fed (tnl_state_decode
 * does it, for a generation that is to go on). The last call on the state made a row of logits for
 * each of these slots, in this order (tnl_state_prefill with TNL_LAST_LOGITS, or tnl_state_decode).
 * Ends early when all slots have stopped. Logits are left where all slots went on to the last step.
 *
 * On CUDA tokens are chosen on the device and stay there; the host only hands them on as they come
 * back, while the device is up to 8 steps ahead. A generation that `give` ends may therefore have
 * fed up to 8 tokens more: tnl_state_position counts them. The first generation of a state takes
 * some memory of the host that the device sees, 32 bytes a slot. A token's weight is good there to
 * float32, so that a draw within 4e-6 of the edge of a token's share may choose its neighbour,
 * unlike on the CPU. Waits. TNL_INVALID_ARGUMENT: nothing has changed, but for a logit that is not
 * a finite number: then the tokens before have been fed, on CUDA up to 8 steps more to the other
 * slots, and the slots are best reset. TNL_OUT_OF_MEMORY, TNL_DEVICE_ERROR.
 */
TNL_API tnl_status tnl_state_generate(tnl_state *state, int count, const int32_t *slots,
                                      const tnl_generation *how);
/* The logits of the last call: data [rows,vocab_size] of the model's type, in the device's memory,
 * good until the next call. TNL_INVALID_ARGUMENT: there are none. */
TNL_API tnl_status tnl_state_logits(tnl_state *state, tnl_tensor *logits);
/* The same as float32 [rows,vocab_size] in host memory. Waits. */
TNL_API tnl_status tnl_state_read_logits(tnl_state *state, float *logits);

/* Tokens that the slot has been fed since it was reset; -1: no such slot. */
TNL_API int64_t tnl_state_position(const tnl_state *state, int slot);
/* An empty sequence. */
TNL_API tnl_status tnl_state_reset(tnl_state *state, int slot);
/* Slot `to` becomes what slot `from` is. */
TNL_API tnl_status tnl_state_copy(tnl_state *state, int from, int to);
/*
 * Write a slot to a file, or take one up again, in another state of the same model or in another
 * process. The file (safetensors) has the position, the layers' matrices in float32, a checksum of
 * both and the model's hash. It is written beside `path` and then renamed. Both wait.
 * TNL_FILE_ERROR: it can't be written or read, is damaged, or is of another model; a failed load
 * leaves the slot as it was.
 */
TNL_API tnl_status tnl_state_save(tnl_state *state, int slot, const char *path);
TNL_API tnl_status tnl_state_load(tnl_state *state, int slot, const char *path);

#ifdef __cplusplus
}
#endif

#endif
