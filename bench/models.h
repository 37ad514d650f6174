/*
 * Rows of whole models: model_decode and model_prefill, of TransNormerLLM (tnl) and of the softmax
 * Transformer (transformer) of the same sizes, with random weights and, at a position, a random
 * state or cache: what they hold does not matter to the time, where they stand does.
 */
#ifndef TNL_BENCH_MODELS_H
#define TNL_BENCH_MODELS_H

#include "bench/run.h"
#include "tnl_model.h"

/* The rows of a kind of device; quick: few of the smallest size. false: out of memory. */
bool models_add(row_list *list, tnl_device device, bool quick);
/* The configuration of a row's model. */
tnl_config models_config(const model_work *work);

/* The bytes of a row's state or cache. */
double models_context_bytes(const model_work *work, tnl_type type);

/* The body of such a row. */
void run_model(const bench_job *job, shim_state *state);
/* Let go of the model that the last such row has left. */
void models_drop(bench_runner *runner);

#endif
