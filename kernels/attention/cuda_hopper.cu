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
 * and in us, backward b1 h32 n8192 | b4 h32 n8192 | b4 h32 n8192 with d = 256:
 *
 *     as above                                                               214 | 698 | 1,474
 *     roles that the compiler knows to be a warp's (warp_number()), so that
 *         descriptors are in uniform registers: 36 moves there for 402       202 | 681 | 1,396
 *     scores weighed in branches, which keeps the compiler from doing it
 *         between the first product of X S and the second                    193 | 668 | 1,359
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
 *     uniform registers, branches                           41.0 | 62.3 | 108          72.7 | 128
 *     few parts added up by blocks, which need not wait
 *         for a kernel: first segments beside the states    41.0 | 62.6 | 101          73.4 | 129
 *
 * The kernel that adds up takes some 2 to 5 us, and 12 at forward h8 where its blocks may come
 * early: they crowd onto the multiprocessors that the states' sweep leaves free. Of forward
 * h8's 41 us the states take 11, from their end to the first state of the outputs' sweep it is 10,
 * the outputs take 15, and the launch 5; forward h32 is bound by memory: 100 MB for the states,
 * 201 read and 67 written for the outputs, of which the L2 still has 14, are 84 us at 4.2 TB/s (of
 * h16's it has 16 MB, of h8's 17).
 *
 * Not worth it: a first segment in a launch with the states of the others (before that crowding was
 * found: forward h16 82 for 67 without, h32 114 for 110; the next kernel waits for both), or longer
 * than the others (the plan's estimate: no gain, since the memory is busy throughout); L2 hints to
 * keep y and z and let go of x and outputs (no better, and up to 5 % worse where x, y and z are let
 * go); tensor maps fetched early; the small kernel launched without overlap (1 to 2 us more);
 * scores by a group of their own, which leaves them in shared memory for one output group, which
 * stores its outputs itself (backward h32 252 for 211, h16 163 for 143; forward b1 h64, with 64
 * columns, 174 for 163: scores made ahead slow down the products that others wait for: X S alone
 * took 1,600 cycles a chunk). Of all ways to cut 20 shapes into segments, parts and columns none
 * was more than 3 % below the plan's.
 *
 * What a profile said of these shapes, before the registers and branches: backward h32, one sweep
 * of 96 blocks, has its tensor cores at work 73 % of the time (53 % of the device's), and both its
 * chains are full: an output group waits for 180 of a chunk's 3,170 cycles, a state group for 600,
 * most of it for its turn at the tensor cores. The sweeps of forward h32 run at 71 % of the
 * memory's peak, 3.4 TB/s each.
 */
#include "kernels/attention/cuda_hopper_sweep.cuh"
#include "kernels/attention/cuda_segments.cuh"

static constexpr int MOST_SEGMENTS = 32, MOST_PARTS = 4;

/* The columns of the outer dimension that a block may take: float16's units leave no registers for
 * more. */
template <typename T> constexpr int most_columns = std::is_same_v<T, __half> ? 64 : 128;

/* ---- the plan ----------------------------------------------------------------------------- */

/* Columns: of the outer dimension that a block with outputs, or of the states' sweep, takes, where
 * the inner tile is 128 wide. */
struct hopper_plan {
    segments_cut cut;
    int columns, state_columns;
};

static double blocks_of(const products &all, int columns) {
    double blocks = 0;
    for (int i = 0; i < all.count; i++)
        blocks +=
            (double)ceil_div(all.at[i].outer, tile_width(all.at[i].inner) == 128 ? columns : 64);
    return blocks;
}

/* What a sweep's blocks need, in microseconds as measured on an H200 (1.98 GHz, 4.2 TB/s): to
 * start, and then for a chunk so much by itself, and so much for each block that shares the
 * memory's rate with it. */
struct block_cost {
    double start, alone, shared;
};

/* What needs two things at a time takes the longer, and where they are near each other more, up to
 * an eighth. */
static double both(double a, double b) {
    const double longer = fmax(a, b),
                 square = a * b / (longer * longer) * (a * b) / (longer * longer);
    return longer * (1 + square * square * square / 8);
}

/* The time that a sweep takes for `blocks` blocks of `chunks` chunks each, in waves. */
static double sweep_time(block_cost cost, double slots, double blocks, double chunks) {
    const double waves = floor(blocks / slots), rest = blocks - waves * slots;
    const auto wave = [&](double count) {
        return count > 0 ? cost.start + chunks * both(cost.alone, cost.shared * count) : 0;
    };
    return waves * wave(slots) + wave(rest);
}

/* Outputs after states, where no kernel between them has to end: blocks of the first segments find
 * room beside those of the states, and what they have done by then is behind them. */
static double side_by_side(double slots, block_cost states, double state_blocks, double part,
                           block_cost outputs, double blocks, double first, double length) {
    if (state_blocks > slots || blocks > slots)
        return sweep_time(states, slots, state_blocks, part) +
               sweep_time(outputs, slots, blocks, length);
    const double beside = fmin(slots - state_blocks, first);
    const double slower = both(1, state_blocks * states.shared / states.alone +
                                      beside * outputs.shared / outputs.alone);
    const double before = states.start + part * states.alone * slower;
    const double done = fmin(length, before / (outputs.alone * slower));
    return before + outputs.start +
           both(length * outputs.alone, (blocks * length - beside * done) * outputs.shared);
}

/* The search for a plan. */
struct hopper_search {
    const products all, states;
    const double heads, slots;
    const bool packed;
    hopper_plan best = {};
    double least = INFINITY;

    void try_plan(const hopper_plan &tried, double time) {
        if (time < least) {
            least = time;
            best = tried;
        }
    }

    /* Segments of `parts` parts of `part` chunks: the time of outputs, and of states before them,
     * which takes another kernel (LAUNCH). States of parts are added up by one more kernel, or
     * each block with outputs ADDS those before its segment: few, and not in a packed batch, where
     * a sequence may have many. */
    void try_cut(int columns, int most, double segments, double part, double parts) {
        constexpr block_cost STATES[2] = {{2, 0.51, 0.0055}, {4.5, 0.70, 0.0078}};
        constexpr block_cost OUTPUTS[2][2] = {{{4, 0.95, 0.0081}, {4, 1.38, 0.0146}},
                                              {{4, 0.95, 0.0078}, {4, 1.38, 0.0132}}};
        constexpr double LAUNCH = 3, KERNEL = 3, ADDED = 0.025, ADDS[2] = {1, 1.6};
        const int wide = columns / 64 - 1;
        const block_cost cost = OUTPUTS[all.count > 1][wide];
        const double first = heads * blocks_of(all, columns), length = part * parts;
        const double blocks = first * segments, ends = (segments - 1) * parts;
        const double time = sweep_time(cost, slots, blocks, length);
        hopper_plan tried = {{(int64_t)length * TILE, (int64_t)part * TILE, true}, columns, 64};
        if (segments == 1)
            return try_plan(tried, time);
        for (; tried.state_columns <= most; tried.state_columns += 64) {
            const block_cost of_states = STATES[tried.state_columns / 64 - 1];
            const double before = heads * blocks_of(states, tried.state_columns) * ends;
            tried.cut.added_up = true;
            try_plan(tried, time + sweep_time(of_states, slots, before, part) + LAUNCH + KERNEL +
                                ADDED * heads * states.count * ends);
            tried.cut.added_up = false;
            if (!packed)
                try_plan(tried,
                         side_by_side(slots, of_states, before, part, cost, blocks, first, length) +
                             LAUNCH + ADDS[wide] * ends);
        }
    }
};

/*
 * The plan with the least estimated time. Wide blocks read the least and are best for many heads.
 * With few heads the chip is filled by
 *   - narrow blocks: a pair of them reads x and y twice, mostly out of the L2;
 *   - segments: y and z are read twice, and one or two more kernels are started.
 * Parts, where segments are too few to fill it while the states are made. Several products share
 * some of what they read. A packed batch is taken for one of equally long sequences.
 */
static hopper_plan plan(const tnl_call *call) {
    const bool packed = cu_seqlens_of(call)->data;
    const int64_t sequences = call->dim[DIM_S], n = call->dim[DIM_N];
    const int64_t chunks = ceil_div(packed ? ceil_div(n, sequences) : n, TILE);
    const int64_t least_length = least_segment(call, TILE);
    const int most = call->type == TNL_FLOAT16 ? most_columns<__half> : most_columns<__nv_bfloat16>;
    hopper_search search = {.all = find_products(call),
                            .states = state_products(call),
                            .heads = (double)(call->dim[DIM_H] * sequences),
                            .slots = (double)call->context->multiprocessors,
                            .packed = packed};
    for (int64_t wanted = 1; wanted <= MOST_SEGMENTS; wanted++)
        for (int64_t parts = 1; parts <= (wanted == 1 ? 1 : MOST_PARTS); parts++) {
            const int64_t part = max(ceil_div(ceil_div(chunks, wanted), parts), least_length);
            const int64_t segments = ceil_div(chunks, part * parts);
            if (segments == wanted || wanted == 1) /* else it has been tried */
                for (int columns = 64; columns <= most; columns += 64)
                    search.try_cut(columns, most, (double)segments, (double)part, (double)parts);
        }
    return search.best;
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
                           : sweep_width<T, false>(call, part, width, chosen.state_columns);
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
