/*
 * The embedding and the norm behind it on CUDA, a block a row: stream = scale table[token],
 * x = r stream with r = 1 / sqrt(mean(stream^2) + eps). A thread has 16 bytes of a row at a time
 * where the alignment allows, else one element; what it wrote of the stream it reads again.
 *
 * A pass begins with it, and it lets no kernel in before all that came before it has ended: what
 * kernels of the pass read early (core/dispatch.h) relies on that.
 */
#include "kernels/srmsnorm/cuda_row.cuh"
#include "model/embedding.h"

namespace {

constexpr int EMBED_THREADS = 256;

template <typename T> struct embed_tensors {
    const T *table;
    const int32_t *token;
    float *stream;
    T *x;
};

template <typename T, int W>
__global__ void __launch_bounds__(EMBED_THREADS)
    embed_kernel(const embed_tensors<T> tensors, float scale, const norm_shape shape) {
    await_previous();
    const T *row = tensors.table + (int64_t)tensors.token[blockIdx.x] * shape.width;
    float *stream = tensors.stream + (int64_t)blockIdx.x * shape.width;
    T *x = tensors.x + (int64_t)blockIdx.x * shape.width;
    const int first = (int)threadIdx.x * W, step = (int)blockDim.x * W;
    float value[W], squares[1] = {0};
    for (int i = first; i < shape.width; i += step) {
        load<W>(row + i, value);
#pragma unroll
        for (int w = 0; w < W; w++) {
            value[w] *= scale;
            squares[0] = fmaf(value[w], value[w], squares[0]);
        }
        store<W>(stream + i, value);
    }
    block_sums(squares);
    const norm_scale<T> r = norm_scale_of<T>(squares[0], shape);
    for (int i = first; i < shape.width; i += step) {
        load<W>(stream + i, value);
#pragma unroll
        for (int w = 0; w < W; w++)
            value[w] = r.times(value[w]);
        store<W>(x + i, value);
    }
}

template <typename T, int W>
tnl_status run(const tnl_call *call, const embed_tensors<T> &tensors, float scale) {
    return tnl_launch(call, embed_kernel<T, W>, dim3((unsigned)call->dim[DIM_M]),
                      dim3(EMBED_THREADS), 0, tensors, scale, shape_of(call));
}

} // namespace

tnl_status tnl_cuda_embed(tnl_context *context, const tnl_tensor *table, const int32_t *token,
                          int64_t count, float scale, float *stream, void *x) {
    tnl_call call = {};
    call.context = context;
    call.op = TNL_SRMSNORM_FORWARD;
    call.type = table->type;
    call.eps = TNL_DEFAULT_EPS;
    call.dim[DIM_M] = count;
    call.dim[DIM_HIDDEN] = table->shape[1];
    return tnl_with_type(&call, [&](auto type) {
        using T = decltype(type);
        constexpr int W = pack<T>::size;
        const embed_tensors<T> tensors = {(const T *)table->data, token, stream, (T *)x};
        return tnl_allows_16_bytes(table) ? run<T, W>(&call, tensors, scale)
                                          : run<T, 1>(&call, tensors, scale);
    });
}
