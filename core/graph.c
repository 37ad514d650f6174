/* CUDA graphs (core/graph.h). */
#include "core/graph.h"

#include "core/context.h"

#ifdef TNL_WITH_CUDA

#include <cuda_runtime_api.h>
#include <stdlib.h>

/* A failure stays on the runtime's record, where the next kernel launch would find it. */
static bool good(cudaError_t error) {
    if (error != cudaSuccess)
        cudaGetLastError();
    return error == cudaSuccess;
}

bool tnl_graph_begin(tnl_graph *c, tnl_context *context) {
    cudaStream_t stream;
    *c = (tnl_graph){.context = context, .previous = context->stream};
    if (!good(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)))
        return false;
    c->stream = stream;
    return tnl_context_set_stream(context, stream) == TNL_OK &&
           good(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
}

bool tnl_graph_end(tnl_graph *c) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    tnl_context_set_stream(c->context, c->previous);
    if (!good(cudaStreamEndCapture(c->stream, &graph)))
        return false;
    c->graph = graph;
    if (!good(cudaGraphInstantiate(&executable, graph, 0)))
        return false;
    c->executable = executable;
    return true;
}

bool tnl_graph_launch(const tnl_graph *c) {
    return good(cudaGraphLaunch(c->executable, c->context->stream));
}

bool tnl_graph_replay(const tnl_graph *c) {
    return good(cudaGraphLaunch(c->executable, c->stream)) &&
           good(cudaStreamSynchronize(c->stream));
}

int tnl_graph_kernels(const tnl_graph *c) {
    size_t count = 0;
    if (!c->graph || !good(cudaGraphGetNodes(c->graph, NULL, &count)))
        return -1;
    cudaGraphNode_t *node = calloc(count + 1, sizeof *node);
    int kernels = node && good(cudaGraphGetNodes(c->graph, node, &count)) ? 0 : -1;
    for (size_t i = 0; kernels >= 0 && i < count; i++) {
        enum cudaGraphNodeType type;
        if (!good(cudaGraphNodeGetType(node[i], &type)))
            kernels = -1;
        else
            kernels += type == cudaGraphNodeTypeKernel;
    }
    free(node);
    return kernels;
}

void tnl_graph_free(tnl_graph *c) {
    if (c->stream && c->context->stream == c->stream)
        tnl_context_set_stream(c->context, c->previous);
    if (c->executable)
        good(cudaGraphExecDestroy(c->executable));
    if (c->graph)
        good(cudaGraphDestroy(c->graph));
    if (c->stream)
        good(cudaStreamDestroy(c->stream));
    *c = (tnl_graph){0};
}

#else

bool tnl_graph_begin(tnl_graph *c, tnl_context *context) {
    *c = (tnl_graph){.context = context, .previous = context->stream};
    return false;
}

bool tnl_graph_end(tnl_graph *c) {
    (void)c;
    return false;
}

bool tnl_graph_launch(const tnl_graph *c) {
    (void)c;
    return false;
}

bool tnl_graph_replay(const tnl_graph *c) {
    (void)c;
    return false;
}

int tnl_graph_kernels(const tnl_graph *c) {
    (void)c;
    return -1;
}

void tnl_graph_free(tnl_graph *c) {
    (void)c;
}

#endif
