/*
 * SGLU (eq. 5), Y = ((X Wv) * (X Wu)) Wo, by cuBLAS, with the product between the GEMMs in a kernel
 * of its own. V and U, which only that kernel reads, stay float32; P, which a GEMM reads, is
 * rounded to the data type.
 */
#include "kernels/sglu/cuda_gate.cuh"

namespace {

/* p = v u; v and u themselves go to v_out and u_out where those are not NULL. */
template <typename T, int W>
__global__ void product_kernel(matrix<float> v, matrix<float> u, matrix<T> p, matrix<T> v_out,
                               matrix<T> u_out, element_grid grid) {
    const element at(grid, W);
    if (at.column >= grid.columns)
        return;
    float vs[W], us[W], ps[W];
    load(v.row(at.row) + at.column, vs);
    load(u.row(at.row) + at.column, us);
#pragma unroll
    for (int w = 0; w < W; w++)
        ps[w] = vs[w] * us[w];
    store(p.row(at.row) + at.column, ps);
    if (v_out.data) {
        store(v_out.row(at.row) + at.column, vs);
        store(u_out.row(at.row) + at.column, us);
    }
}

/* v and u in float32, [m,g], in the workspace, or where they are outputs of that type, there. */
gemm_matrix float32_of(tnl_carver *carver, const tnl_call *call, const tnl_tensor *output) {
    if (output->data && call->type == TNL_FLOAT32)
        return tnl_gemm_matrix(output);
    const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G];
    return {carver->take<float>(m * g), TNL_FLOAT32, g, false};
}

/* The product kernel: p and, where they are asked for and not there already, v and u rounded. */
tnl_status multiply(const tnl_call *call, const gemm_matrix &v, const gemm_matrix &u,
                    const gemm_matrix &p, const tnl_tensor *v_out, const tnl_tensor *u_out) {
    const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G];
    const bool rounds = v_out->data && v_out->data != v.data;
    const bool wide = tnl_allows_16_bytes(v, g) && tnl_allows_16_bytes(u, g) &&
                      tnl_allows_16_bytes(p, g) &&
                      (!rounds || (tnl_allows_16_bytes(v_out) && tnl_allows_16_bytes(u_out)));
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        constexpr int W = pack<T>::size;
        const matrix<T> v_to = rounds ? tnl_matrix_of<T>(v_out) : matrix<T>{},
                        u_to = rounds ? tnl_matrix_of<T>(u_out) : matrix<T>{};
        const element_grid grid = grid_of(m, g, wide ? W : 1);
        const auto kernel = wide ? product_kernel<T, W> : product_kernel<T, 1>;
        kernel<<<grid.blocks, grid.threads, 0, tnl_stream(call)>>>(
            tnl_matrix_of<float>(v), tnl_matrix_of<float>(u), tnl_matrix_of<T>(p), v_to, u_to,
            grid);
        return tnl_launched(call);
    });
}

/* y = p Wo. */
tnl_status down(const tnl_call *call, const gemm_matrix &p, int wo, int y) {
    return tnl_gemm(call, call->dim[DIM_M], call->dim[DIM_HIDDEN], call->dim[DIM_G], p,
                    tnl_transposed(tnl_gemm_matrix(&call->tensor[wo])),
                    tnl_gemm_matrix(&call->tensor[y]));
}

/* What the forward operators keep in the workspace. */
struct forward_workspace {
    void *cublas;
    gemm_matrix v, u, p;
    size_t bytes;

    forward_workspace(const tnl_call *call, void *workspace, int v_out, int u_out, bool has_p) {
        tnl_carver carver = {(char *)workspace, 0};
        cublas = carver.take<char>(TNL_CUBLAS_BYTES);
        v = float32_of(&carver, call, &call->tensor[v_out]);
        u = float32_of(&carver, call, &call->tensor[u_out]);
        p = has_p ? gemm_matrix{}
                  : tnl_take_matrix(&carver, call->type, call->dim[DIM_M], call->dim[DIM_G]);
        bytes = carver.used;
    }
};

size_t gate_workspace(const tnl_call *call) {
    return forward_workspace(call, nullptr, SGLU_GATE_V, SGLU_GATE_U, true).bytes;
}

tnl_status launch_gate(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const forward_workspace at(call, call->workspace, SGLU_GATE_V, SGLU_GATE_U, true);
    tnl_status status = tnl_cublas_begin(call, at.cublas);
    if (status == TNL_OK)
        status = multiply_by_gates(call, SGLU_GATE_X, SGLU_GATE_WV, SGLU_GATE_WU, at.v, at.u);
    if (status == TNL_OK)
        status = multiply(call, at.v, at.u, tnl_gemm_matrix(&tensor[SGLU_GATE_P]),
                          &tensor[SGLU_GATE_V], &tensor[SGLU_GATE_U]);
    return status;
}

size_t down_workspace(const tnl_call *call) {
    (void)call;
    return TNL_CUBLAS_BYTES;
}

tnl_status launch_down(const tnl_call *call) {
    const tnl_status status = tnl_cublas_begin(call, call->workspace);
    if (status != TNL_OK)
        return status;
    return down(call, tnl_gemm_matrix(&call->tensor[SGLU_DOWN_P]), SGLU_DOWN_WO, SGLU_DOWN_Y);
}

size_t sglu_workspace(const tnl_call *call) {
    return forward_workspace(call, nullptr, SGLU_V, SGLU_U, false).bytes;
}

tnl_status launch_forward(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const forward_workspace at(call, call->workspace, SGLU_V, SGLU_U, false);
    tnl_status status = tnl_cublas_begin(call, at.cublas);
    if (status == TNL_OK)
        status = multiply_by_gates(call, SGLU_X, SGLU_WV, SGLU_WU, at.v, at.u);
    if (status == TNL_OK)
        status = multiply(call, at.v, at.u, at.p, &tensor[SGLU_V], &tensor[SGLU_U]);
    if (status == TNL_OK)
        status = down(call, at.p, SGLU_WO, SGLU_Y);
    return status;
}

} // namespace

const tnl_kernel tnl_cuda_sglu_gate_cublas = {
    .launch = launch_gate, .workspace = gate_workspace, .deterministic = true};
const tnl_kernel tnl_cuda_sglu_down_cublas = {
    .launch = launch_down, .workspace = down_workspace, .deterministic = true};
const tnl_kernel tnl_cuda_sglu_forward_cublas = {
    .launch = launch_forward, .workspace = sglu_workspace, .deterministic = true};
