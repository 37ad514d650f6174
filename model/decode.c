/*
 * A decoding pass in as few launches as can be. On Hopper, for a few tokens in bfloat16, it is one
 * kernel (model/step.h); elsewhere on CUDA the second pass of so many tokens is recorded as a graph
 * while it is queued, and replayed from then on: what it works on lies where it lay, and only the
 * index in the device's memory is another.
 */
#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "model/state.h"

/* ---- one kernel ---------------------------------------------------------------------------- */

size_t tnl_describe_step(tnl_state *state) {
    const tnl_config *config = &state->model->checkpoint.config;
    if (state->context->device != TNL_CUDA)
        return 0;
    state->step = (tnl_step){
        .type = state->model->type,
        .layers = config->layers,
        .width = (int)config->embed_dim,
        .hidden = (int)config->hidden_dim,
        .gated = (int)config->glu_dim,
        .vocab = (int)config->vocab_size,
        .heads = config->heads,
        .embedding = state->model->embedding.data,
        .head = state->model->head.data,
        .scale = config->scale_embedding ? sqrtf((float)config->embed_dim) : 1,
    };
#ifdef TNL_WITH_CUDA
    return tnl_step_rows(&state->step) ? tnl_cuda_step_bytes(state->context, &state->step) : 0;
#else
    return 0;
#endif
}

/* Measured on an H200: the wider a model, the more of the time its weights take, which a graph's
 * larger kernels read a little faster, and rows cost the one kernel more than they cost these. */
int tnl_step_rows(const tnl_step *step) {
    return step->width <= 1024 ? TNL_STEP_MOST_ROWS : step->width <= 2048 ? 1 : 0;
}

bool tnl_prepare_step(tnl_state *state, void *memory, size_t bytes) {
    const int layers = state->step.layers;
    tnl_step *step = &state->step;
    step->memory = memory;
    step->positions = state->index.positions;
    step->slots = state->index.slots;
    step->tokens = state->index.tokens;
    step->logits = state->buffer.logits;
    tnl_step_layer *table = calloc((size_t)layers, sizeof *table);
    for (int i = 0; table && i < layers; i++) {
        const tnl_layer *layer = &state->model->layer[i];
        table[i] = (tnl_step_layer){layer->qkvu.data,  layer->out.data, layer->l1.data,
                                    layer->l2.data,    layer->l3.data,  layer->theta.data,
                                    layer->slope.data, state->layer[i]};
    }
    const bool prepared =
        table && tnl_memory_queue_zero(state->context, memory, bytes) &&
        tnl_memory_queue_copy(state->context, memory, table, sizeof *table * (size_t)layers) &&
        tnl_memory_synchronize(state->context);
    free(table);
    return prepared;
}

/* ---- a graph ------------------------------------------------------------------------------- */

static tnl_status record(const tnl_pass *pass, tnl_graph *graph) {
    tnl_state *state = pass->state;
    bool recorded = tnl_graph_begin(graph, state->context);
    const tnl_status status = recorded ? tnl_run_pass(pass) : TNL_OK;
    recorded = tnl_graph_end(graph) && recorded;
    if (status == TNL_OK && recorded)
        return TNL_OK;
    tnl_graph_free(graph);
    return status != TNL_OK ? status
                            : tnl_fail(state->context, TNL_DEVICE_ERROR,
                                       "a decoding pass could not be recorded");
}

static tnl_status replay(const tnl_pass *pass) {
    tnl_state *state = pass->state;
    tnl_graph *graph = &state->graph[pass->tokens];
    if (!graph->executable) {
        if (!state->decoded[pass->tokens]) {
            state->decoded[pass->tokens] = true;
            return tnl_run_pass(pass);
        }
        const tnl_status status = record(pass, graph);
        if (status != TNL_OK)
            return status;
    }
    return tnl_graph_launch(graph)
               ? TNL_OK
               : tnl_fail(state->context, TNL_DEVICE_ERROR, "a decoding pass could not be queued");
}

tnl_status tnl_run_decode(const tnl_pass *pass) {
    tnl_state *state = pass->state;
    if (state->context->device != TNL_CUDA)
        return tnl_run_pass(pass);
#ifdef TNL_WITH_CUDA
    if (state->step.memory && pass->tokens <= tnl_step_rows(&state->step))
        return tnl_cuda_step(state->context, &state->step, (int)pass->tokens);
#endif
    return replay(pass);
}
