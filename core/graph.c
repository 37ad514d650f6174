/* CUDA graphs (core/graph.h). */
#include "core/graph.h"

#include "core/context.h"
#include "core/cuda.h"

#ifdef TNL_WITH_CUDA

#include <cuda_runtime_api.h>
#include <stdlib.h>

bool tnl_graph_begin(tnl_graph *c, tnl_context *context) {
    cudaStream_t stream;
    *c = (tnl_graph){.context = context, .previous = context->stream};
    if (!tnl_cuda_good(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)))
        return false;
    c->stream = stream;
    return tnl_context_set_stream(context, stream) == TNL_OK &&
           tnl_cuda_good(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
}

bool tnl_graph_end(tnl_graph *c) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    tnl_context_set_stream(c->context, c->previous);
    if (!tnl_cuda_good(cudaStreamEndCapture(c->stream, &graph)))
        return false;
    c->graph = graph;
    if (!tnl_cuda_good(cudaGraphInstantiate(&executable, graph, 0)))
        return false;
    c->executable = executable;
    return true;
}

bool tnl_graph_launch(const tnl_graph *c) {
    return tnl_cuda_good(cudaGraphLaunch(c->executable, c->context->stream));
}

bool tnl_graph_replay(const tnl_graph *c) {
    return tnl_cuda_good(cudaGraphLaunch(c->executable, c->stream)) &&
           tnl_cuda_good(cudaStreamSynchronize(c->stream));
}

int tnl_graph_kernels(const tnl_graph *c) {
    size_t count = 0;
    if (!c->graph || !tnl_cuda_good(cudaGraphGetNodes(c->graph, NULL, &count)))
        return -1;
    cudaGraphNode_t *node = calloc(count + 1, sizeof *node);
    int kernels = node && tnl_cuda_good(cudaGraphGetNodes(c->graph, node, &count)) ? 0 : -1;
    for (size_t i = 0; kernels >= 0 && i < count; i++) {
        enum cudaGraphNodeType type;
        if (!tnl_cuda_good(cudaGraphNodeGetType(node[i], &type)))
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
        tnl_cuda_good(cudaGraphExecDestroy(c->executable));
    if (c->graph)
        tnl_cuda_good(cudaGraphDestroy(c->graph));
    if (c->stream)
        tnl_cuda_good(cudaStreamDestroy(c->stream));
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
