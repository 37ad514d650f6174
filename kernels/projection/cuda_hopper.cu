/*
 * The packed projection (eq. 4) on Hopper: X W^T, with swish on the columns of Q and K, and LRPE
 * (eq. 1) where theta is given, once a tile is in registers, so that the activation has no pass
 * over memory of its own. Q and K are rounded to the data type before swish, as they are where
 * `preactivation` holds them.
 */
#include "kernels/common/hopper_gemm.cuh"
#include "kernels/projection/cuda_hopper_angles.cuh"

namespace {

using namespace hopper_gemm;

/* y = swish of the product in the first `activated` columns, elsewhere the product. */
template <bool KEEPS> struct swish_output {
    static constexpr int PANELS = TILE_PANELS, PIECES = 1, LOADS = 0;
    CUtensorMap y, preactivation; /* the latter has no columns but those */
    int activated;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void take(const float (&c)[32][4], panel_pairs *kept, writer &, int,
                                         int) const {
        keep_tile<T>(kept, c);
    }
    template <typename T>
    __device__ __forceinline__ void write(int panel, int, const panel_pairs &kept, writer &to,
                                          int row, int column) const {
        const int first = 2 * column * HALF + panel * PANEL_COLUMNS;
        if (first >= activated) {
            to.write(&y, row, first, kept);
            return;
        }
        if constexpr (KEEPS)
            to.write(&preactivation, row, first, kept);
        panel_pairs made;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const bool activates = first + 8 * j + (int)threadIdx.x % 4 * 2 < activated;
#pragma unroll
            for (int low = 0; low < 2; low++) {
                const float2 z = unpack_pair<T>(kept[j][low]);
                made[j][low] =
                    activates ? pack_pair<T>(swish<T>(z.x), swish<T>(z.y)) : kept[j][low];
            }
        }
        to.write(&y, row, first, made);
    }
#endif
};

/* The same with LRPE. A panel's columns are all of one head: its cosine and its sine parts are two
 * panels of y, put together side by side. That takes twice what swish takes, and so is done in
 * pieces. */
template <bool KEEPS> struct lrpe_output {
    static constexpr int PANELS = TILE_PANELS, PIECES = 4, LOADS = 0;
    static constexpr int PIECE_FRAGMENTS = 8 / PIECES;
    static_assert(PIECE_FRAGMENTS % 2 == 0, "put() takes two at a time");
    CUtensorMap y, preactivation;
    lrpe_columns columns;
    const uint64_t *turns;
    const int64_t *position;

#ifdef TNL_HOPPER_CODE
    /* Of a pair of columns in one row, at position t, the cosine and the sine parts. */
    template <typename T>
    __device__ __forceinline__ static void
    rotate_pair(uint32_t &cosine, uint32_t &sine, uint32_t kept, const ulonglong2 &of, int64_t t) {
        const float2 z = unpack_pair<T>(kept);
        const float x = swish<T>(z.x), y = swish<T>(z.y);
        const rotation by_x = turn(of.x, t), by_y = turn(of.y, t);
        cosine = pack_pair<T>(x * by_x.cosine, y * by_y.cosine);
        sine = pack_pair<T>(x * by_x.sine, y * by_y.sine);
    }

    template <typename T>
    __device__ __forceinline__ void take(const float (&c)[32][4], panel_pairs *kept, writer &, int,
                                         int) const {
        keep_tile<T>(kept, c);
    }
    template <typename T>
    __device__ __forceinline__ void write(int panel, int piece, const panel_pairs &kept, writer &to,
                                          int row, int column) const {
        const int first = 2 * column * HALF + panel * PANEL_COLUMNS, lane = threadIdx.x % 32;
        if (first >= columns.activated) {
            if (piece == 0)
                to.write(&y, row, columns.plain(first), kept);
            return;
        }
        if (KEEPS && piece == 0)
            to.write(&preactivation, row, first, kept);
        if (piece == 0)
            to.open<2>();
        const uint64_t *const mine = turns + columns.angle(first) + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < PIECE_FRAGMENTS; i += 2) {
            const int j = piece * PIECE_FRAGMENTS + i;
            uint32_t cosine[2][2], sine[2][2];
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const ulonglong2 of = *(const ulonglong2 *)(mine + 8 * (j + k));
#pragma unroll
                for (int low = 0; low < 2; low++)
                    rotate_pair<T>(cosine[k][low], sine[k][low], kept[j + k][low], of,
                                   position[row + lane / 4 + 8 * low]);
                asm volatile("" ::: "memory");
            }
            to.put(0, j, cosine[0], cosine[1]);
            to.put(1, j, sine[0], sine[1]);
        }
        if (piece == PIECES - 1) {
            to.send(&y, row, columns.cosine(first));
            to.send(&y, row, columns.cosine(first) + columns.d);
        }
    }
#endif
};

const char *rejects(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    if (tensor[PROJ_THETA].data && call->dim[DIM_D] % PANEL_COLUMNS)
        return "wants heads of a multiple of 64 for LRPE";
    if (wants_k_shared(call, call->dim[DIM_M], call->dim[DIM_K], call->dim[DIM_HIDDEN]))
        return "has too few tiles for so large a D";
    for (const int i : {PROJ_X, PROJ_W, PROJ_Y, PROJ_PREACTIVATION})
        if (tensor[i].data && !tnl_allows_tensor_map(&tensor[i]))
            return "wants rows, strides and pointers of 16 bytes";
    return rejects_device(call);
}

angle_table place_angles(const tnl_call *call, tnl_carver *carver) {
    return angle_table(call, 2 * ROWS, carver);
}

size_t workspace(const tnl_call *call) {
    tnl_carver carver = {nullptr, 0};
    if (call->tensor[PROJ_THETA].data)
        place_angles(call, &carver);
    return carver.used;
}

/* What both outputs have. */
template <typename Output>
tnl_status project(const tnl_call *call, bool keeps, arguments<Output> &at) {
    const tnl_tensor *tensor = call->tensor;
    tnl_status status = set_operands(call, &tensor[PROJ_X], {&tensor[PROJ_W], NULL}, &at);
    if (status == TNL_OK)
        status = make_map(call, &tensor[PROJ_Y], WARP_ROWS, &at.output.y);
    if (keeps && status == TNL_OK)
        status = make_map(call, &tensor[PROJ_PREACTIVATION], WARP_ROWS, &at.output.preactivation);
    return status == TNL_OK ? launch(call, at) : status;
}

template <bool KEEPS> tnl_status project_with_swish(const tnl_call *call) {
    arguments<swish_output<KEEPS>> at;
    at.output.activated = (int)call->dim[DIM_QK];
    return project(call, KEEPS, at);
}

template <bool KEEPS> tnl_status project_with_lrpe(const tnl_call *call) {
    tnl_carver carver = {(char *)call->workspace, 0};
    const angle_table angles = place_angles(call, &carver);
    arguments<lrpe_output<KEEPS>> at;
    at.output.columns = lrpe_columns_of(call);
    at.output.turns = angles.turns;
    at.output.position = angles.position;
    const tnl_status status = make_angles(call, angles);
    return status == TNL_OK ? project(call, KEEPS, at) : status;
}

tnl_status forward(const tnl_call *call) {
    const bool keeps = call->tensor[PROJ_PREACTIVATION].data;
    if (call->tensor[PROJ_THETA].data)
        return keeps ? project_with_lrpe<true>(call) : project_with_lrpe<false>(call);
    return keeps ? project_with_swish<true>(call) : project_with_swish<false>(call);
}

} // namespace

const tnl_kernel tnl_cuda_qkvu_projection_forward_hopper = {
    .launch = forward, .workspace = workspace, .rejects = rejects, .deterministic = true};
