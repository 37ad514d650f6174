/*
 * Decode by Algorithm 2 on Hopper: what cuda_step.cuh computes, but the state comes into shared
 * memory by bulk copies, which need no registers for what is in flight. That pays with
 * LRPE, whose states have twice as many rows, and many tokens; with few, registers are quicker.
 *
 * A block has some columns of S, 64 of them or fewer, and all of its rows; each of its warps has
 * f / STEP_WARPS rows that follow one another, asks for all of them at the start, waits for these
 * alone, and stores each row as soon as it is computed. Shared memory:
 *
 *     state[f][columns] | q[f] | k[f] | sums[STEP_WARPS][columns] | arrived[STEP_WARPS]
 */
#include "kernels/common/bulk.cuh"
#include "kernels/decode/cuda_step.cuh"

namespace {

enum { STEP_WARPS = STEP_THREADS / 32, LANE_COLUMNS = 4, MOST_COLUMNS = 64 };

/* So much of a state in a block at the most: three blocks fit a multiprocessor. */
constexpr size_t LARGEST_TILE = 64 * 1024;

struct bulk_shape {
    step_shape step;
    int columns, rows; /* of a block; of a warp */
};

size_t shared_bytes(int64_t f, int columns) {
    const size_t floats = (size_t)(f * (columns + 2) + STEP_WARPS * columns);
    return sizeof(float) * floats + STEP_WARPS * sizeof(uint64_t);
}

/* Block (tile, head, token). */
template <bool ROTATED, typename T>
__global__ void __launch_bounds__(STEP_THREADS)
    bulk_step_kernel(const step_tensors<T> tensors, const bulk_shape shape) {
    extern __shared__ __align__(128) float tile_of_state[];
    const int f = shape.step.f, columns = shape.columns, tile = (int)blockIdx.x;
    float *q = tile_of_state + f * columns, *k = q + f, *sums = k + f;
    uint64_t *arrived = (uint64_t *)(sums + STEP_WARPS * columns);

    await_previous();
    const unsigned token = blockIdx.z, head = blockIdx.y;
    const int64_t slot = tensors.slots ? tensors.slots[token] : (int64_t)token;
    if (slot < 0)
        return;
    const int thread = (int)threadIdx.x, warp = thread / 32, lane = thread % 32;
    const step_input<ROTATED, T> input(tensors, shape.step, token, head, thread);
    const int lanes = columns / LANE_COLUMNS, group = lane / lanes; /* of a row; rows at once */
    const int column = lane % lanes * LANE_COLUMNS;
    const int width = min(columns, shape.step.e - tile * columns); /* of the tile */
    const T *v_in = tensors.v.at(token, head) + tile * columns + column;
    T v_held[LANE_COLUMNS] = {};
#pragma unroll
    for (int w = 0; w < LANE_COLUMNS; w++)
        if (column < width)
            v_held[w] = v_in[w];

    float *state =
        tensors.state.data + slot * tensors.state.slot + head * tensors.state.head + tile * columns;
    const int first = warp * shape.rows, end = min(first + shape.rows, f);
    const unsigned row_bytes = (unsigned)(width * (int)sizeof(float));
    if (lane == 0) {
        bulk_barrier_init(&arrived[warp]);
        bulk_expect(&arrived[warp], (unsigned)max(end - first, 0) * row_bytes);
    }
    __syncwarp();
    for (int row = first + lane; row < end; row += 32)
        bulk_load(tile_of_state + row * columns, state + row * tensors.state.row, row_bytes,
                  &arrived[warp]);

    const step_factors factors = factors_of<false>(input.slope, input.t);
    input.activate(shape.step, factors, thread, STEP_THREADS, q, k);
    float v[LANE_COLUMNS], o[LANE_COLUMNS] = {};
#pragma unroll
    for (int w = 0; w < LANE_COLUMNS; w++)
        v[w] = to_float(v_held[w]);
    __syncthreads();

    bulk_wait(&arrived[warp], 0);
#pragma unroll 4
    for (int row = first + group; row < end && column < width; row += 32 / lanes) {
        using elements = pack<float, LANE_COLUMNS>;
        elements kv = *(const elements *)(tile_of_state + row * columns + column);
#pragma unroll
        for (int w = 0; w < LANE_COLUMNS; w++) {
            kv.at[w] = fmaf(factors.decay, kv.at[w], k[row] * v[w]);
            o[w] = fmaf(q[row], kv.at[w], o[w]);
        }
        *(elements *)(state + row * tensors.state.row + column) = kv;
    }

    add_up(o, sums, lanes, tile * columns, shape.step.e, thread, STEP_THREADS,
           tensors.o.at(token, head));
}

/* ---- launching ------------------------------------------------------------------------------ */

/* Columns of a block, 256 bytes of a row; half as many where more would not fit. 0: neither do. */
int columns_of(const tnl_call *call) {
    const size_t row = sizeof(float) * (size_t)call->dim[DIM_F];
    return row * MOST_COLUMNS <= LARGEST_TILE       ? MOST_COLUMNS
           : row * MOST_COLUMNS / 2 <= LARGEST_TILE ? MOST_COLUMNS / 2
                                                    : 0;
}

const char *rejects(const tnl_call *call) {
    if (!tnl_allows_16_bytes(&call->tensor[DECODE_STATE]))
        return "takes states whose rows are aligned to 16 bytes";
    return columns_of(call) ? rejects_step(call) : "takes f up to 512";
}

template <bool ROTATED, typename T> tnl_status run(const tnl_call *call) {
    const int columns = columns_of(call);
    const bulk_shape shape = {step_shape_of(call), columns,
                              (int)ceil_div(call->dim[DIM_F], STEP_WARPS)};
    const size_t shared = shared_bytes(call->dim[DIM_F], columns);
    const auto kernel = bulk_step_kernel<ROTATED, T>;
    const tnl_status status = tnl_cuda_status(
        call, cudaFuncSetAttribute((const void *)kernel,
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    if (status != TNL_OK)
        return status;
    return tnl_launch(call, kernel, step_grid(call, (unsigned)columns), dim3(STEP_THREADS), shared,
                      step_tensors_of<T>(call), shape);
}

tnl_status launch(const tnl_call *call) {
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        return call->tensor[DECODE_THETA].data ? run<true, T>(call) : run<false, T>(call);
    });
}

} // namespace

const tnl_kernel tnl_cuda_decode_hopper = {
    .launch = launch, .rejects = rejects, .deterministic = true};
