/*
 * CUDA graphs: what a call queues on its context's stream, recorded instead of run, to be counted
 * or run later. Only on CUDA contexts.
 *
 *     capture c;
 *     bool recorded = capture_begin(&c, context);
 *     ... the call ...
 *     if (capture_end(&c) && capture_replay(&c)) ...
 *     capture_free(&c);
 */
#ifndef TNL_VERIFY_CAPTURE_H
#define TNL_VERIFY_CAPTURE_H

#include <stdbool.h>

#include "tnl.h"

typedef struct capture {
    tnl_context *context;
    void *stream, *previous; /* the one recorded, and the context's own */
    void *graph, *executable;
} capture;

/* From here on the context's stream is one that records. Anything that can't be captured, such as
 * an allocation, fails until capture_end. false: it could not be begun. */
bool capture_begin(capture *c, tnl_context *context);
/* The context has its own stream back. false: what was queued can't be captured. */
bool capture_end(capture *c);
/* Run what was recorded and wait for it; false: it failed. */
bool capture_replay(const capture *c);
/* Kernels in what was recorded; -1: unknown. */
int capture_kernels(const capture *c);
/* After capture_begin, whatever it returned. */
void capture_free(capture *c);

#endif
