/* A decode step of the whole model as one kernel, for a few sequences (model/step_cuda.cu). */
#ifndef TNL_MODEL_STEP_H
#define TNL_MODEL_STEP_H

#include "core/context.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TNL_STEP_MOST_ROWS = 2 };

/* What a layer's part of the step works on, in the device's memory. Matrices are [out,in]. */
typedef struct tnl_step_layer {
    const void *qkvu, *out, *l1, *l2, *l3;
    const float *theta, *slope; /* theta: NULL without LRPE */
    float *state;               /* [slots,h,f,d] */
} tnl_step_layer;

/* A model and a state; pointers are to the device's memory. */
typedef struct tnl_step {
    tnl_type type;
    int layers, width, hidden, gated, vocab, heads; /* width: D */
    const void *embedding, *head;
    float scale; /* of the embedding */
    const int64_t *positions;
    const int32_t *slots, *tokens; /* slot -1: its state and position stay */
    void *logits;                  /* [rows,vocab] */
    void *memory; /* the layers' table, and what the kernel needs, zeros at first */
} tnl_step;

/* Bytes of `memory`; 0: the kernel does not take this model or device. */
size_t tnl_cuda_step_bytes(const tnl_context *context, const tnl_step *step);
/* The most rows for which the kernel is faster than a graph of the operators; 0: it never is. */
int tnl_step_rows(const tnl_step *step);
/* Queue a step of `rows` tokens, at most TNL_STEP_MOST_ROWS, on the context's stream. */
tnl_status tnl_cuda_step(tnl_context *context, const tnl_step *step, int rows);

#ifdef __cplusplus
}
#endif

#endif
