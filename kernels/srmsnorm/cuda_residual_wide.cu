/*
 * The pre-norm of eq. 9 with a float32 residual, x or both beside a y of a 16-bit type:
 * residual_out = residual + x, y = r residual_out, in one pass over memory. A block has a row; a
 * thread has packs of W of its elements, the first HELD of which stay in registers between the sum
 * over the row and the result. What a row has beyond that is read again from residual_out.
 */
#include "kernels/srmsnorm/cuda_row.cuh"

namespace {

constexpr int WIDE_THREADS = 512, WIDE_HELD = 2;

/* R: the residual's type, X: x's. */
template <typename R, typename X, typename T> struct wide_tensors {
    matrix<const R> residual;
    matrix<const X> x;
    matrix<R> sum;
    matrix<T> y;
};

/* A pack's sums, and their squares added to `squares`. */
template <int W, typename R, typename X>
__device__ __forceinline__ void add_pack(const R *residual, const X *x, float (&sum)[W],
                                         float &squares) {
    float more[W];
    load<W>(residual, sum);
    load<W>(x, more);
#pragma unroll
    for (int w = 0; w < W; w++)
        sum[w] += more[w];
#pragma unroll
    for (int w = 0; w < W; w++)
        squares = fmaf(sum[w], sum[w], squares);
}

template <int W, typename T>
__device__ __forceinline__ void give_pack(T *y, const norm_scale<T> &r, const float (&sum)[W]) {
    float scaled[W];
#pragma unroll
    for (int w = 0; w < W; w++)
        scaled[w] = r.times(sum[w]);
    store<W>(y, scaled);
}

template <int W, typename R, typename X, typename T>
__global__ void __launch_bounds__(WIDE_THREADS, 2)
    wide_kernel(const wide_tensors<R, X, T> tensors, const norm_shape shape) {
    allow_next_kernel();
    wait_for_kernel_before();
    const int64_t row = blockIdx.x;
    const R *residual = tensors.residual.row(row);
    const X *x = tensors.x.row(row);
    R *sum = tensors.sum.row(row);
    T *y = tensors.y.row(row);
    const int first = (int)threadIdx.x * W, step = (int)blockDim.x * W;
    float held[WIDE_HELD][W], squares[1] = {0};
#pragma unroll
    for (int j = 0; j < WIDE_HELD; j++)
        if (first + j * step < shape.width)
            add_pack<W>(residual + first + j * step, x + first + j * step, held[j], squares[0]);
#pragma unroll
    for (int j = 0; j < WIDE_HELD; j++)
        if (first + j * step < shape.width)
            store<W>(sum + first + j * step, held[j]);
    for (int i = first + WIDE_HELD * step; i < shape.width; i += step) {
        float more[W];
        add_pack<W>(residual + i, x + i, more, squares[0]);
        store<W>(sum + i, more);
    }
    block_sums(squares);
    const norm_scale<T> r = norm_scale_of<T>(squares[0], shape);
#pragma unroll
    for (int j = 0; j < WIDE_HELD; j++)
        if (first + j * step < shape.width)
            give_pack<W>(y + first + j * step, r, held[j]);
    for (int i = first + WIDE_HELD * step; i < shape.width; i += step) {
        float more[W];
        load<W>(sum + i, more);
        give_pack<W>(y + i, r, more);
    }
}

template <int W, typename R, typename X, typename T> tnl_status run(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const wide_tensors<R, X, T> tensors = {
        tnl_matrix_of<const R>(&tensor[RES_RESIDUAL]), tnl_matrix_of<const X>(&tensor[RES_X]),
        tnl_matrix_of<R>(&tensor[RES_RESIDUAL_OUT]), tnl_matrix_of<T>(&tensor[RES_Y])};
    const int64_t packs = ceil_div(call->dim[DIM_HIDDEN], W);
    /* Few rows want many threads each, many rows several packs a thread. */
    const int held = call->dim[DIM_M] <= 2 * call->context->multiprocessors ? 1 : WIDE_HELD;
    const int64_t threads = 32 * ceil_div(ceil_div(packs, held), 32);
    return tnl_launch(call, wide_kernel<W, R, X, T>, dim3((unsigned)call->dim[DIM_M]),
                      dim3((unsigned)(threads < WIDE_THREADS ? threads : WIDE_THREADS)), 0, tensors,
                      shape_of(call));
}

template <typename R, typename X, typename T> tnl_status run_width(const tnl_call *call) {
    bool wide = true;
    for (int i = RES_RESIDUAL; i <= RES_Y; i++)
        wide = wide && tnl_allows_16_bytes(&call->tensor[i]);
    return wide ? run<8, R, X, T>(call) : run<1, R, X, T>(call);
}

template <typename T> tnl_status run_types(const tnl_call *call) {
    if (call->tensor[RES_X].type != TNL_FLOAT32)
        return run_width<float, T, T>(call);
    return call->tensor[RES_RESIDUAL].type == TNL_FLOAT32 ? run_width<float, float, T>(call)
                                                          : run_width<T, float, T>(call);
}

const char *rejects(const tnl_call *call) {
    return call->tensor[RES_RESIDUAL].type == TNL_FLOAT32 || call->tensor[RES_X].type == TNL_FLOAT32
               ? NULL
               : "takes a float32 residual or x";
}

tnl_status forward(const tnl_call *call) {
    return call->type == TNL_FLOAT16 ? run_types<__half>(call) : run_types<__nv_bfloat16>(call);
}

} // namespace

const tnl_kernel tnl_cuda_srmsnorm_residual_forward_wide = {
    .launch = forward, .rejects = rejects, .deterministic = true};
