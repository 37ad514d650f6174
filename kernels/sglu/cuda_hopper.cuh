/*
 * The products of SGLU (eq. 5) on Hopper that forward and backward share.
 *
 * The gate, P = (X Wv) * (X Wu), is one matrix product: a tile's left half is of Wv, its right half
 * of Wu, and so a thread holds v and u of the same elements of P, in float32, and only P goes to
 * memory.
 */
#ifndef TNL_SGLU_CUDA_HOPPER_CUH
#define TNL_SGLU_CUDA_HOPPER_CUH

#include "kernels/common/hopper_gemm.cuh"

namespace {

using namespace hopper_gemm;

/* p = v u; v and u themselves too where they are asked for, at once. */
template <bool KEEPS> struct gate_output {
    static constexpr int PANELS = HALF / PANEL_COLUMNS, PIECES = 1, LOADS = 0;
    CUtensorMap p, v, u;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void take(const float (&c)[32][4], panel_pairs *kept, writer &to,
                                         int row, int column) const {
#pragma unroll
        for (int i = 0; i < PANELS * 8; i++) {
            float product[4];
#pragma unroll
            for (int e = 0; e < 4; e++)
                product[e] = c[i][e] * c[PANELS * 8 + i][e];
            pack_fragment<T>(kept[i / 8][i % 8], product);
        }
#pragma unroll
        for (int panel = 0; KEEPS && panel < 2 * PANELS; panel++) {
            panel_pairs part;
            pack_panel<T>(part, c, panel * 8);
            to.write(panel < PANELS ? &v : &u, row, column * HALF + panel % PANELS * PANEL_COLUMNS,
                     part);
        }
    }
    template <typename T>
    __device__ __forceinline__ void write(int panel, int, const panel_pairs &kept, writer &to,
                                          int row, int column) const {
        to.write(&p, row, column * HALF + panel * PANEL_COLUMNS, kept);
    }
#endif
};

/* y is the product itself. */
struct plain_output : kept_tile {
    static constexpr int PIECES = 1;
    CUtensorMap y;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void write(int panel, int, const panel_pairs &kept, writer &to,
                                          int row, int column) const {
        to.write(&y, row, 2 * column * HALF + panel * PANEL_COLUMNS, kept);
    }
#endif
};

/* A matrix [m,g] in a workspace. */
static inline tnl_tensor take_gated(const tnl_call *call, tnl_carver *carver) {
    const int64_t m = call->dim[DIM_M], g = call->dim[DIM_G];
    return {carver->take<uint16_t>(m * g), call->type, 2, {m, g}, {g, 1}};
}

template <bool KEEPS>
static tnl_status gate_keeping(const tnl_call *call, const tnl_tensor *x, const tnl_tensor *wv,
                               const tnl_tensor *wu, const tnl_tensor *p, const tnl_tensor *v,
                               const tnl_tensor *u) {
    arguments<gate_output<KEEPS>> at;
    tnl_status status = set_operands(call, x, {wv, wu}, &at);
    if (status == TNL_OK)
        status = make_maps(call, {{p, &at.output.p}, {v, &at.output.v}, {u, &at.output.u}});
    return status == TNL_OK ? launch(call, at) : status;
}

/* p = v u; v and u are kept where they have data. */
static inline tnl_status gate(const tnl_call *call, const tnl_tensor *x, const tnl_tensor *wv,
                              const tnl_tensor *wu, const tnl_tensor *p, const tnl_tensor *v,
                              const tnl_tensor *u) {
    return v->data ? gate_keeping<true>(call, x, wv, wu, p, v, u)
                   : gate_keeping<false>(call, x, wv, wu, p, v, u);
}

/* y = p Wo. */
static inline tnl_status down(const tnl_call *call, const tnl_tensor *p, const tnl_tensor *wo,
                              const tnl_tensor *y) {
    arguments<plain_output> at;
    tnl_status status = set_operands(call, p, {wo, NULL}, &at);
    if (status == TNL_OK)
        status = make_map(call, y, WARP_ROWS, &at.output.y);
    return status == TNL_OK ? launch(call, at) : status;
}

} // namespace

#endif
