/*
 * Attention at the speed of memory on compute capability 9.0: the chunked rows' mathematics with
 * TMA, wgmma and warps of their own for loading, for the state, for the outputs and for storing
 * them. cuda_hopper_memory.cuh has the tiles of a block, its shared memory and its pipeline;
 * cuda_hopper_state.cuh and cuda_hopper_sweep.cuh the equations; here is how a call is divided.
 *
 * A chunk of 64 tokens and 128 columns is 2,048 cycles for the tensor cores and, at 128 bytes a
 * cycle, some 2,300 for shared memory; the memory's rate leaves a block 3,900. What was tried, as
 * cycles a chunk of few blocks, whose memory is not shared (128 columns | 64):
 *
 *     one output group, groups in step, a thread of it storing by TMA             3,500 | 2,200
 *     the next chunk's weights and scores made under this one's products          3,440 | 2,380
 *         products with an operand in registers hold their warps up until nearly their end, so
 *         that nothing of the same warp runs beside them
 *     weights in packed bfloat16 arithmetic, three instructions a pair for twelve  3,380
 *     state groups take turns at the tensor cores                                  3,270 | 2,280
 *     two output groups of 64 columns beside two state groups                            | 2,070
 *     a warp that stores for the output groups                                     3,130
 *
 * Not worth it: the next chunk's scores started before this one's are weighed (4,300: two sets of
 * scores in registers); scores of four warps in two parts for long sequences (256 cycles more, and
 * no error that counts); states in step with two tiles a group for 64 columns (2,280).
 */
#include "kernels/attention/cuda_hopper_prefix.cuh"
#include "kernels/attention/cuda_hopper_sweep.cuh"
#include "kernels/attention/cuda_segments.cuh"

static constexpr int MOST_SEGMENTS = 32;

/* The columns of the outer dimension that a block may take: float16's units leave no registers for
 * more. */
template <typename T> constexpr int most_columns = std::is_same_v<T, __half> ? 64 : 128;

/* ---- the plan ----------------------------------------------------------------------------- */

struct hopper_plan {
    int64_t length; /* of a segment */
    int columns; /* of the outer dimension that a block takes, where the inner tile is 128 wide */
    int handing; /* one sweep, in which so many segments of a sequence hand states on; or 0 */
};

static double blocks_of(const products &all, int columns) {
    double blocks = 0;
    for (int i = 0; i < all.count; i++)
        blocks +=
            (double)ceil_div(all.at[i].outer, tile_width(all.at[i].inner) == 128 ? columns : 64);
    return blocks;
}

/* What a block needs for a chunk, in microseconds as measured on an H200 (1.98 GHz, 4.2 TB/s): at
 * least so much by itself, and so much for each block that shares the memory's rate with it. */
struct chunk_cost {
    double alone, shared;
};

/* The time that a sweep takes for `blocks` blocks of `chunks` chunks each, in waves of `slots`. */
static double sweep_time(chunk_cost cost, double blocks, double chunks, double slots) {
    return ceil(blocks / slots) * chunks * fmax(cost.alone, cost.shared * fmin(blocks, slots));
}

/* Where the states lie that are handed on: behind the copy of incoming ones. */
static size_t handing_offset(const tnl_call *call) {
    return (size_t)ceil_div((int64_t)(copy_floats(call) * sizeof(float)), TNL_WORKSPACE_ALIGNMENT) *
           TNL_WORKSPACE_ALIGNMENT;
}

/* What is handed on, with its flags, at most: the products' that are launched together, and of
 * those of all launches, which follow one another, more than the most. */
static double handing_bytes(const tnl_call *call, int columns, int64_t segments) {
    constexpr double FLAGS = 8 * sizeof(unsigned); /* of a block, at most */
    const products all = find_products(call);
    double bytes = sizeof(unsigned);
    for (int i = 0; i < all.count; i++) {
        const int width = tile_width(all.at[i].inner), outer = width == 128 ? columns : 64;
        bytes += (double)ceil_div(all.at[i].outer, outer) * (width * outer * sizeof(float) + FLAGS);
    }
    return bytes * (double)(call->dim[DIM_S] * call->dim[DIM_H] * segments);
}

/* The bytes of a call's outputs. */
static double output_bytes(const tnl_call *call) {
    const products all = find_products(call);
    double columns = 0;
    for (int i = 0; i < all.count; i++)
        columns += all.at[i].outer;
    return 2 * columns * (double)(call->dim[DIM_B] * call->dim[DIM_H] * call->dim[DIM_N]);
}

/*
 * The plan with the least estimated time. Wide blocks read the least and are best for many heads.
 * With few heads the chip is filled by
 *   - narrow blocks: a pair of them reads x and y twice, mostly out of the L2;
 *   - segments: y and z are read twice, by two sweeps with one more kernel between them, or, where
 *     all blocks run at a time, in one sweep that hands states on.
 * A packed batch is taken for one of equally long sequences, unless there are enough heads for
 * sequences of any length.
 */
static hopper_plan plan(const tnl_call *call) {
    constexpr chunk_cost OUTPUTS[2] = {{1.1, 0.0091}, {1.7, 0.016}};
    constexpr chunk_cost STATES[2] = {{0.51, 0.006}, {0.73, 0.008}};
    constexpr chunk_cost TWICE[2] = {{1.5, 0.0121}, {2.3, 0.0205}};
    constexpr double LAUNCHES = 13, HANDING[2] = {9.4, 10.5}, ADDED[2] = {0.4, 0.5};
    const int64_t sequences = call->dim[DIM_S], n = call->dim[DIM_N];
    const bool packed = cu_seqlens_of(call)->data != NULL;
    const int64_t chunks = ceil_div(packed ? ceil_div(n, sequences) : n, TILE);
    const double heads = (double)(call->dim[DIM_H] * sequences);
    const double slots = call->context->multiprocessors;
    const products all = find_products(call), states = state_products(call);
    const bool may_hand_on =
        !packed && call->dim[DIM_D] <= 128 && call->dim[DIM_E] <= 128; /* HANDS_ON */
    const int most = call->type == TNL_FLOAT16 ? most_columns<__half> : most_columns<__nv_bfloat16>;
    hopper_plan best = {};
    double least = 0;
    const auto consider = [&](double time, int64_t length, int columns, int handing) {
        if (least == 0 || time < least) {
            least = time;
            best = {length * TILE, columns, handing};
        }
    };
    for (int wide = 0; wide < most / 64; wide++) {
        const int columns = 64 * (wide + 1);
        for (int64_t segments = 1; segments <= min((int64_t)MOST_SEGMENTS, chunks); segments++) {
            const int64_t chunks_each = max(ceil_div(chunks, segments), least_segment(call, TILE));
            const double length = (double)chunks_each;
            const double blocks = heads * blocks_of(all, columns) * (double)segments;
            double time = sweep_time(OUTPUTS[wide], blocks, length, slots);
            if (segments > 1)
                time += LAUNCHES +
                        sweep_time(STATES[wide],
                                   heads * blocks_of(states, columns) * (double)(segments - 1),
                                   length, slots);
            consider(time, chunks_each, columns, 0);
            if (segments > 1 && may_hand_on && blocks <= slots &&
                ceil_div(chunks, chunks_each) == segments &&
                handing_bytes(call, columns, segments) <= output_bytes(call))
                consider(sweep_time(TWICE[wide], blocks, length, slots) + HANDING[wide] +
                             ADDED[wide] * (double)(segments - 1),
                         chunks_each, columns, (int)segments);
        }
    }
    /* With heads enough for every sequence none is cut, so that no sweep looks for segments. */
    if (packed && heads / (double)sequences * blocks_of(all, best.columns) >= slots)
        best.length = ceil_div(n, TILE) * TILE;
    return best;
}

static size_t workspace(const tnl_call *call) {
    const hopper_plan chosen = plan(call);
    return chosen.handing > 0
               ? handing_offset(call) + (size_t)handing_bytes(call, chosen.columns, chosen.handing)
               : segments_workspace(call, chosen.length);
}

static const char *rejects(const tnl_call *call) {
    if (rejects_device(call))
        return rejects_device(call);
    if (call->dim[DIM_D] > LARGEST_INNER || call->dim[DIM_E] > LARGEST_INNER)
        return "takes d and e up to 256";
    for (int i = 0; i < tnl_operators[call->op].argument_count; i++)
        if (call->tensor[i].data && call->tensor[i].rank == 4 &&
            tnl_operators[call->op].argument[i].type == TNL_NO_TYPE &&
            !tnl_allows_tensor_map(&call->tensor[i]))
            return "takes rows aligned to 16 bytes";
    const int head_blocks = 4 * LARGEST_INNER / 64; /* of four products */
    return sweep_fits(call, divide_tokens(call, plan(call).length), head_blocks)
               ? NULL
               : "takes up to 2^31 / 16 heads of segments";
}

/* ---- the rows ----------------------------------------------------------------------------- */

template <typename T, bool OUTPUTS>
static tnl_status sweep_width(const tnl_call *call, const sweep &args, int width,
                              const hopper_plan &chosen) {
    const bool overlaps = OUTPUTS && division_ends(args.tokens) > 0;
    const hopper_exchange exchange = {
        chosen.handing, (float4 *)((char *)call->workspace + handing_offset(call)), NULL, NULL};
    if (width == 64)
        return launch_hopper<T, 64, 64, OUTPUTS>(call, args, overlaps, exchange);
    if (width == LARGEST_INNER)
        return launch_hopper<T, LARGEST_INNER, 64, OUTPUTS>(call, args, overlaps, exchange);
    if constexpr (most_columns<T> == 128)
        if (chosen.columns == 128)
            return launch_hopper<T, 128, 128, OUTPUTS>(call, args, overlaps, exchange);
    return launch_hopper<T, 128, 64, OUTPUTS>(call, args, overlaps, exchange);
}

template <typename T>
static tnl_status launch_typed(const tnl_call *call, const hopper_plan &chosen) {
    return sweep_segments(
        call, chosen.length, chosen.handing == 0, [&](const sweep &args, bool outputs) {
            const tnl_status status = for_each_width(args, [&](const sweep &part, int width) {
                return outputs ? sweep_width<T, true>(call, part, width, chosen)
                               : sweep_width<T, false>(call, part, width, chosen);
            });
            return status == TNL_OK && !outputs ? launch_prefix(call, args) : status;
        });
}

static tnl_status launch(const tnl_call *call) {
    return call->type == TNL_FLOAT16 ? launch_typed<__half>(call, plan(call))
                                     : launch_typed<__nv_bfloat16>(call, plan(call));
}

static constexpr tnl_kernel ROW = {
    .launch = launch,
    .workspace = workspace,
    .rejects = rejects,
    .deterministic = true,
    .bound = {0, 0, 0, 2.5e-3}}; /* bfloat16, the last of the types */

const tnl_kernel tnl_cuda_attention_forward_hopper = ROW;
const tnl_kernel tnl_cuda_attention_backward_hopper = ROW;
const tnl_kernel tnl_cuda_attention_forward_backward_hopper = ROW;
