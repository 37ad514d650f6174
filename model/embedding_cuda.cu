/*
 * The embedding on CUDA: y[i] = scale table[token[i]]. A thread has 16 bytes of a row where the
 * alignment allows, else one element; the scale is applied in float32 and the product rounded once.
 */
#include "kernels/common/cuda_elementwise.cuh"
#include "model/embedding.h"

namespace {

template <typename T, int W>
__global__ void __launch_bounds__(ELEMENT_THREADS)
    embed_kernel(const element_grid grid, const T *table, const int32_t *token, float scale, T *y) {
    const element at(grid, W);
    if (at.column >= grid.columns)
        return;
    float x[W];
    load<W>(table + (int64_t)token[at.row] * grid.columns + at.column, x);
#pragma unroll
    for (int i = 0; i < W; i++)
        x[i] *= scale;
    store<W>(y + at.row * grid.columns + at.column, x);
}

} // namespace

tnl_status tnl_cuda_embed(tnl_context *context, const tnl_tensor *table, const int32_t *token,
                          int64_t count, float scale, void *y) {
    const int64_t columns = table->shape[1];
    tnl_call call = {};
    call.context = context;
    call.type = table->type;
    const tnl_status status = tnl_with_type(&call, [&](auto type) {
        using T = decltype(type);
        constexpr int W = 16 / sizeof(T);
        const cudaStream_t stream = (cudaStream_t)context->stream;
        const bool wide = columns % W == 0 && (uintptr_t)table->data % 16 == 0;
        const element_grid grid = grid_of(count, columns, wide ? W : 1);
        if (wide)
            embed_kernel<T, W><<<grid.blocks, grid.threads, 0, stream>>>(
                grid, (const T *)table->data, token, scale, (T *)y);
        else
            embed_kernel<T, 1><<<grid.blocks, grid.threads, 0, stream>>>(
                grid, (const T *)table->data, token, scale, (T *)y);
        return TNL_OK;
    });
    const cudaError_t error = cudaGetLastError();
    if (status != TNL_OK || error == cudaSuccess)
        return status;
    return tnl_fail(context, TNL_DEVICE_ERROR, "embedding: CUDA reports: %s, expected success",
                    cudaGetErrorString(error));
}
