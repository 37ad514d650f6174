/*
 * Attention in time and memory linear in n, on tensor cores for float16 and bfloat16: a left
 * product inside chunks, a K^T V state between them (cuda_chunked_half.cuh has the equations,
 * cuda_attention.cuh the four products that forward and backward are).
 *
 * A block takes one product of one head through a segment of a sequence (cuda_segments.cuh), for 64
 * columns of the outer dimension.
 */
#include "kernels/attention/cuda_chunked.cuh"
#include "kernels/attention/cuda_chunked_half.cuh"
#include "kernels/attention/cuda_segments.cuh"

static constexpr int LEAST_SEGMENT = 256; /* the states of this many bf16 rows take their room */
static constexpr int MOST_SEGMENTS = 32;  /* since their states are added up one after another */

/* ---- the plan ----------------------------------------------------------------------------- */

static int columns_a_block(const tnl_call *call, int inner) {
    return tile_columns(call->type == TNL_FLOAT32 ? 64 : tile_width(inner));
}

/* Blocks for each segment of each sequence. */
static int64_t blocks_a_segment(const tnl_call *call, const products &all) {
    int64_t blocks = 0;
    for (int i = 0; i < all.count; i++)
        blocks += ceil_div(all.at[i].outer, columns_a_block(call, all.at[i].inner));
    return blocks * call->dim[DIM_H];
}

/*
 * The length of a segment: that with the least estimated time. The device takes blocks in waves,
 * two a multiprocessor, and in the time in which a block computes one chunk of outputs it
 *   - computes states alone for some 2.5 chunks,
 *   - starts another kernel: segments need two more, the second to add up their states.
 * A packed batch is taken for one of equally long sequences.
 */
static int64_t segment_length(const tnl_call *call) {
    const int64_t sequences = call->dim[DIM_S], slots = 2 * call->context->multiprocessors;
    const int64_t n = call->dim[DIM_N];
    const int64_t chunks = ceil_div(cu_seqlens_of(call)->data ? ceil_div(n, sequences) : n, TILE);
    const double blocks = (double)blocks_a_segment(call, find_products(call)) * sequences;
    const double state_blocks = (double)blocks_a_segment(call, state_products(call)) * sequences;
    int64_t best = chunks;
    double least = 0;
    for (int64_t segments = 1; segments <= MOST_SEGMENTS; segments++) {
        const int64_t length = ceil_div(chunks, segments);
        double time = ceil(blocks * segments / slots) * length;
        if (segments > 1)
            time += 2 + 0.4 * ceil(state_blocks * (segments - 1) / slots) * length;
        if (segments == 1 || (length * TILE >= LEAST_SEGMENT && time < least)) {
            best = length;
            least = time;
        }
    }
    return max(best, least_segment(call, TILE)) * TILE;
}

static segments_cut cut_segments(const tnl_call *call) {
    const int64_t length = segment_length(call);
    return {length, length, true};
}

static size_t workspace(const tnl_call *call) {
    return segments_workspace(call, cut_segments(call));
}

static const char *rejects(const tnl_call *call) {
    const int64_t d = call->dim[DIM_D], e = call->dim[DIM_E];
    if (d > LARGEST_INNER || e > LARGEST_INNER)
        return "takes d and e up to 256";
    if (!sweep_fits(call, divide_tokens(call, segment_length(call)), MOST_HEAD_BLOCKS))
        return "takes up to 2^31 / 8 heads of segments";
    const int inner = (int)(call->op == TNL_ATTENTION_FORWARD ? d : max(d, e));
    return call->type == TNL_FLOAT32
               ? rejects_shared_bytes(call, tnl_sweep_float_shared_bytes(inner, true))
               : NULL;
}

/* ---- sweeps ------------------------------------------------------------------------------- */

template <typename T, bool OUTPUTS>
static tnl_status sweep_tiles(const tnl_call *call, const sweep &args, int width) {
    switch (width) {
    case 64:
        return launch_sweep_half<T, 64, OUTPUTS>(call, args);
    case 128:
        return launch_sweep_half<T, 128, OUTPUTS>(call, args);
    default:
        return launch_sweep_half<T, LARGEST_INNER, OUTPUTS>(call, args);
    }
}

static tnl_status sweep_typed(const tnl_call *call, const sweep &args, bool outputs, int width) {
    if (call->type == TNL_BFLOAT16)
        return outputs ? sweep_tiles<__nv_bfloat16, true>(call, args, width)
                       : sweep_tiles<__nv_bfloat16, false>(call, args, width);
    return outputs ? sweep_tiles<__half, true>(call, args, width)
                   : sweep_tiles<__half, false>(call, args, width);
}

/* Sweep all products of args; for 16-bit types, those with the same width of tile together. */
static tnl_status sweep_all(const tnl_call *call, const sweep &args, bool outputs) {
    if (call->type == TNL_FLOAT32)
        return tnl_sweep_float(call, args, outputs);
    return for_each_width(args, [&](const sweep &part, int width) {
        return sweep_typed(call, part, outputs, width);
    });
}

/* ---- the rows ----------------------------------------------------------------------------- */

static tnl_status launch(const tnl_call *call) {
    return sweep_segments(call, cut_segments(call), [&](const sweep &args, bool outputs) {
        return sweep_all(call, args, outputs);
    });
}

const tnl_kernel tnl_cuda_attention_forward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cuda_attention_backward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cuda_attention_forward_backward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
