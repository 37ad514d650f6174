/*
 * The model's layers as calls of the library's operators, once for both forms. The same walk,
 * without running anything, measures the workspace that they ask for.
 *
 * With x and y the two buffers of rows, and the residual stream, in float32, in a third:
 *
 *     stream = scale embedding[tokens];  x = SRMSNorm(stream)
 *     for each layer:
 *         Q | K | V | U = x W (eq. 4);  o = attention (eq. 10) or Algorithm 2
 *         o = SRMSNorm(o) * U (eq. 3);  y = o W
 *         stream = stream + y;          y = SRMSNorm(stream)
 *         x = SGLU(y) (eq. 5)
 *         stream = stream + x;          x = SRMSNorm(stream)
 *     logits = x W
 *
 * so that every sum and the norm after it are one operator, and the last norm is the final one.
 * What decoding adds to the stream is float32, too: its few rows cost nothing beside the weights,
 * and of the rounding of a step in bfloat16 that is a tenth.
 */
#include <math.h>

#include "core/dispatch.h"
#include "core/memory.h"
#include "model/embedding.h"
#include "model/state.h"

static tnl_status run(const tnl_pass *pass, tnl_operator op, const void *args) {
    tnl_state *state = pass->state;
    if (!pass->measured) {
        const tnl_options options = {.workspace = state->workspace,
                                     .workspace_bytes = state->bytes.workspace};
        return tnl_run_settled(state->context, op, args, &options);
    }
    size_t bytes = 0;
    const tnl_status status = tnl_workspace(state->context, op, args, NULL, &bytes);
    if (bytes > *pass->measured)
        *pass->measured = bytes;
    return status;
}

static const tnl_config *config_of(const tnl_pass *pass) {
    return &pass->state->model->checkpoint.config;
}

static tnl_type type_of(const tnl_pass *pass) {
    return pass->state->model->type;
}

/* ---- tensors ------------------------------------------------------------------------------ */

static tnl_tensor rows_of(const tnl_pass *pass, const void *data, int64_t columns) {
    return tnl_2d(data, type_of(pass), pass->tokens, columns);
}

/* What a mixer adds to the stream: `rows`, or where it is kept in float32. */
static tnl_tensor addend_of(const tnl_pass *pass, const void *rows) {
    const int64_t width = config_of(pass)->embed_dim;
    return pass->decoding ? tnl_2d(pass->state->buffer.addend, TNL_FLOAT32, pass->tokens, width)
                          : rows_of(pass, rows, width);
}

/* A layer's packed projection: how wide its rows are, and those of a head of Q or K in them. */
typedef struct packing {
    int64_t heads, d, f, columns;
} packing;

static packing packing_of(const tnl_pass *pass, int layer) {
    const tnl_config *config = config_of(pass);
    const int64_t d = tnl_head_dim(config), h = config->heads;
    const int64_t f = pass->decoding ? d : tnl_lrpe_dim(config, layer);
    return (packing){h, d, f, 2 * h * f + 2 * h * d};
}

static void *packed_at(const tnl_pass *pass, int64_t column) {
    return (char *)pass->state->buffer.packed + (size_t)column * tnl_type_size(type_of(pass));
}

/* Heads of `width` columns, from a column of the packed rows on: [1,h,m,width]. */
static tnl_tensor packed_heads(const tnl_pass *pass, packing p, int64_t column, int64_t width) {
    tnl_tensor t = tnl_4d(packed_at(pass, column), type_of(pass), 1, p.heads, pass->tokens, width);
    t.stride[0] = pass->tokens * p.columns;
    t.stride[1] = width;
    t.stride[2] = p.columns;
    t.stride[3] = 1;
    return t;
}

/* The same as decode takes it, [b,h,d]. */
static tnl_tensor packed_tokens(const tnl_pass *pass, packing p, int64_t column) {
    tnl_tensor t = tnl_3d(packed_at(pass, column), type_of(pass), pass->tokens, p.heads, p.d);
    t.stride[0] = p.columns;
    t.stride[1] = p.d;
    t.stride[2] = 1;
    return t;
}

/* ---- the token mixer ---------------------------------------------------------------------- */

/* How far apart the slots of the call's sequences are, in slots; 0: not evenly, or backwards. */
static int64_t even_step(const tnl_pass *pass) {
    const int32_t *slot = pass->state->host_index.slots;
    const int64_t step = pass->sequences > 1 ? slot[1] - slot[0] : 1;
    for (int i = 2; i < pass->sequences; i++)
        if (slot[i] - slot[i - 1] != step)
            return 0;
    return step > 0 ? step : 0;
}

/* Copy the sequences' states together, or back to their slots. */
static tnl_status gather(const tnl_pass *pass, int layer, bool back) {
    tnl_state *state = pass->state;
    const int64_t elements = tnl_slot_elements(config_of(pass), layer);
    const size_t bytes = sizeof(float) * (size_t)elements;
    for (int i = 0; i < pass->sequences && !pass->measured; i++) {
        float *slot = state->layer[layer] + state->host_index.slots[i] * elements;
        float *place = state->buffer.gathered + i * elements;
        if (!tnl_memory_queue_copy(state->context, back ? slot : place, back ? place : slot, bytes))
            return tnl_fail(state->context, TNL_DEVICE_ERROR, "a state could not be copied");
    }
    return TNL_OK;
}

static tnl_status attend(const tnl_pass *pass, int layer, packing p) {
    const tnl_state *state = pass->state;
    const int64_t k = p.heads * p.f, v = 2 * k;
    const int64_t step = pass->measured ? 1 : even_step(pass);
    const int64_t slot = pass->measured ? 0 : state->host_index.slots[0];
    const int64_t elements = tnl_slot_elements(config_of(pass), layer);
    tnl_tensor initial =
        tnl_4d(step ? state->layer[layer] + slot * elements : state->buffer.gathered, TNL_FLOAT32,
               pass->sequences, p.heads, p.f, p.d);
    initial.stride[0] = (step ? step : 1) * elements;
    initial.stride[1] = p.f * p.d;
    initial.stride[2] = p.d;
    initial.stride[3] = 1;
    tnl_tensor o = tnl_4d(state->buffer.o, type_of(pass), 1, p.heads, pass->tokens, p.d);
    o.stride[0] = pass->tokens * p.heads * p.d;
    o.stride[1] = p.d;
    o.stride[2] = p.heads * p.d;
    o.stride[3] = 1;
    const tnl_attention_forward_args args = {
        .q = packed_heads(pass, p, 0, p.f),
        .k = packed_heads(pass, p, k, p.f),
        .v = packed_heads(pass, p, v, p.d),
        .slope = state->model->layer[layer].slope,
        .cu_seqlens = tnl_1d(state->index.cu_seqlens, TNL_INT32, pass->sequences + 1),
        .initial_state = initial,
        .o = o,
        .final_state = initial};
    tnl_status status = step ? TNL_OK : gather(pass, layer, false);
    if (status == TNL_OK)
        status = run(pass, TNL_ATTENTION_FORWARD, &args);
    if (status == TNL_OK && !step)
        status = gather(pass, layer, true);
    return status;
}

/* The parallel form: projection and activation, then attention with the slots' states. */
static tnl_status mix_pieces(const tnl_pass *pass, int layer, const void *x) {
    const tnl_state *state = pass->state;
    const packing p = packing_of(pass, layer);
    const tnl_qkvu_projection_forward_args args = {
        .x = rows_of(pass, x, config_of(pass)->embed_dim),
        .w = state->model->layer[layer].qkvu,
        .theta = state->model->layer[layer].theta,
        .positions = tnl_1d(state->index.positions, TNL_INT64, pass->sequences),
        .cu_seqlens = tnl_1d(state->index.cu_seqlens, TNL_INT32, pass->sequences + 1),
        .y = rows_of(pass, state->buffer.packed, p.columns)};
    const tnl_status status = run(pass, TNL_QKVU_PROJECTION_FORWARD, &args);
    return status == TNL_OK ? attend(pass, layer, p) : status;
}

/* y = x W^T. */
static tnl_status project(const tnl_pass *pass, tnl_tensor x, tnl_tensor w, tnl_tensor y) {
    const tnl_sglu_down_args args = {.p = x, .wo = w, .y = y};
    return run(pass, TNL_SGLU_DOWN, &args);
}

/* The recurrent form, a token for each sequence: Algorithm 2 activates Q and K itself. */
static tnl_status mix_tokens(const tnl_pass *pass, int layer, const void *x) {
    const tnl_state *state = pass->state;
    const packing p = packing_of(pass, layer);
    const int64_t width = p.heads * p.d;
    tnl_status status =
        project(pass, rows_of(pass, x, config_of(pass)->embed_dim), state->model->layer[layer].qkvu,
                rows_of(pass, state->buffer.packed, p.columns));
    const tnl_decode_args args = {
        .q = packed_tokens(pass, p, 0),
        .k = packed_tokens(pass, p, width),
        .v = packed_tokens(pass, p, 2 * width),
        .slope = state->model->layer[layer].slope,
        .theta = state->model->layer[layer].theta,
        .positions = tnl_1d(state->index.positions, TNL_INT64, pass->sequences),
        .slots = tnl_1d(state->index.slots, TNL_INT32, pass->sequences),
        .state = tnl_4d(state->layer[layer], TNL_FLOAT32, state->slots, p.heads,
                        tnl_lrpe_dim(config_of(pass), layer), p.d),
        .o = tnl_3d(state->buffer.o, type_of(pass), pass->tokens, p.heads, p.d)};
    return status == TNL_OK ? run(pass, TNL_DECODE, &args) : status;
}

/* y = (SRMSNorm(attention) * U) W. */
static tnl_status mix_token(const tnl_pass *pass, int layer, const void *x, void *y) {
    const tnl_state *state = pass->state;
    const packing p = packing_of(pass, layer);
    const int64_t hidden = p.heads * p.d;
    const tnl_tensor o = rows_of(pass, state->buffer.o, hidden);
    tnl_tensor u = rows_of(pass, packed_at(pass, p.columns - hidden), hidden);
    u.stride[0] = p.columns;
    u.stride[1] = 1;
    tnl_status status = pass->decoding ? mix_tokens(pass, layer, x) : mix_pieces(pass, layer, x);
    const tnl_srmsnorm_gate_forward_args gate = {.x = o, .u = u, .y = o};
    if (status == TNL_OK)
        status = run(pass, TNL_SRMSNORM_GATE_FORWARD, &gate);
    if (status == TNL_OK)
        status = project(pass, o, state->model->layer[layer].out, addend_of(pass, y));
    return status;
}

/* ---- the whole ---------------------------------------------------------------------------- */

/* stream += x, or decoding's addend; x = SRMSNorm(stream). */
static tnl_status add_and_norm(const tnl_pass *pass, void *x) {
    const int64_t width = config_of(pass)->embed_dim;
    const tnl_tensor stream =
        tnl_2d(pass->state->buffer.residual, TNL_FLOAT32, pass->tokens, width);
    const tnl_srmsnorm_residual_forward_args args = {.residual = stream,
                                                     .x = addend_of(pass, x),
                                                     .residual_out = stream,
                                                     .y = rows_of(pass, x, width)};
    return run(pass, TNL_SRMSNORM_RESIDUAL_FORWARD, &args);
}

/* Decoding's SGLU, for the operator that does all of it rounds what it gives. */
static tnl_status mix_channel_of_tokens(const tnl_pass *pass, const tnl_layer *weights, void *y) {
    const tnl_tensor p = rows_of(pass, pass->state->buffer.gated, config_of(pass)->glu_dim);
    const tnl_sglu_gate_args gate = {.x = rows_of(pass, y, config_of(pass)->embed_dim),
                                     .wv = weights->l1,
                                     .wu = weights->l2,
                                     .p = p};
    const tnl_status status = run(pass, TNL_SGLU_GATE, &gate);
    return status == TNL_OK ? project(pass, p, weights->l3, addend_of(pass, NULL)) : status;
}

static tnl_status mix_channel(const tnl_pass *pass, int layer, void *y, void *x) {
    const tnl_layer *weights = &pass->state->model->layer[layer];
    const int64_t width = config_of(pass)->embed_dim;
    if (pass->decoding)
        return mix_channel_of_tokens(pass, weights, y);
    const tnl_sglu_forward_args args = {.x = rows_of(pass, y, width),
                                        .wv = weights->l1,
                                        .wu = weights->l2,
                                        .wo = weights->l3,
                                        .y = rows_of(pass, x, width)};
    return run(pass, TNL_SGLU_FORWARD, &args);
}

static tnl_status begin(const tnl_pass *pass, void *x) {
    const tnl_state *state = pass->state;
    const tnl_config *config = config_of(pass);
    const float scale = config->scale_embedding ? sqrtf((float)config->embed_dim) : 1;
    return pass->measured ? TNL_OK
                          : tnl_embed(state->context, &state->model->embedding, state->index.tokens,
                                      pass->tokens, scale, state->buffer.residual, x);
}

/* Where the rows that logits are wanted of lie together. */
static tnl_status select_rows(const tnl_pass *pass, void *x, void **rows) {
    const tnl_state *state = pass->state;
    const size_t row = (size_t)config_of(pass)->embed_dim * tnl_type_size(type_of(pass));
    /* As many rows as one pleases, when nothing runs: `last` has but one a slot. */
    *rows = pass->measured || pass->logit_rows == pass->tokens ? x : state->buffer.last;
    for (int i = 0; i < pass->sequences && *rows != x && !pass->measured; i++) {
        const size_t last = (size_t)state->host_index.cu_seqlens[i + 1] - 1;
        if (!tnl_memory_queue_copy(state->context, (char *)*rows + (size_t)i * row,
                                   (char *)x + last * row, row))
            return tnl_fail(state->context, TNL_DEVICE_ERROR, "a row could not be copied");
    }
    return TNL_OK;
}

static tnl_status make_logits(const tnl_pass *pass, void *x) {
    const tnl_config *config = config_of(pass);
    void *rows;
    const tnl_status status = select_rows(pass, x, &rows);
    if (status != TNL_OK)
        return status;
    return project(
        pass, tnl_2d(rows, type_of(pass), pass->logit_rows, config->embed_dim),
        pass->state->model->head,
        tnl_2d(pass->state->buffer.logits, type_of(pass), pass->logit_rows, config->vocab_size));
}

/* Whether a layer before this one has the same shapes, so that it asks for as much workspace. */
static bool is_measured(const tnl_pass *pass, int layer) {
    for (int i = 0; i < layer && pass->measured; i++)
        if (config_of(pass)->lrpe[i] == config_of(pass)->lrpe[layer])
            return true;
    return false;
}

tnl_status tnl_run_pass(const tnl_pass *pass) {
    void *x = pass->state->buffer.x, *y = pass->state->buffer.y;
    tnl_status status = begin(pass, x);
    for (int i = 0; status == TNL_OK && i < config_of(pass)->layers; i++) {
        if (is_measured(pass, i))
            continue;
        status = mix_token(pass, i, x, y);
        if (status == TNL_OK)
            status = add_and_norm(pass, y);
        if (status == TNL_OK)
            status = mix_channel(pass, i, y, x);
        if (status == TNL_OK)
            status = add_and_norm(pass, x);
    }
    return status == TNL_OK && pass->logit_rows ? make_logits(pass, x) : status;
}
