/*
 * What LRPE (eq. 1) needs of theta and of positions, made once for all tiles of a projection: each
 * angle of theta in units of 2^-64 turns, and each row's position.
 */
#ifndef TNL_PROJECTION_CUDA_HOPPER_ANGLES_CUH
#define TNL_PROJECTION_CUDA_HOPPER_ANGLES_CUH

#include "kernels/projection/cuda_lrpe.cuh"

namespace {

constexpr int ANGLES_THREADS = 256;

struct angle_table {
    uint64_t *turns;   /* [h d] */
    int64_t *position; /* [rows], rows a multiple of a tile's: those beyond m repeat the last */
    int angles, rows, m;

    angle_table(const tnl_call *call, int tile_rows, tnl_carver *carver)
        : angles((int)call->dim[DIM_QK] / 2),
          rows((int)ceil_div(call->dim[DIM_M], tile_rows) * tile_rows), m((int)call->dim[DIM_M]) {
        turns = carver->take<uint64_t>(angles);
        position = carver->take<int64_t>(rows);
    }
};

__global__ void __launch_bounds__(ANGLES_THREADS)
    angles_kernel(const lrpe_source from, const angle_table to) {
    await_previous();
    const int i = (int)(blockIdx.x * ANGLES_THREADS + threadIdx.x);
    if (i < to.angles)
        to.turns[i] = turns_of(from.theta_of(i));
    else if (i - to.angles < to.rows)
        to.position[i - to.angles] = from.at.of(0, min(i - to.angles, to.m - 1));
}

tnl_status make_angles(const tnl_call *call, const angle_table &table) {
    const int64_t blocks = ceil_div(table.angles + table.rows, ANGLES_THREADS);
    return tnl_launch(call, angles_kernel, dim3((unsigned)blocks), dim3(ANGLES_THREADS), 0,
                      lrpe_source_of(call), table);
}

} // namespace

#endif
