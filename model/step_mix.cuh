/*
 * The mixing round of a decode step: Algorithm 2 of q, k and v. A block has columns of the heads'
 * states, a warp STATE_ROWS rows of them, which it asks for long before q, k and v have come.
 */
#ifndef TNL_MODEL_STEP_MIX_CUH
#define TNL_MODEL_STEP_MIX_CUH

#include "kernels/common/cuda_activation.cuh"
#include "model/step_operand.cuh"

namespace step {

/* A warp's part of STATE_COLUMNS columns of a head's state, for row b of x: a lane has four columns
 * of a row. With LRPE the state has two parts of d rows, one for the cosines and one for the sines,
 * of which the second is asked for late. */
struct part_of_state {
    float4 held;
    float *state; /* NULL: none */
    float slope;
    int b, row, column; /* of all heads' */
};

static __device__ __forceinline__ part_of_state ask_for_state(const arguments &at,
                                                              const tnl_step_layer &layer, int b,
                                                              int column) {
    const int d = at.shape.hidden / at.shape.heads, parts = layer.theta ? 2 : 1;
    const int lane = threadIdx.x % 32, row = (int)threadIdx.x / 32 * STATE_ROWS + lane / 2;
    const int head = column / d, slot = max(at.slots[b], 0);
    part_of_state mine = {};
    if (row >= d)
        return mine;
    const int64_t first = ((int64_t)slot * at.shape.heads + head) * parts * d + row;
    mine.b = b;
    mine.row = head * d + row;
    mine.column = column + lane % 2 * 4;
    mine.state = layer.state + first * d + mine.column % d;
    mine.held = *(const float4 *)mine.state;
    mine.slope = layer.slope[head];
    return mine;
}

/* A row of the state: S <- decay S + k v, o += q S. */
static __device__ __forceinline__ void step_row(float4 &s, float decay, float q, float k,
                                                const float2 (&v)[2], float (&o)[4]) {
    s.x = fmaf(decay, s.x, k * v[0].x);
    s.y = fmaf(decay, s.y, k * v[0].y);
    s.z = fmaf(decay, s.z, k * v[1].x);
    s.w = fmaf(decay, s.w, k * v[1].y);
    o[0] = fmaf(q, s.x, o[0]);
    o[1] = fmaf(q, s.y, o[1]);
    o[2] = fmaf(q, s.z, o[2]);
    o[3] = fmaf(q, s.w, o[3]);
}

/* That of the pair which the lane's row is. */
static __device__ __forceinline__ float of_row(unsigned pair) {
    const float2 both = unpack_pair<bf16>(pair);
    return threadIdx.x / 2 % 2 ? both.y : both.x;
}

/* The sums over a warp's rows: lanes 8 i and 8 i + 1 have those of columns i and 4 + i. */
static __device__ __forceinline__ float sum_rows(const float (&o)[4]) {
    const bool high = threadIdx.x & 16, odd = threadIdx.x & 8;
    float a = high ? o[2] : o[0], b = high ? o[3] : o[1];
    a += __shfl_xor_sync(0xffffffffu, high ? o[0] : o[2], 16);
    b += __shfl_xor_sync(0xffffffffu, high ? o[1] : o[3], 16);
    float sum = (odd ? b : a) + __shfl_xor_sync(0xffffffffu, odd ? a : b, 8);
    sum += __shfl_xor_sync(0xffffffffu, sum, 4);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}

/* The step of a part that was asked for, once q, k and v are there; its warp's sums of o. */
static __device__ __forceinline__ float mix(const arguments &at, const float *theta,
                                            part_of_state &mine, unsigned flag) {
    float o[4] = {};
    if (mine.state) {
        const int hidden = at.shape.hidden, d = hidden / at.shape.heads;
        const word *words = at.qkvu + mine.b * 2 * hidden;
        const bool stores = at.slots[mine.b] >= 0;
        float4 second = make_float4(0, 0, 0, 0);
        rotation by = {1, 0};
        if (theta) {
            second = *(const float4 *)(mine.state + d * d);
            by = rotate(theta[mine.row], (double)at.positions[mine.b]);
        }
        const exchange::words in =
            exchange::wait(words + mine.row / 2, words + (hidden + mine.row) / 2,
                           words + (2 * hidden + mine.column) / 2, flag);
        const float q = swish<bf16>(of_row(in.first)), k = swish<bf16>(of_row(in.second));
        const float2 v[2] = {unpack_pair<bf16>(in.pair.x), unpack_pair<bf16>(in.pair.y)};
        const float decay = expf(-mine.slope);
        step_row(mine.held, decay, q * by.cosine, k * by.cosine, v, o);
        if (stores)
            *(float4 *)mine.state = mine.held;
        if (theta) {
            step_row(second, decay, q * by.sine, k * by.sine, v, o);
            if (stores)
                *(float4 *)(mine.state + d * d) = second;
        }
    }
    return sum_rows(o);
}

/* The mixing of a block's columns, PARTS of the state at a time; the first are asked for early. */
template <int ROWS> struct mixing {
    static constexpr int PARTS = 2 / ROWS; /* as registers allow */
    const arguments &at;
    board<ROWS> &shared;
    const tnl_step_layer *layer; /* the next, in shared memory */
    part_of_state part[PARTS];
    int groups, tasks;

    __device__ __forceinline__ mixing(const arguments &given, board<ROWS> &with,
                                      const tnl_step_layer *first)
        : at(given), shared(with), layer(first), groups(with.columns.count()),
          tasks(ROWS * groups) {}
    __device__ __forceinline__ int row_of(int task) const {
        return task / groups;
    }
    __device__ __forceinline__ int column_of(int task) const {
        return (shared.columns.begin + task % groups) * STATE_COLUMNS;
    }

    /* For the parts from task number `first` on. */
    __device__ __forceinline__ void ask(int first) {
#pragma unroll
        for (int i = 0; i < PARTS; i++)
            if (first + i < tasks)
                part[i] = ask_for_state(at, *layer, row_of(first + i), column_of(first + i));
    }

    /* The warp's sums, as those of so many lines. */
    __device__ __forceinline__ void run(int side, unsigned flag) {
        const int lane = threadIdx.x % 32;
        for (int first = 0; first < tasks; first += PARTS) {
            if (first > 0)
                ask(first);
#pragma unroll
            for (int i = 0; i < PARTS; i++) {
                const int task = first + i, column = lane % 2 * 4 + lane / 8;
                if (task >= tasks)
                    continue;
                const float sum = mix(at, layer->theta, part[i], flag);
                if (lane % 8 < 2)
                    shared.sums[side][0][task * STATE_COLUMNS + column][threadIdx.x / 32] = sum;
            }
        }
        layer++;
    }
    /* Line i of these, once all have been put together. */
    __device__ __forceinline__ word *place_of(int line) const {
        const int task = line / STATE_COLUMNS;
        return at.o + (row_of(task) * at.shape.hidden + column_of(task) + line % STATE_COLUMNS) / 2;
    }
};

} // namespace step

#endif
