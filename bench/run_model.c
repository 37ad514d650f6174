/*
 * A whole model's row: its weights made on the device, kept for the next row of the same model; a
 * state or cache of the row's own size, random, put at its position before each launch.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/device.h"
#include "bench/models.h"
#include "core/memory.h"
#include "core/random.h"
#include "core/types.h"
#include "model/state.h"
#include "transformer/transformer.h"
#include "verify/device.h"

typedef struct bench_model {
    bench_runner *runner;
    int size;
    bool transformer;
    uint64_t stream; /* of random numbers: one more for each weight */
    tnl_model *tnl;
    struct transformer *softmax;

    /* A row's: */
    model_work work;
    tnl_state *state;
    transformer_state *cache;
    int32_t *tokens, *slots;
} bench_model;

/* Of even numbers with a variance of 1. */
static const float unit_size = 1.7320508f;

/* ---- making it ---------------------------------------------------------------------------- */

static bool fill(bench_model *model, void *memory, tnl_type type, size_t count, float size) {
    const bench_runner *runner = model->runner;
    return bench_device_of(runner->context)
        ->standards->fill(runner->context, memory, type, count, size,
                          runner->yardsticks.seed + model->stream++);
}

/* So that what comes out of a product is about as large as what goes in; angles below 1. */
static bool fill_weight(void *user, const tnl_tensor *weight) {
    bench_model *model = user;
    const bool angles = weight->type == TNL_FLOAT32 && model->runner->context->device == TNL_CUDA;
    float inner = 1;
    while (!angles && inner * inner < (float)weight->shape[1])
        inner *= 1.0905077f; /* 2^(1/8): near enough to the root */
    return fill(model, weight->data, weight->type, (size_t)(weight->shape[0] * weight->shape[1]),
                angles ? 1 : unit_size / inner);
}

static void drop_state(bench_model *model) {
    tnl_state_destroy(model->state);
    transformer_state_destroy(model->cache);
    free(model->tokens);
    free(model->slots);
    model->state = NULL;
    model->cache = NULL;
    model->tokens = model->slots = NULL;
}

void models_drop(bench_runner *runner) {
    bench_model *model = runner->model;
    runner->model = NULL;
    if (!model)
        return;
    drop_state(model);
    tnl_model_close(model->tnl);
    transformer_destroy(model->softmax);
    free(model);
}

/* The weights of the row's model, unless they are there. */
static tnl_status have_weights(const bench_job *job) {
    bench_runner *runner = job->runner;
    const model_work *work = &job->row->model;
    const tnl_config config = models_config(work);
    if (runner->model && runner->model->size == work->size &&
        runner->model->transformer == work->transformer)
        return TNL_OK;
    models_drop(runner);
    bench_model *model = runner->model = calloc(1, sizeof *model);
    if (!model)
        return TNL_OUT_OF_MEMORY;
    model->runner = runner;
    model->size = work->size;
    model->transformer = work->transformer;
    return work->transformer
               ? transformer_create(runner->context, &config, fill_weight, model, &model->softmax)
               : tnl_model_make(runner->context, &config, job->row->type, fill_weight, model,
                                &model->tnl);
}

/* The row's state or cache, all of it random. */
static tnl_status make_state(bench_model *model) {
    const model_work *work = &model->work;
    const int slots = (int)work->batch;
    const int64_t fed = work->prefill ? work->tokens : work->batch;
    const tnl_config config = models_config(work);
    tnl_context *context = model->runner->context;
    tnl_status status;
    if (model->transformer) {
        const int64_t capacity = work->tokens + !work->prefill;
        status = transformer_state_create(
            model->softmax, &(transformer_options){slots, capacity, fed}, &model->cache);
    } else {
        status = tnl_state_create(model->tnl, context,
                                  &(tnl_state_options){.slots = slots, .max_tokens = fed},
                                  &model->state);
    }
    if (status != TNL_OK)
        return status;
    model->tokens = calloc((size_t)fed, sizeof *model->tokens);
    model->slots = calloc((size_t)slots, sizeof *model->slots);
    if (!model->tokens || !model->slots)
        return TNL_OUT_OF_MEMORY;
    for (int64_t i = 0; i < fed; i++)
        model->tokens[i] = (int32_t)(random_bits(model->runner->yardsticks.seed, 0, (uint64_t)i) %
                                     (uint64_t)config.vocab_size);
    for (int i = 0; i < slots; i++)
        model->slots[i] = i;
    const tnl_type type = context->device == TNL_CPU ? TNL_FLOAT32 : TNL_BFLOAT16;
    const bool filled =
        model->transformer
            ? fill(model, transformer_state_memory(model->cache), type,
                   transformer_cache_bytes(model->cache) / tnl_type_size(type), unit_size)
            : fill(model, model->state->memory, TNL_FLOAT32,
                   model->state->bytes.slots / sizeof(float), unit_size);
    return filled ? TNL_OK : TNL_DEVICE_ERROR;
}

/* ---- running it --------------------------------------------------------------------------- */

static tnl_status launch(void *data) {
    const bench_model *model = data;
    const model_work *work = &model->work;
    const int64_t before = work->prefill ? 0 : work->tokens;
    if (model->transformer) {
        transformer_set_position(model->cache, before);
        return work->prefill ? transformer_prefill(model->cache, 0, model->tokens, work->tokens)
                             : transformer_decode(model->cache, model->tokens);
    }
    for (int64_t i = 0; i < work->batch; i++)
        model->state->position[i] = before;
    const tnl_piece piece = {0, model->tokens, work->tokens};
    return work->prefill
               ? tnl_state_prefill(model->state, 1, &piece, TNL_LAST_LOGITS)
               : tnl_state_decode(model->state, (int)work->batch, model->slots, model->tokens);
}

/* What it takes of memory, by kind. */
typedef struct model_bytes {
    double weights, state, workspace;
} model_bytes;

static model_bytes bytes_of(const bench_model *model) {
    if (model->transformer)
        return (model_bytes){(double)transformer_weight_bytes(model->softmax),
                             (double)transformer_cache_bytes(model->cache),
                             (double)transformer_workspace_bytes(model->cache)};
    const tnl_state_bytes bytes = tnl_state_memory(model->state);
    return (model_bytes){(double)tnl_model_bytes(model->tnl), (double)bytes.slots,
                         (double)bytes.workspace};
}

/* The memory that a launch works on, where its lines have to be thrown out of caches by address. */
static bench_work work_of(bench_model *model) {
    const model_bytes bytes = bytes_of(model);
    const bool softmax = model->transformer;
    return (bench_work){
        .launch = launch,
        .data = model,
        .memory = {{softmax ? transformer_weight_memory(model->softmax) : model->tnl->memory,
                    (size_t)bytes.weights},
                   {softmax ? transformer_state_memory(model->cache) : model->state->memory,
                    (size_t)(bytes.state + bytes.workspace)}},
        .memory_count = 2};
}

/* The row's model and state. */
static bool have_model(const bench_job *job, shim_state *state) {
    bench_runner *runner = job->runner;
    tnl_status status = have_weights(job);
    if (status == TNL_OK) {
        drop_state(runner->model);
        runner->model->work = job->row->model;
        const double context = models_context_bytes(&job->row->model, job->row->type);
        if (!job_fits(job, state, context, job->row->bytes))
            return false;
        status = make_state(runner->model);
    }
    if (status == TNL_OUT_OF_MEMORY)
        job_skip(job, state, "not enough memory");
    else if (status != TNL_OK)
        job_fail(job, state, tnl_context_error(runner->context));
    if (status != TNL_OK)
        models_drop(runner);
    return status == TNL_OK;
}

void run_model(const bench_job *job, shim_state *state) {
    bench_runner *runner = job->runner;
    const bench_row *row = job->row;
    runner_drop_problem(runner);
    yardsticks_measure_rates(&runner->yardsticks);
    if (!have_model(job, state))
        return;
    const model_bytes bytes = bytes_of(runner->model);
    const bench_work work = work_of(runner->model);
    shim_counter(state, "bytes", row->bytes);
    shim_counter(state, "flops", row->flops);
    shim_counter(state, "peak_bytes", bytes.weights + bytes.state + bytes.workspace);
    shim_counter(state, "weight_bytes", bytes.weights);
    shim_counter(state, "state_bytes", bytes.state);
    const double patience = bench_device_of(runner->context)->model_patience;
    if (job_is_within(job, state, &work, patience) && job_time(job, state, &work)) {
        const double tokens =
            (double)(row->model.batch * (row->model.prefill ? row->model.tokens : 1));
        shim_counter(state, "tokens_per_second", tokens / shim_summary(state).median);
    }
}
