/*
 * The rounds of a decode step, as a warp that computes walks through them. In a product a warp has
 * columns of all of the block's rows, so it waits for no more of x than it multiplies, and puts its
 * sums on the block's board. After the turn's one barrier a thread for each row adds the warps'
 * sums and hands the result on.
 */
#ifndef TNL_MODEL_STEP_ROUNDS_CUH
#define TNL_MODEL_STEP_ROUNDS_CUH

#include "model/step_mix.cuh"
#include "model/step_product.cuh"

namespace step {

/* A barrier of the warps that compute. */
static __device__ __forceinline__ void sync_computing() {
    asm volatile("bar.sync 1, %0;" ::"n"(COMPUTING) : "memory");
}

template <int ROWS> struct rounds {
    static constexpr int HELD = ROWS == 1 ? 2 : 1; /* pieces in registers */
    const arguments &at;
    board<ROWS> &shared;
    operands to;
    taker weights;
    mixing<ROWS> state;
    int side; /* of the board, by turns */

    /* A warp's columns of a product's x. The first layer's comes from the embedding. flag: this
     * layer's, of all it hands on but the stream behind DOWN, whose flag is one more. */
    __device__ __forceinline__ void fill(int product, bool first, unsigned flag) const {
        const int hidden = at.shape.hidden;
        if (product == OUT)
            fill_from<true, ROWS>(at.o, at.qkvu + 3 * hidden / 2, 4 * hidden, hidden, flag, to);
        else if (first && product == QKVU)
            fill_from_embedding<ROWS>(at, to);
        else if (product == DOWN)
            fill_from<false, ROWS>(at.p, NULL, 0, at.shape.gated, flag, to);
        else
            fill_from<false, ROWS>(at.stream, NULL, 0, at.shape.width,
                                   product == GATE ? flag : flag - 1, to);
        __syncwarp();
    }

    /* The warp's part of the squares of what the norm of a product is of, and of its lines. */
    __device__ __forceinline__ void make_squares(int product, float (&squares)[4]) const {
        const bf16 *of = product == OUT ? to.o : to.x;
        const int stride = product == OUT ? to.o_stride : to.x_stride;
        const int columns = product == OUT ? at.shape.hidden : at.shape.width;
#pragma unroll 1
        for (int i = 0; i < columns; i += SEGMENT) {
            fragment part;
            part.load<ROWS>(of + i, stride, columns - i);
            part.add_squares(squares);
        }
    }
    __device__ __forceinline__ void keep_squares(const float (&squares)[4]) const {
        const int lane = threadIdx.x % 32, column = lane / 4, b = column % 2;
        if (column < 4 && b < ROWS && lane % 4 == column / 2)
            shared.squares[side][b][threadIdx.x / 32 * 2 + column / 2] =
                b ? squares[1] : squares[0];
    }
    __device__ __forceinline__ void keep_sums(int line, const sums &c) const {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int b = 0; b < ROWS; b++) {
            const float first = c.even[b] + c.odd[b], second = c.even[2 + b] + c.odd[2 + b];
            const float sum = first + __shfl_down_sync(0xffffffffu, second, 1);
            if (lane % 4 == 0)
                shared.sums[side][b][line + lane / 4][threadIdx.x / 32] = sum;
        }
    }

    /* All warps' sums of a line; the norm's factor of a row of x. */
    __device__ __forceinline__ float sum_of(int b, int line) const {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < WARPS; i++)
            sum += shared.sums[side][b][line][i];
        return sum;
    }
    __device__ __forceinline__ float factor(int product, int b) const {
        const int width = product == OUT ? at.shape.hidden : at.shape.width;
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 2 * WARPS; i++)
            sum += shared.squares[side][b][i];
        return rsqrtf(sum / (float)width + (float)TNL_DEFAULT_EPS);
    }

    /* Hand on a turn's results: a thread for each row, which gives the next's with its own. */
    __device__ __forceinline__ void give(int product, const turns &turn, unsigned flag) const {
        static_assert(TURN <= COMPUTING / 2 && ROWS <= 2, "a thread for each");
        const int i = threadIdx.x % (COMPUTING / 2), b = threadIdx.x / (COMPUTING / 2);
        const int rows = turn.rows(), row = turn.row + i;
        if (b >= ROWS || i / 32 * 32 >= rows)
            return;
        const int line = min(i, rows - 1);
        float value = sum_of(b, line);
        if (product != DOWN) {
            const float r = factor(product, b);
            value *= r;
            if (product == GATE)
                value *= r * sum_of(b, rows + line);
        }
        if ((product == OUT || product == DOWN) && i < rows) {
            float &stream = to.stream[b * to.stream_stride + row - shared.product[OUT].begin];
            value = stream += value;
        }
        if (product == HEAD) {
            if (i < rows)
                at.logits[(int64_t)b * at.shape.vocab + row] = __float2bfloat16_rn(value);
            return;
        }
        const float following = __shfl_down_sync(0xffffffffu, value, 1);
        word *words = product == QKVU   ? at.qkvu + b * 2 * at.shape.hidden
                      : product == GATE ? at.p + b * at.shape.gated / 2
                                        : at.stream + b * at.shape.width / 2;
        if (i < rows && i % 2 == 0)
            exchange::put(words + row / 2, value, following, product == DOWN ? flag + 1 : flag);
    }

    /* A turn's sums. Its pieces are loaded HELD at a time; those that come first wait in registers
     * for the values that x is made of. */
    __device__ __forceinline__ void multiply_turn(int product, const turns &turn, bool fills,
                                                  bool first, unsigned flag, float (&squares)[4]) {
        const int depth = depth_of(at.shape, product);
        const int segments = (depth + SEGMENT - 1) / SEGMENT;
        const int pieces = (turn.lines() + LINES - 1) / LINES * segments;
        sums c = {};
        int line = 0, at_load = 0, at_multiply = 0;
        for (int piece = 0; piece < pieces; piece += HELD) {
            lines held[HELD];
            taker loads = weights;
#pragma unroll
            for (int i = 0; i < HELD; i++)
                if (piece + i < pieces) {
                    held[i].load(loads.take(), depth - at_load);
                    loads.step();
                    at_load = at_load + SEGMENT < depth ? at_load + SEGMENT : 0;
                }
            if (fills && piece == 0) {
                fill(product, first, flag);
                if (product != DOWN)
                    make_squares(product, squares);
            }
#pragma unroll
            for (int i = 0; i < HELD; i++)
                if (piece + i < pieces) {
                    fragment x;
                    x.load<ROWS>(to.x + at_multiply, to.x_stride, depth - at_multiply);
                    held[i].multiply(x, c);
                    at_multiply += SEGMENT;
                    if (at_multiply >= depth) {
                        keep_sums(line, c);
                        c = {};
                        line += LINES;
                        at_multiply = 0;
                    }
                    weights.release();
                }
        }
    }

    __device__ __forceinline__ void multiply(int product, bool first, unsigned flag) {
        const share mine = shared.product[product];
        float squares[4] = {};
        for (turns turn(product, mine); turn.more(); turn.next()) {
            multiply_turn(product, turn, turn.row == mine.begin, first, flag, squares);
            keep_squares(squares);
            sync_computing();
            give(product, turn, flag);
            side ^= 1;
        }
    }

    __device__ __forceinline__ void mix(unsigned flag) {
        const int lines = state.tasks * STATE_COLUMNS, line = threadIdx.x;
        if (lines == 0)
            return;
        state.run(side, flag);
        sync_computing();
        if (line / 32 * 32 < lines) {
            const float value = sum_of(0, min(line, lines - 1));
            const float following = __shfl_down_sync(0xffffffffu, value, 1);
            if (line < lines && line % 2 == 0)
                exchange::put(state.place_of(line), value, following, flag);
        }
        side ^= 1;
    }

    /* The stream's elements of the block's rows. */
    __device__ __forceinline__ void begin_stream() const {
        const share mine = shared.product[OUT];
        for (int b = 0; b < ROWS; b++)
            for (int i = threadIdx.x; i < mine.count(); i += COMPUTING)
                to.stream[b * to.stream_stride + i] =
                    at.scale * __bfloat162float(embedding_of(at, b)[mine.begin + i]);
    }

    __device__ __forceinline__ void run(unsigned flag) {
        begin_stream();
        for (int layer = 0; layer < at.shape.layers; layer++, flag += 2) {
            state.ask(0);
            multiply(QKVU, layer == 0, flag);
            mix(flag);
            multiply(OUT, false, flag);
            multiply(GATE, false, flag);
            multiply(DOWN, false, flag);
        }
        multiply(HEAD, false, flag);
    }
};

} // namespace step

#endif
