/*
 * SGLU's gradients on Hopper. With dP = dY Wo^T,
 *     dV = dP * U,  dU = dP * V,  dX = dV Wv^T + dU Wu^T,  dWv = X^T dV,  dWu = X^T dU,
 *     dWo = P^T dY
 * (weights as the paper has them; in memory they are [out,in]). dP never reaches memory: what is
 * made of it and of V and U, dV, dU and P, is made while a tile of dP is in registers. dX is one
 * product, its sum kept in float32 throughout. The weights' gradients are cuBLAS's.
 */
#include "kernels/common/weight_gradient.cuh"
#include "kernels/sglu/cuda_hopper.cuh"

namespace {

/* From a tile of dP: dv = dp u, du = dp v, and p = v u unless it is there already. V and U come
 * into shared memory a panel of 64 columns of each at a time; dv and du take their places there,
 * and p the one behind them. */
template <bool MAKES_P> struct gradient_output {
    static constexpr int PANELS = 0, PIECES = 1;
    static constexpr int LOADS = TILE_PANELS, LOAD_BYTES = 2 * A_BYTES;
    static_assert(LOAD_BYTES + A_BYTES <= STAGE_BYTES, "three panels of a tile's rows");
    CUtensorMap v, u, dv, du, p;

#ifdef TNL_HOPPER_CODE
    __device__ static int first_column(int i, int column) {
        return 2 * column * HALF + i * PANEL_COLUMNS;
    }
    __device__ __forceinline__ void load(unsigned char *stage, barrier *full, int i, int row,
                                         int column) const {
        tma_load(stage, &v, full, first_column(i, column), row);
        tma_load(stage + A_BYTES, &u, full, first_column(i, column), row);
    }

    /* Pairs of a fragment times those of c, or one another. */
    template <typename T>
    __device__ __forceinline__ static void multiply(uint32_t *to, const float (&c)[4],
                                                    const uint32_t *by) {
#pragma unroll
        for (int low = 0; low < 2; low++) {
            const float2 factor = unpack_pair<T>(by[low]);
            to[low] = pack_pair<T>(c[2 * low] * factor.x, c[2 * low + 1] * factor.y);
        }
    }
    template <typename T>
    __device__ __forceinline__ static void multiply(uint32_t (&to)[4], const uint32_t (&by)[4]) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float2 a = unpack_pair<T>(to[i]), b = unpack_pair<T>(by[i]);
            to[i] = pack_pair<T>(a.x * b.x, a.y * b.y);
        }
    }

    template <typename T>
    __device__ __forceinline__ void take(const float (&c)[32][4], int i, unsigned char *stage,
                                         int row, int column) const {
        const int lane = threadIdx.x % 32, panel_row = lane % 16;
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            const int chunk = (j + lane / 16) ^ panel_row % 8;
            unsigned char *const at = stage + panel_row * PANEL_ROW_BYTES + chunk * 16;
            uint32_t vs[4], us[4], made[4];
            load_matrices(vs, at);
            load_matrices(us, at + A_BYTES);
#pragma unroll
            for (int k = 0; k < 2; k++)
                multiply<T>(made + 2 * k, c[8 * i + j + k], us + 2 * k);
            store_matrices(at, made);
#pragma unroll
            for (int k = 0; k < 2; k++)
                multiply<T>(made + 2 * k, c[8 * i + j + k], vs + 2 * k);
            store_matrices(at + A_BYTES, made);
            if constexpr (MAKES_P) {
                multiply<T>(vs, us);
                store_matrices(at + 2 * A_BYTES, vs);
            }
        }
        fence_async_proxy();
        __syncwarp();
        if (lane == 0) {
            const int first = first_column(i, column);
            tma_store(&dv, stage, first, row);
            tma_store(&du, stage + A_BYTES, first, row);
            if (MAKES_P)
                tma_store(&p, stage + 2 * A_BYTES, first, row);
            tma_commit();
        }
    }
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
        v = saved ? tensor[SGLU_BWD_V] : take_gated(call, &carver);
        u = saved ? tensor[SGLU_BWD_U] : take_gated(call, &carver);
        p = take_gated(call, &carver);
        dv = take_gated(call, &carver);
        du = take_gated(call, &carver);
        bytes = carver.used;
    }
};

size_t workspace(const tnl_call *call) {
    return backward_workspace(call, nullptr).bytes;
}

/* dv and du, and p unless it is there already. */
template <bool MAKES_P>
tnl_status differentiate(const tnl_call *call, const backward_workspace &with) {
    arguments<gradient_output<MAKES_P>> at;
    const tnl_tensor *tensor = call->tensor;
    tnl_status status =
        set_operands_mn(call, {&tensor[SGLU_BWD_DY], NULL}, {&tensor[SGLU_BWD_WO], NULL}, &at);
    if (status == TNL_OK)
        status = make_maps(call, {{&with.v, &at.output.v, ROWS},
                                  {&with.u, &at.output.u, ROWS},
                                  {&with.dv, &at.output.dv},
                                  {&with.du, &at.output.du},
                                  {&with.p, &at.output.p}});
    return status == TNL_OK ? launch<true>(call, at) : status;
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

tnl_status launch_backward(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    const tnl_tensor *x = &tensor[SGLU_BWD_X];
    const backward_workspace with(call, call->workspace);
    const bool saved = tensor[SGLU_BWD_V].data;
    tnl_status status = tnl_cublas_begin(call, with.cublas);
    if (status == TNL_OK && !saved)
        status =
            gate(call, x, &tensor[SGLU_BWD_WV], &tensor[SGLU_BWD_WU], &with.p, &with.v, &with.u);
    if (status == TNL_OK)
        status = saved ? differentiate<true>(call, with) : differentiate<false>(call, with);
    if (status == TNL_OK)
        status = differentiate_x(call, with);
    if (status == TNL_OK)
        status = tnl_weight_gradient(call, tnl_gemm_matrix(&with.dv), tnl_gemm_matrix(x),
                                     &tensor[SGLU_BWD_DWV]);
    if (status == TNL_OK)
        status = tnl_weight_gradient(call, tnl_gemm_matrix(&with.du), tnl_gemm_matrix(x),
                                     &tensor[SGLU_BWD_DWU]);
    if (status == TNL_OK)
        status = tnl_weight_gradient(call, tnl_gemm_matrix(&tensor[SGLU_BWD_DY]),
                                     tnl_gemm_matrix(&with.p), &tensor[SGLU_BWD_DWO]);
    return status;
}

/* With few rows the roundings of dV and dU have nothing to average out over (weight_gradient.cuh),
 * and most of a tile would be empty. */
const char *rejects_backward(const tnl_call *call) {
    if (tnl_splits_gradients(call))
        return "is for more than 64 rows";
    return wants_k_shared(call, call->dim[DIM_M], call->dim[DIM_HIDDEN], 2 * call->dim[DIM_G])
               ? "has too few tiles for so large a g"
               : rejects_tensors(call, SGLU_BWD_DX + 1);
}

} // namespace

const tnl_kernel tnl_cuda_sglu_backward_hopper = {.launch = launch_backward,
                                                  .workspace = workspace,
                                                  .rejects = rejects_backward,
                                                  .deterministic = true};
