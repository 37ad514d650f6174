/*
 * The packed projection (eq. 4) on Hopper: X W^T, with swish on the columns of Q and K, and LRPE
 * (eq. 1) where theta is given, once a tile is in registers, so that the activation has no pass
 * over memory of its own. Where `preactivation` is kept, swish is taken of that; elsewhere
 * swish is taken of the sums in float32, before a tile is rounded.
 */
#include "kernels/common/hopper_gemm.cuh"
#include "kernels/projection/cuda_hopper_angles.cuh"

namespace {

using namespace hopper_gemm;

/* What the outputs below keep of a tile: with KEEPS the product, to be activated as it is written;
 * otherwise its first `activated` columns after swish. */
template <bool KEEPS> struct activated_tile : kept_tile {
#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void keep(const float (&c)[32][4], panel_pairs *kept, writer &to,
                                         int column, int activated) const {
        const int first = 2 * column * HALF;
        if (KEEPS || first >= activated)
            kept_tile::take<T>(c, kept, to, 0, column);
#pragma unroll
        for (int i = 0; !KEEPS && first < activated && i < PANELS * 8; i++) {
            const bool activates = first + 8 * i + (int)threadIdx.x % 4 * 2 < activated;
            float v[4];
#pragma unroll
            for (int e = 0; e < 4; e++)
                v[e] = activates ? swish<T>(c[i][e]) : c[i][e];
            pack_fragment<T>(kept[i / 8][i % 8], v);
        }
    }
#endif
};

/* y = swish of the product in the first `activated` columns, elsewhere the product. */
template <bool KEEPS> struct swish_output : activated_tile<KEEPS> {
    static constexpr int PIECES = 1;
    CUtensorMap y, preactivation; /* the latter has no columns but those */
    int activated;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void take(const float (&c)[32][4], panel_pairs *kept, writer &to,
                                         int, int column) const {
        this->template keep<T>(c, kept, to, column, activated);
    }
    template <typename T>
    __device__ __forceinline__ void write(int panel, int, const panel_pairs &kept, writer &to,
                                          int row, int column) const {
        const int first = 2 * column * HALF + panel * PANEL_COLUMNS;
        if (!KEEPS || first >= activated) {
            to.write(&y, row, first, kept);
            return;
        }
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
 * panels of y. The product lies in the place of the first while both are made, two fragments at a
 * time: that takes longer than products of one stage do. */
template <bool KEEPS> struct lrpe_output : activated_tile<KEEPS> {
    static constexpr int PIECES = 4, PIECE_FRAGMENTS = 8 / PIECES;
    static_assert(PIECE_FRAGMENTS % 2 == 0, "matrices are stored four at a time");
    CUtensorMap y, preactivation;
    lrpe_columns columns;
    const uint64_t *turns;
    const int64_t *position;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void take(const float (&c)[32][4], panel_pairs *kept, writer &to,
                                         int, int column) const {
        this->template keep<T>(c, kept, to, column, columns.activated);
    }

    /* A pair of fragments, from the turns of their columns and the positions of their rows. */
    template <typename T>
    __device__ __forceinline__ static void
    rotate_pair(unsigned char *place, unsigned char *sine_place, const ulonglong2 *of,
                const int64_t (&t)[2]) {
        uint32_t z[4], cosine[4], sine[4];
        load_matrices(z, place);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float2 pair = unpack_pair<T>(z[i]);
            const float a = KEEPS ? swish<T>(pair.x) : pair.x;
            const float b = KEEPS ? swish<T>(pair.y) : pair.y;
            const rotation by_a = turn(of[i / 2].x, t[i % 2]), by_b = turn(of[i / 2].y, t[i % 2]);
            cosine[i] = pack_pair<T>(a * by_a.cosine, b * by_b.cosine);
            sine[i] = pack_pair<T>(a * by_a.sine, b * by_b.sine);
        }
        store_matrices(place, cosine);
        store_matrices(sine_place, sine);
    }

    /* A piece of a panel whose first column is `first`. All that comes from memory is asked for
     * before any of it is used. */
    template <typename T>
    __device__ __forceinline__ void rotate_piece(const writer &to, int piece, int row,
                                                 int first) const {
        const int lane = threadIdx.x % 32, j = piece * PIECE_FRAGMENTS;
        const uint64_t *const mine = turns + columns.angle(first) + 8 * j + lane % 4 * 2;
        const int64_t t[2] = {position[row + lane / 4], position[row + lane / 4 + 8]};
        ulonglong2 of[PIECE_FRAGMENTS];
#pragma unroll
        for (int i = 0; i < PIECE_FRAGMENTS; i++)
            of[i] = *(const ulonglong2 *)(mine + 8 * i);
#pragma unroll
        for (int i = 0; i < PIECE_FRAGMENTS; i += 2)
            rotate_pair<T>(to.place(0, j + i), to.place(1, j + i), &of[i], t);
    }

    template <typename T>
    __device__ __forceinline__ void write(int panel, int piece, const panel_pairs &kept, writer &to,
                                          int row, int column) const {
        const int first = 2 * column * HALF + panel * PANEL_COLUMNS;
        if (first >= columns.activated) {
            if (piece == 0)
                to.write(&y, row, columns.plain(first), kept);
            return;
        }
        if (piece == 0) {
            if constexpr (KEEPS)
                to.write(&preactivation, row, first, kept);
            to.open<2>();
            to.put(kept);
            __syncwarp();
        }
        rotate_piece<T>(to, piece, row, first);
        if (piece == PIECES - 1) {
            to.send(&y, row, columns.cosine(first));
            to.send(&y, row, columns.cosine(first) + columns.d);
        }
    }
#endif
};

const char *rejects(const tnl_call *call) {
    if (call->tensor[PROJ_THETA].data && call->dim[DIM_D] % PANEL_COLUMNS)
        return "wants heads of a multiple of 64 for LRPE";
    if (wants_k_shared(call, call->dim[DIM_M], call->dim[DIM_K], call->dim[DIM_HIDDEN]))
        return "has too few tiles for so large a D";
    return rejects_tensors(call, PROJ_PREACTIVATION + 1);
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
template <typename Output> tnl_status project(const tnl_call *call, arguments<Output> &at) {
    const tnl_tensor *tensor = call->tensor;
    tnl_status status = set_operands(call, &tensor[PROJ_X], {&tensor[PROJ_W], NULL}, &at);
    if (status == TNL_OK)
        status = make_maps(call, {{&tensor[PROJ_Y], &at.output.y},
                                  {&tensor[PROJ_PREACTIVATION], &at.output.preactivation}});
    return status == TNL_OK ? launch(call, at) : status;
}

template <bool KEEPS> tnl_status project_with_swish(const tnl_call *call) {
    arguments<swish_output<KEEPS>> at;
    at.output.activated = (int)call->dim[DIM_QK];
    return project(call, at);
}

template <bool KEEPS> tnl_status project_with_lrpe(const tnl_call *call) {
    tnl_carver carver = {(char *)call->workspace, 0};
    const angle_table angles = place_angles(call, &carver);
    arguments<lrpe_output<KEEPS>> at;
    at.output.columns = lrpe_columns_of(call);
    at.output.turns = angles.turns;
    at.output.position = angles.position;
    const tnl_status status = make_angles(call, angles);
    return status == TNL_OK ? project(call, at) : status;
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
