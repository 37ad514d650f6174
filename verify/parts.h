/* The parts of verify, each in the file of its name. They record into the report. */
#ifndef TNL_VERIFY_PARTS_H
#define TNL_VERIFY_PARTS_H

#include "tnl.h"
#include "verify/report.h"

/* Where rows are judged: the CPU, a CUDA device, or both. */
typedef struct verify_devices {
    tnl_context *context[2];
    int count;
} verify_devices;

/* Every row against its operator's reference, over the sweep. */
void verify_matrix(report *r, const verify_devices *devices);
/* What must hold of every row without a reference: causality, cutting anywhere, ... */
void verify_properties(report *r, tnl_context *context);
/* Slopes, types, listing functions, the references among each other. */
void verify_checks(report *r);
/* The references' gradients against finite differences. */
void verify_gradients(report *r);
/* That no kernel spills registers, by what ptxas said when it was built: the log at `path`. */
void verify_ptxas(report *r, const char *path);
/* The data of directory/ops.safetensors: the rows against it, and on a CPU context the
 * references. */
void verify_golden(report *r, tnl_context *context, const char *directory);
/* The models of directory/NAME/, in every type that the context's device has rows for. */
void verify_golden_models(report *r, tnl_context *context, const char *directory);
/* Algorithm 1 against Algorithm 2 over a million tokens, on a CPU context; path: where the errors
 * by position go, or NULL. */
void verify_robust_inference(report *r, tnl_context *context, const char *path);
/* Model directories with every kind of damage, one by one. */
void verify_damage(report *r, tnl_context *context);
/* Table 10's counts; states, sampling and random checkpoints; their functions with bad input. */
void verify_model_checks(report *r, tnl_context *context);
/* A model made without a checkpoint. */
void verify_made_model(report *r, tnl_context *context);
/* The Transformer of figure 4: its attention, and prefilling against decoding. */
void verify_transformer(report *r, tnl_context *context);
void verify_transformer_attention(report *r, tnl_context *context);
/* Tokens chosen where the logits are, against the host's choice. */
void verify_generation(report *r, tnl_context *context);
/* Every public function with bad arguments, made from the table. */
void verify_bad_input(report *r, tnl_context *context);

#endif
