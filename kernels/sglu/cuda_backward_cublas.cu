/*
 * SGLU's gradients by cuBLAS, with the elementwise products between the GEMMs in a kernel of their
 * own. With dP = dY Wo^T,
 *     dV = dP * U,  dU = dP * V,  dX = dV Wv^T + dU Wu^T,  dWv = X^T dV,  dWu = X^T dU,
 *     dWo = P^T dY
 * (weights as the paper has them; in memory they are [out,in]). dP, V and U where they are computed
 * again, and dX until both its products are summed, are float32; what a GEMM reads is rounded to
 * the data type, dV and dU for dWv and dWu in two parts where there are few rows
 * (weight_gradient.cuh).
 */
#include "kernels/common/weight_gradient.cuh"
#include "kernels/sglu/cuda_gate.cuh"

namespace {

/* p = v u, dv = dp u, du = dp v. X: the type of v and u. rest: how many rows below dv and du goes
 * what rounding takes from them; 0: nowhere. */
template <typename X, typename T, int W>
__global__ void gradients_kernel(matrix<X> v, matrix<X> u, matrix<float> dp, matrix<T> p,
                                 matrix<T> dv, matrix<T> du, int64_t rest, element_grid grid) {
    const element at(grid, W);
    if (at.column >= grid.columns)
        return;
    float vs[W], us[W], dps[W], ps[W], dvs[W], dus[W];
    load(v.row(at.row) + at.column, vs);
    load(u.row(at.row) + at.column, us);
    load(dp.row(at.row) + at.column, dps);
#pragma unroll
    for (int w = 0; w < W; w++) {
        ps[w] = vs[w] * us[w];
        dvs[w] = dps[w] * us[w];
        dus[w] = dps[w] * vs[w];
    }
    store(p.row(at.row) + at.column, ps);
    store(dv.row(at.row) + at.column, dvs);
    store(du.row(at.row) + at.column, dus);
    if (rest) {
        store_rest(dv.row(at.row + rest) + at.column, dvs);
        store_rest(du.row(at.row + rest) + at.column, dus);
    }
}

/* to = from, rounded. */
template <typename T, int W>
__global__ void round_kernel(matrix<float> from, matrix<T> to, element_grid grid) {
    const element at(grid, W);
    if (at.column >= grid.columns)
        return;
    float values[W];
    load(from.row(at.row) + at.column, values);
    store(to.row(at.row) + at.column, values);
}

/* dx is float32 and lies where dp was; where that is the data type it is the output itself. dv, du
 * and x have the rows that weight gradients are made of. */
struct backward_workspace {
    void *cublas;
    gemm_matrix v, u, dp, p, dv, du, dx, x;
    size_t bytes;

    backward_workspace(const tnl_call *call, void *workspace) {
        const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G], width = call->dim[DIM_HIDDEN];
        const tnl_tensor *tensor = call->tensor;
        tnl_carver carver = {(char *)workspace, 0};
        cublas = carver.take<char>(TNL_CUBLAS_BYTES);
        const bool saved = tensor[SGLU_BWD_V].data;
        v = saved ? tnl_gemm_matrix(&tensor[SGLU_BWD_V])
                  : tnl_take_matrix(&carver, TNL_FLOAT32, m, g);
        u = saved ? tnl_gemm_matrix(&tensor[SGLU_BWD_U])
                  : tnl_take_matrix(&carver, TNL_FLOAT32, m, g);
        dp = tnl_take_matrix(&carver, TNL_FLOAT32, m, g > width ? g : width);
        dx = call->type == TNL_FLOAT32 ? tnl_gemm_matrix(&tensor[SGLU_BWD_DX]) : dp;
        dp.stride = g;
        if (call->type != TNL_FLOAT32)
            dx.stride = width;
        p = tnl_take_matrix(&carver, call->type, m, g);
        dv = tnl_take_matrix(&carver, call->type, tnl_gradient_rows(call), g);
        du = tnl_take_matrix(&carver, call->type, tnl_gradient_rows(call), g);
        x = tnl_take_rows(&carver, call, &tensor[SGLU_BWD_X]);
        bytes = carver.used;
    }
};

size_t gradients_workspace(const tnl_call *call) {
    return backward_workspace(call, nullptr).bytes;
}

template <typename X, typename T>
tnl_status differentiate(const tnl_call *call, const backward_workspace &at) {
    constexpr int W = pack<T>::size;
    const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G];
    const bool wide = tnl_allows_16_bytes(at.v, g) && tnl_allows_16_bytes(at.u, g) &&
                      tnl_allows_16_bytes(at.dp, g) && tnl_allows_16_bytes(at.p, g);
    const element_grid grid = grid_of(m, g, wide ? W : 1);
    const auto kernel = wide ? gradients_kernel<X, T, W> : gradients_kernel<X, T, 1>;
    kernel<<<grid.blocks, grid.threads, 0, tnl_stream(call)>>>(
        tnl_matrix_of<X>(at.v), tnl_matrix_of<X>(at.u), tnl_matrix_of<float>(at.dp),
        tnl_matrix_of<T>(at.p), tnl_matrix_of<T>(at.dv), tnl_matrix_of<T>(at.du),
        tnl_splits_gradients(call) ? m : 0, grid);
    return tnl_launched(call);
}

tnl_status round_dx(const tnl_call *call, const gemm_matrix &from) {
    const tnl_tensor *dx = &call->tensor[SGLU_BWD_DX];
    if (call->type == TNL_FLOAT32)
        return TNL_OK;
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
    const bool wide = tnl_allows_16_bytes(from, width) && tnl_allows_16_bytes(dx);
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        constexpr int W = pack<T>::size;
        const element_grid grid = grid_of(m, width, wide ? W : 1);
        const auto kernel = wide ? round_kernel<T, W> : round_kernel<T, 1>;
        kernel<<<grid.blocks, grid.threads, 0, tnl_stream(call)>>>(tnl_matrix_of<float>(from),
                                                                   tnl_matrix_of<T>(dx), grid);
        return tnl_launched(call);
    });
}

tnl_status launch_backward(const tnl_call *call) {
    const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G], width = call->dim[DIM_HIDDEN];
    const tnl_tensor *tensor = call->tensor;
    const gemm_matrix dy = tnl_gemm_matrix(&tensor[SGLU_BWD_DY]);
    const gemm_matrix wv = tnl_gemm_matrix(&tensor[SGLU_BWD_WV]);
    const gemm_matrix wu = tnl_gemm_matrix(&tensor[SGLU_BWD_WU]);
    const gemm_matrix wo = tnl_gemm_matrix(&tensor[SGLU_BWD_WO]);
    const backward_workspace at(call, call->workspace);

    tnl_status status = tnl_cublas_begin(call, at.cublas);
    if (status == TNL_OK && !tensor[SGLU_BWD_V].data)
        status = multiply_by_gates(call, SGLU_BWD_X, SGLU_BWD_WV, SGLU_BWD_WU, at.v, at.u);
    if (status == TNL_OK)
        status = tnl_gemm(call, m, g, width, dy, wo, at.dp);
    if (status == TNL_OK)
        status = tnl_with_type(call, [&](auto type) {
            using T = decltype(type);
            return at.v.type == TNL_FLOAT32 ? differentiate<float, T>(call, at)
                                            : differentiate<T, T>(call, at);
        });
    if (status == TNL_OK)
        status = tnl_gemm(call, m, width, g, at.dv, wv, at.dx);
    if (status == TNL_OK)
        status = tnl_gemm(call, m, width, g, at.du, wu, at.dx, true);
    if (status == TNL_OK)
        status = round_dx(call, at.dx);
    if (status == TNL_OK)
        status = tnl_copy_rows(call, &tensor[SGLU_BWD_X], at.x);
    if (status == TNL_OK)
        status = tnl_weight_gradient(call, at.dv, at.x, &tensor[SGLU_BWD_DWV]);
    if (status == TNL_OK)
        status = tnl_weight_gradient(call, at.du, at.x, &tensor[SGLU_BWD_DWU]);
    if (status == TNL_OK)
        status = tnl_gemm(call, width, g, m, tnl_transposed(dy), at.p,
                          tnl_gemm_matrix(&tensor[SGLU_BWD_DWO]));
    return status;
}

} // namespace

const tnl_kernel tnl_cuda_sglu_backward_cublas = {
    .launch = launch_backward, .workspace = gradients_workspace, .deterministic = true};
