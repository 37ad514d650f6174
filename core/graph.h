/*
 * CUDA graphs: what a call queues on its context's stream, recorded instead of run, to be counted
 * or run later. Only on CUDA contexts.
 *
 *     tnl_graph c;
 *     bool recorded = tnl_graph_begin(&c, context);
 *     ... the call ...
 *     if (tnl_graph_end(&c) && tnl_graph_replay(&c)) ...
 *     tnl_graph_free(&c);
 */
#ifndef TNL_CORE_GRAPH_H
#define TNL_CORE_GRAPH_H

#include <stdbool.h>

#include "tnl.h"

typedef struct tnl_graph {
    tnl_context *context;
    void *stream, *previous; /* the one recorded, and the context's own */
    void *graph, *executable;
} tnl_graph;

/* From here on the context's stream is one that records. Anything that can't be captured, such as
 * an allocation, fails until tnl_graph_end. false: it could not be begun. */
bool tnl_graph_begin(tnl_graph *c, tnl_context *context);
/* The context has its own stream back. false: what was queued can't be captured. */
bool tnl_graph_end(tnl_graph *c);
/* Queue what was recorded on the context's stream; false: it failed. */
bool tnl_graph_launch(const tnl_graph *c);
/* Run what was recorded and wait for it; false: it failed. */
bool tnl_graph_replay(const tnl_graph *c);
/* Kernels in what was recorded; -1: unknown. */
int tnl_graph_kernels(const tnl_graph *c);
/* After tnl_graph_begin, whatever it returned. */
void tnl_graph_free(tnl_graph *c);

#endif
