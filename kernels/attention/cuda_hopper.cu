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
 * From there on as cycles of a whole call, over its chunks: backward, b1 h32 n8192 (96 blocks of
 * 128 columns) | b4 h32 n32768 (three waves of 128 blocks, which share the memory's rate):
 *
 *     as above, two stages                                                 3,730 | 3,880
 *     three stages                                                         3,650 | 3,570
 *     M and the weights of a lane's tokens kept in registers               3,260 | 3,530
 *
 * With an inner tile of 256, of which there is room for two stages, x, y and z leave a stage one by
 * one, and the states have 8 more registers a thread: forward with d = 256 (b4 h32 n8192) took 1.12
 * million cycles and takes 1.04. Where the inner tile is 128 wide, to leave one by one costs 3 to
 * 13 %.
 *
 * Long calls, one after another, bring an H200 to its power limit: the clock was seen to fall from
 * 1.98 to 1.56 GHz, with that as the driver's reason. Cycles are by the clock right after a call.
 *
 * Not worth it: the next chunk's scores started before this one's are weighed (4,300: two sets of
 * scores in registers); scores of four warps in two parts for long sequences (256 cycles more, and
 * no error that counts); states in step with two tiles a group for 64 columns (2,280); clusters of
 * two blocks that load for each other what they share, dk's y and z being dv's z and y, or x and y
 * of neighbouring columns (the L2 does it already: 7 tensors are read from memory in the backward
 * pass with clusters and without; with d = 256 they cost 3 %); one state group of two tiles beside
 * two output groups at 128 columns (the compiler runs out of registers and serialises the
 * products).
 *
 * For few heads (b1, n = 8192, in us): a segment's blocks as a cluster that adds its states up in
 * shared memory (of eight blocks only 15 clusters fit at once: forward h8 52 against 47 then);
 * states handed on from block to block within one sweep, which loads y and z twice, by flags and an
 * atomic ticket (41.4 at forward h8, 65.8 h16, 111 h32, 85 at backward h8, where two sweeps took
 * 43.3, 67.5, 110 and 85: not enough for a second ring of barriers; what is kept in registers
 * brought more). As tnl-bench has it:
 *
 *                                                      forward h8 | h16 | h32   backward h8 | h16
 *     each block adds up the states before its own          43.0 | 67.2 | 109          77.8 | 141
 *     a kernel adds them up, parts, 128 columns             42.0 | 64.2 | 109          74.7 | 138
 *     states made from the last chunk to the first          40.9 | 63.1 | 108          74.1 | 138
 *
 * The kernel that adds up takes some 2 to 5 us, and 12 at forward h8 where its blocks may come
 * early: they crowd onto the multiprocessors that the states' sweep leaves free. It costs where
 * there is little to add: forward h16 n2048, with four segments, went from 27.5 to 29.6. Of forward
 * h8's 41 us the states take 11, from their end to the first state of the outputs' sweep it is 10,
 * the outputs take 15, and the launch 5; forward h32 is bound by memory, 368 MB, which alone
 * are 88.
 *
 * Not worth it: a first segment of its own, whose outputs are computed beside the states of the
 * others (before that crowding was found: forward h16 82 for 67 without, h32 114 for 110; both
 * share the memory's rate, and the next kernel waits for both); L2 hints to keep y and z and let go
 * of x and outputs (no better, and up to 5 % worse where x, y and z are let go); tensor maps
 * fetched early; the small kernel launched without overlap (1 to 2 us more); scores by a group of
 * their own, which leaves them in shared memory for one output group, which stores its outputs
 * itself (backward h32 252 for 211, h16 163 for 143; forward b1 h64, with 64 columns, 174 for 163:
 * scores made ahead slow down the products that others wait for: X S alone took 1,600 cycles a
 * chunk). Of all ways to cut these shapes into segments, parts and columns, with columns of their
 * own for the first sweep, none was more than 1.3 % below the plan's.
 *
 * What a profile says of these shapes: backward h32, one sweep of 96 blocks, has its tensor cores
 * at work 73 % of the time (53 % of the device's), and both its chains are full: an output group
 * waits for 180 of a chunk's 3,170 cycles, a state group for 600, most of it for its turn at the
 * tensor cores. The sweeps of forward h32 run at 71 % of the memory's peak, 3.4 TB/s each.
 */
#include "kernels/attention/cuda_hopper_sweep.cuh"
#include "kernels/attention/cuda_segments.cuh"

static constexpr int MOST_SEGMENTS = 32, MOST_PARTS = 4;

/* The columns of the outer dimension that a block may take: float16's units leave no registers for
 * more. */
template <typename T> constexpr int most_columns = std::is_same_v<T, __half> ? 64 : 128;

/* ---- the plan ----------------------------------------------------------------------------- */

struct hopper_plan {
    segments_cut cut;
    int columns; /* of the outer dimension that a block takes, where the inner tile is 128 wide */
};

static double blocks_of(const products &all, int columns) {
    double blocks = 0;
    for (int i = 0; i < all.count; i++)
        blocks +=
            (double)ceil_div(all.at[i].outer, tile_width(all.at[i].inner) == 128 ? columns : 64);
    return blocks;
}

/* What a sweep's blocks need, in microseconds as measured on an H200 (1.98 GHz, 4.2 TB/s): to
 * start, and then for a chunk at least so much by itself, and so much for each block that shares
 * the memory's rate with it. */
struct block_cost {
    double start, alone, shared;
};

/* The time that a sweep takes for `blocks` blocks of `chunks` chunks each, in waves. */
static double sweep_time(const tnl_call *call, block_cost cost, double blocks, double chunks) {
    const double slots = call->context->multiprocessors;
    return ceil(blocks / slots) *
           (cost.start + chunks * fmax(cost.alone, cost.shared * fmin(blocks, slots)));
}

/*
 * The plan with the least estimated time. Wide blocks read the least and are best for many heads.
 * With few heads the chip is filled by
 *   - narrow blocks: a pair of them reads x and y twice, mostly out of the L2;
 *   - segments: y and z are read twice, and two more kernels are started, which is LAUNCH, the
 *     second of them to add up the states of all parts, ADDED for each.
 * Parts, where segments are too few to fill it while the states are made.
 * A packed batch is taken for one of equally long sequences.
 */
static hopper_plan plan(const tnl_call *call) {
    constexpr block_cost OUTPUTS[2] = {{4, 1.1, 0.0091}, {4, 1.6, 0.0139}};
    constexpr block_cost STATES[2] = {{2, 0.51, 0.006}, {4.5, 0.73, 0.008}};
    constexpr double LAUNCH = 6, ADDED = 0.025;
    const int64_t sequences = call->dim[DIM_S], n = call->dim[DIM_N];
    const int64_t chunks = ceil_div(cu_seqlens_of(call)->data ? ceil_div(n, sequences) : n, TILE);
    const int64_t least_length = least_segment(call, TILE);
    const double heads = (double)(call->dim[DIM_H] * sequences);
    const products all = find_products(call), states = state_products(call);
    const int most = call->type == TNL_FLOAT16 ? most_columns<__half> : most_columns<__nv_bfloat16>;
    hopper_plan best = {};
    double least = 0;
    for (int columns = 64; columns <= most; columns += 64) {
        const int wide = columns / 64 - 1;
        const double blocks = heads * blocks_of(all, columns);
        const double state_blocks = heads * blocks_of(states, columns);
        for (int64_t cut = 0; cut < MOST_SEGMENTS * MOST_PARTS; cut++) {
            const int64_t parts = cut % MOST_PARTS + 1, wanted = cut / MOST_PARTS + 1;
            const int64_t part = max(ceil_div(ceil_div(chunks, wanted), parts), least_length);
            const double segments = (double)ceil_div(chunks, part * parts);
            const double ends = (segments - 1) * (double)parts;
            double time =
                sweep_time(call, OUTPUTS[wide], blocks * segments, (double)(part * parts));
            if (ends > 0)
                time += LAUNCH + ADDED * heads * states.count * ends +
                        sweep_time(call, STATES[wide], state_blocks * ends, (double)part);
            if (least == 0 || time < least) {
                least = time;
                best = {{part * parts * TILE, part * TILE}, columns};
            }
        }
    }
    return best;
}

static size_t workspace(const tnl_call *call) {
    return segments_workspace(call, plan(call).cut);
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
    return sweep_fits(call, divide_tokens(call, plan(call).cut.part), head_blocks)
               ? NULL
               : "takes up to 2^31 / 16 heads of segments";
}

/* ---- the rows ----------------------------------------------------------------------------- */

template <typename T, bool OUTPUTS>
static tnl_status sweep_width(const tnl_call *call, const sweep &args, int width, int columns) {
    const bool overlaps = OUTPUTS && division_ends(args.parts) > 0;
    if (width == 64)
        return launch_hopper<T, 64, 64, OUTPUTS>(call, args, overlaps);
    if (width == LARGEST_INNER)
        return launch_hopper<T, LARGEST_INNER, 64, OUTPUTS>(call, args, overlaps);
    if constexpr (most_columns<T> == 128)
        if (columns == 128)
            return launch_hopper<T, 128, 128, OUTPUTS>(call, args, overlaps);
    return launch_hopper<T, 128, 64, OUTPUTS>(call, args, overlaps);
}

template <typename T> static tnl_status launch_typed(const tnl_call *call) {
    const hopper_plan chosen = plan(call);
    return sweep_segments(call, chosen.cut, [&](const sweep &args, bool outputs) {
        return for_each_width(args, [&](const sweep &part, int width) {
            return outputs ? sweep_width<T, true>(call, part, width, chosen.columns)
                           : sweep_width<T, false>(call, part, width, chosen.columns);
        });
    });
}

static tnl_status launch(const tnl_call *call) {
    return call->type == TNL_FLOAT16 ? launch_typed<__half>(call)
                                     : launch_typed<__nv_bfloat16>(call);
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
