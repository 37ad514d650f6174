/*
 * The sweep of the chunked rows for float32, by plain multiply-adds: the equations and the plan of
 * cuda_chunked_half.cuh with chunks of 32 rows and the state in shared memory. A power of lambda
 * that meets the state is taken in two floats: rounded to one, its error would be the same in each
 * chunk, and with lambda near 1 they would add up.
 *
 * Memory, floats, with I the inner dimension up to a multiple of 32; x and score with outputs only:
 *     [ state I x 64 ][ y 32 x (I+4) ][ z 32 x 64 ][ lambda^0 .. lambda^32 ][ what they lack ]
 *     [ x 32 x (I+4) ][ score 32 x 36 ]
 */
#include "kernels/attention/cuda_chunked.cuh"
#include "kernels/attention/cuda_float.cuh"

static constexpr int DECAY_FLOATS = 36; /* 33, up to a multiple of 16 bytes */

size_t tnl_sweep_float_shared_bytes(int inner, bool outputs) {
    const int rows = FLOAT_ROWS * float_stride(inner);
    int floats =
        padded_inner(inner) * FLOAT_COLUMNS + rows + FLOAT_ROWS * FLOAT_COLUMNS + 2 * DECAY_FLOATS;
    if (outputs)
        floats += rows + FLOAT_ROWS * SCORES_STRIDE;
    return floats * sizeof(float);
}

/* The same in the block. */
struct float_memory {
    float *state, *y, *z, *decay, *decay_low, *x, *score;

    __device__ __forceinline__ float_memory(float *memory, int inner) {
        state = memory;
        y = state + padded_inner(inner) * FLOAT_COLUMNS;
        z = y + FLOAT_ROWS * float_stride(inner);
        decay = z + FLOAT_ROWS * FLOAT_COLUMNS;
        decay_low = decay + DECAY_FLOATS;
        x = decay_low + DECAY_FLOATS;
        score = x + FLOAT_ROWS * float_stride(inner);
    }
};

/* f(element, its row, its column) for a thread's share of the state. */
template <typename F>
static __device__ __forceinline__ void for_each_of_state(float *state, int inner, F f) {
    for (int i = threadIdx.x; i < padded_inner(inner) * FLOAT_COLUMNS; i += FLOAT_THREADS)
        f(state[i], i / FLOAT_COLUMNS, i % FLOAT_COLUMNS);
}

static __device__ __forceinline__ void load_state(float *state, const beginning &begins,
                                                  const sweep_part &part, const product &p) {
    const states_view &view = begins.view;
    const float *from = view.data + begins.number * view.sequence + part.head * view.head +
                        part.column * view.outer;
    for_each_of_state(state, p.inner, [&](float &value, int row, int column) {
        const bool inside = view.data && row < p.inner && part.column + column < p.outer;
        value = inside ? from[row * view.inner + column * view.outer] : 0;
    });
}

static __device__ __forceinline__ void store_state(float *state, const states_view &view,
                                                   int64_t number, const sweep_part &part,
                                                   const product &p) {
    float *to =
        view.data + number * view.sequence + part.head * view.head + part.column * view.outer;
    for_each_of_state(state, p.inner, [&](float &value, int row, int column) {
        if (row < p.inner && part.column + column < p.outer)
            to[row * view.inner + column * view.outer] = value;
    });
}

/* state = lambda^rows state + (diag(lambda^(last - j)) Y)^T Z, four by four elements at a time. */
static __device__ __forceinline__ void advance_state(const float_memory &m, int inner, int rows,
                                                     int last) {
    const int stride = float_stride(inner), column = threadIdx.x % 16 * 4;
    const float high = m.decay[rows], low = m.decay_low[rows];
    for (int top = threadIdx.x / 16 * 4; top < padded_inner(inner); top += 32) {
        float sum[4][4];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                const float old = m.state[(top + i) * FLOAT_COLUMNS + column + j];
                sum[i][j] = fmaf(old, high, old * low);
            }
        for (int token = 0; token < rows; token++) {
            const float weight = m.decay[last - token];
            const float4 y = as_float4(m.y + token * stride + top);
            const float4 z = as_float4(m.z + token * FLOAT_COLUMNS + column);
            const float left[4] = {weight * y.x, weight * y.y, weight * y.z, weight * y.w};
            for (int i = 0; i < 4; i++) {
                sum[i][0] += left[i] * z.x;
                sum[i][1] += left[i] * z.y;
                sum[i][2] += left[i] * z.z;
                sum[i][3] += left[i] * z.w;
            }
        }
        for (int i = 0; i < 4; i++)
            as_float4(m.state + (top + i) * FLOAT_COLUMNS + column) =
                make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
    }
}

template <bool OUTPUTS>
static __global__ void __launch_bounds__(FLOAT_THREADS, 4)
    sweep_float(const __grid_constant__ sweep args) {
    extern __shared__ __align__(128) unsigned char raw[];
    const swept_product &swept = args.at[blockIdx.y];
    const product &p = swept.p;
    const sweep_part part = find_part<FLOAT_COLUMNS, OUTPUTS>(args, p, blockIdx.x);
    if (part.idle)
        return;
    const float_memory m(reinterpret_cast<float *>(raw), p.inner);
    const segment &s = part.s;
    const head_rows<float> x = find_rows<float>(p.x, s, part.head, p.future),
                           y = find_rows<float>(p.y, s, part.head, p.future),
                           z = find_rows<float>(p.z, s, part.head, p.future),
                           out = find_rows<float>(p.out, s, part.head, p.future);
    const double slope = args.slope[part.head];
    if (threadIdx.x <= FLOAT_ROWS) {
        const double power = exp(-slope * threadIdx.x);
        m.decay[threadIdx.x] = (float)power;
        m.decay_low[threadIdx.x] = (float)(power - (float)power);
    }
    if constexpr (OUTPUTS)
        load_state(m.state, find_beginning(args, swept, s), part, p);
    else
        for_each_of_state(m.state, p.inner, [](float &value, int, int) { value = 0; });

    const int stride = float_stride(p.inner), width = padded_inner(p.inner);
    const int age = p.future ? 0 : 1;
    for (int64_t first = 0; first < s.rows; first += FLOAT_ROWS) {
        const int rows = (int)min((int64_t)FLOAT_ROWS, s.rows - first);
        const float_part inner = {s.first + first, rows, 0, p.inner, args.aligned};
        const float_part outer = {s.first + first, rows, part.column, p.outer - part.column,
                                  args.aligned};
        load_float_tile(m.y, stride, width, y, inner);
        load_float_tile(m.z, FLOAT_COLUMNS, FLOAT_COLUMNS, z, outer);
        if constexpr (OUTPUTS)
            load_float_tile(m.x, stride, width, x, inner);
        copy_async_wait();
        __syncthreads();
        float sum[4][4] = {};
        if constexpr (OUTPUTS) {
            float_scores(m.x, m.y, p.inner, m.score, [&](float score, int row, int column) {
                return row >= column ? score * m.decay[max(row - column, 0)] : 0;
            });
            float_multiply(m.x, stride, m.state, width, sum);
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++)
                    sum[i][j] *= m.decay[threadIdx.x / 16 + 8 * i + age];
            __syncthreads();
            float_multiply(m.score, SCORES_STRIDE, m.z, FLOAT_ROWS, sum);
            store_float_rows(sum, out, outer);
        }
        advance_state(m, p.inner, rows, rows - age);
        __syncthreads();
    }
    if constexpr (!OUTPUTS)
        store_state(m.state, swept.ends, end_of_part(args, s), part, p);
    else if (part.last && p.state_out.data)
        store_state(m.state, p.state_out, s.sequence, part, p);
}

tnl_status tnl_sweep_float(const tnl_call *call, const sweep &args, bool outputs) {
    return launch_sweep(call, args, outputs ? args.tokens : args.parts,
                        outputs ? sweep_float<true> : sweep_float<false>, FLOAT_COLUMNS,
                        FLOAT_THREADS, tnl_sweep_float_shared_bytes(largest_inner(args), outputs));
}
