/*
 * SGLU's gradients on Hopper. With dP = dY Wo^T,
 *     dV = dP * U,  dU = dP * V,  dX = dV Wv^T + dU Wu^T,  dWv = X^T dV,  dWu = X^T dU,
 *     dWo = P^T dY
 * (weights as the paper has them; in memory they are [out,in]). dP never reaches memory: what is
 * made of it and of V and U, dV, dU and P, is made while a tile of dP is in registers. dX is one
 * product, its sum kept in float32 throughout. The weights' gradients are cuBLAS's.
 */
#include "kernels/common/cublas.cuh"
#include "kernels/sglu/cuda_hopper.cuh"

namespace {

/* From a tile of dP: dv = dp u, du = dp v, p = v u. */
template <typename T> struct gradient_output {
    static constexpr int PANELS = 0; /* dp stays float32, and so all is written at once */
    CUtensorMap dv, du, p;
    matrix<const T> v, u;
    int rows, columns;

#ifdef TNL_HOPPER_CODE
    __device__ __forceinline__ void load_panel(panel_pairs &to, const matrix<const T> &from,
                                               int row, int column) const {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int low = 0; low < 2; low++) {
                const int at = row + lane / 4 + 8 * low;
                to[j][low] = 0;
                if (at < rows && column + 8 * j < columns)
                    to[j][low] = *(const uint32_t *)(from.row(at) + column + 8 * j + lane % 4 * 2);
            }
    }
    /* Fragments of c from `first` on, times those of a panel. */
    __device__ __forceinline__ static void multiply(panel_pairs &to, const float (&c)[32][4],
                                                    int first, const panel_pairs &by) {
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int low = 0; low < 2; low++) {
                const float2 factor = unpack_pair<T>(by[j][low]);
                to[j][low] = pack_pair<T>(c[first + j][2 * low] * factor.x,
                                          c[first + j][2 * low + 1] * factor.y);
            }
    }
    __device__ __forceinline__ static void multiply(panel_pairs &to, const panel_pairs &by) {
#pragma unroll
        for (int j = 0; j < 8; j++)
#pragma unroll
            for (int low = 0; low < 2; low++) {
                const float2 a = unpack_pair<T>(to[j][low]), b = unpack_pair<T>(by[j][low]);
                to[j][low] = pack_pair<T>(a.x * b.x, a.y * b.y);
            }
    }

    template <typename U>
    __device__ __forceinline__ void take(const float (&c)[32][4], panel_pairs *, writer &to,
                                         int row, int column) const {
#pragma unroll
        for (int panel = 0; panel < 2 * HALF / PANEL_COLUMNS; panel++) {
            const int first = 2 * column * HALF + panel * PANEL_COLUMNS;
            panel_pairs vs, us, made;
            load_panel(us, u, row, first);
            multiply(made, c, panel * 8, us);
            to.write(&dv, row, first, made);
            load_panel(vs, v, row, first);
            multiply(made, c, panel * 8, vs);
            to.write(&du, row, first, made);
            multiply(vs, us);
            to.write(&p, row, first, vs);
        }
    }
    template <typename U>
    __device__ void write(int, const panel_pairs &, writer &, int, int) const {}
#endif
};

/* v and u are the call's own where it has them. */
struct backward_workspace {
    void *cublas;
    tnl_tensor v, u, p, dv, du;
    size_t bytes;

    backward_workspace(const tnl_call *call, void *workspace) {
        const tnl_tensor *tensor = call->tensor;
        tnl_carver carver = {(char *)workspace, 0};
        cublas = carver.take<char>(TNL_CUBLAS_BYTES);
        const bool saved = tensor[SGLU_BWD_V].data;
        v = saved ? tensor[SGLU_BWD_V] : take(call, &carver);
        u = saved ? tensor[SGLU_BWD_U] : take(call, &carver);
        p = take(call, &carver);
        dv = take(call, &carver);
        du = take(call, &carver);
        bytes = carver.used;
    }

    static tnl_tensor take(const tnl_call *call, tnl_carver *carver) {
        const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G];
        return {carver->take<uint16_t>(m * g), call->type, 2, {m, g}, {g, 1}};
    }
};

size_t workspace(const tnl_call *call) {
    return backward_workspace(call, nullptr).bytes;
}

/* dv, du and p. */
template <typename T>
tnl_status differentiate(const tnl_call *call, const backward_workspace &with) {
    arguments<gradient_output<T>> at;
    const tnl_tensor *tensor = call->tensor;
    at.output.v = tnl_matrix_of<const T>(&with.v);
    at.output.u = tnl_matrix_of<const T>(&with.u);
    at.output.rows = (int)call->dim[DIM_M];
    at.output.columns = (int)call->dim[DIM_G];
    tnl_status status =
        set_operands_mn(call, {&tensor[SGLU_BWD_DY], NULL}, {&tensor[SGLU_BWD_WO], NULL}, &at);
    if (status == TNL_OK)
        status = make_map(call, &with.dv, WARP_ROWS, &at.output.dv);
    if (status == TNL_OK)
        status = make_map(call, &with.du, WARP_ROWS, &at.output.du);
    if (status == TNL_OK)
        status = make_map(call, &with.p, WARP_ROWS, &at.output.p);
    return status == TNL_OK ? launch_type<true, T>(call, at) : status;
}

/* dx = dv Wv^T + du Wu^T. */
tnl_status differentiate_x(const tnl_call *call, const backward_workspace &with) {
    arguments<plain_output> at;
    const tnl_tensor *tensor = call->tensor;
    tnl_status status = set_operands_mn(call, {&with.dv, &with.du},
                                        {&tensor[SGLU_BWD_WV], &tensor[SGLU_BWD_WU]}, &at);
    if (status == TNL_OK)
        status = make_map(call, &tensor[SGLU_BWD_DX], WARP_ROWS, &at.output.y);
    return status == TNL_OK ? launch<true>(call, at) : status;
}

/* dw = a^T b, [rows of a^T, columns of b]. */
tnl_status differentiate_weight(const tnl_call *call, const tnl_tensor *a, const tnl_tensor *b,
                                int dw) {
    return tnl_gemm(call, a->shape[1], b->shape[1], a->shape[0], tnl_transposed(tnl_gemm_matrix(a)),
                    tnl_gemm_matrix(b), tnl_gemm_matrix(&call->tensor[dw]));
}

tnl_status launch_backward(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const tnl_tensor *x = &tensor[SGLU_BWD_X], *dy = &tensor[SGLU_BWD_DY];
    const backward_workspace with(call, call->workspace);
    tnl_status status = tnl_cublas_begin(call, with.cublas);
    if (status == TNL_OK && !tensor[SGLU_BWD_V].data)
        status =
            gate(call, x, &tensor[SGLU_BWD_WV], &tensor[SGLU_BWD_WU], &with.p, &with.v, &with.u);
    if (status == TNL_OK)
        status = call->type == TNL_FLOAT16 ? differentiate<__half>(call, with)
                                           : differentiate<__nv_bfloat16>(call, with);
    if (status == TNL_OK)
        status = differentiate_x(call, with);
    if (status == TNL_OK)
        status = differentiate_weight(call, &with.dv, x, SGLU_BWD_DWV);
    if (status == TNL_OK)
        status = differentiate_weight(call, &with.du, x, SGLU_BWD_DWU);
    if (status == TNL_OK)
        status = differentiate_weight(call, dy, &with.p, SGLU_BWD_DWO);
    return status;
}

const char *rejects_backward(const tnl_call *call) {
    return wants_k_shared(call, call->dim[DIM_M], call->dim[DIM_HIDDEN], 2 * call->dim[DIM_G])
               ? "has too few tiles for so large a g"
               : rejects_tensors(call, SGLU_BWD_DX + 1);
}

} // namespace

const tnl_kernel tnl_cuda_sglu_backward_hopper = {.launch = launch_backward,
                                                  .workspace = workspace,
                                                  .rejects = rejects_backward,
                                                  .deterministic = true};
