/*
 * Attention in time and memory linear in n, on tensor cores for float16 and bfloat16: a left
 * product inside chunks, a K^T V state between them (cuda_chunked_half.cuh has the equations,
 * cuda_attention.cuh the four products that forward and backward are).
 *
 * A block takes one product of one head through a segment of a sequence, for 64 columns of the
 * outer dimension. With many heads a segment is the whole sequence, and one launch does it all.
 * With few, sequences are cut into segments: a first launch computes the state that each segment
 * leaves behind, as if it began with zero, and the blocks of the second begin with what those of
 * the segments before theirs make together. There are at most two such sets of states, k^T v
 * forwards (for o, and transposed for dq) and q^T do backwards (for dv, and transposed for dk).
 *
 * Workspace, float32:
 *     [ states at segment ends, forwards ][ the same backwards ][ a copy of the incoming states,
 *     where the outgoing ones may take their place while they are still read ]
 */
#include "kernels/attention/cuda_chunked.cuh"
#include "kernels/attention/cuda_chunked_half.cuh"

static constexpr int LEAST_SEGMENT = 256; /* the states of this many bf16 rows take their room */
static constexpr int MOST_SEGMENTS = 32;  /* since a block adds up the states of all before it */

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

/* The products whose states the segments need: they have the y and z of a call's products. */
static products state_products(const tnl_call *call) {
    const tnl_tensor *t = call->tensor;
    products states = {};
    states.at[states.count++] =
        make_product(&t[ATT_Q], &t[ATT_K], &t[ATT_V], &t[ATT_V], false, false);
    if (call->op != TNL_ATTENTION_FORWARD) {
        const tnl_tensor *dout =
            &t[call->op == TNL_ATTENTION_BACKWARD ? (int)ATT_BWD_DOUT : (int)ATT_FB_DOUT];
        states.at[states.count++] = make_product(&t[ATT_K], &t[ATT_Q], dout, dout, true, false);
    }
    return states;
}

/*
 * The length of a segment: that with the least estimated time. The device takes blocks in waves,
 * two a multiprocessor, and in the time in which a block computes one chunk of outputs it
 *   - computes states alone for some 2.5 chunks,
 *   - starts another kernel,
 *   - adds the states of some two segments to its first one.
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
            time += 1 + 0.4 * ceil(state_blocks * (segments - 1) / slots) * length +
                    0.5 * (segments - 1);
        if (segments == 1 || (length * TILE >= LEAST_SEGMENT && time < least)) {
            best = length;
            least = time;
        }
    }
    return best * TILE;
}

/* The floats of one set of states at segment ends. */
static size_t ends_floats(const tnl_call *call, const division &tokens) {
    return (size_t)(division_ends(tokens) * call->dim[DIM_H] * call->dim[DIM_D] * call->dim[DIM_E]);
}

/* The incoming states that outgoing ones may replace, or a tensor with data NULL. */
static tnl_tensor replaced_states(const tnl_call *call) {
    if (call->op == TNL_ATTENTION_FORWARD && call->tensor[ATT_FINAL_STATE].data)
        return call->tensor[ATT_INITIAL_STATE];
    if (call->op == TNL_ATTENTION_BACKWARD && call->tensor[ATT_BWD_DINITIAL_STATE].data)
        return call->tensor[ATT_BWD_DFINAL_STATE];
    return {};
}

static size_t copy_floats(const tnl_call *call) {
    return replaced_states(call).data
               ? (size_t)(call->dim[DIM_S] * call->dim[DIM_H] * call->dim[DIM_D] * call->dim[DIM_E])
               : 0;
}

static size_t workspace(const tnl_call *call) {
    const division tokens = divide_tokens(call, segment_length(call));
    return sizeof(float) *
           (state_products(call).count * ends_floats(call, tokens) + copy_floats(call));
}

static const char *rejects(const tnl_call *call) {
    const int64_t d = call->dim[DIM_D], e = call->dim[DIM_E];
    if (d > LARGEST_INNER || e > LARGEST_INNER)
        return "takes d and e up to 256";
    if (!sweep_fits(call, divide_tokens(call, segment_length(call))))
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

/* to, contiguous, = from, both [s,h,d,e]. */
static __global__ void copy_states(float *to, const states_view from, int64_t heads, int64_t d,
                                   int64_t e, int64_t count) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < count;
         i += gridDim.x * (int64_t)blockDim.x)
        to[i] = from.data[i / (heads * d * e) * from.sequence + i / (d * e) % heads * from.head +
                          i / e % d * from.inner + i % e];
}

/* States in the workspace, contiguous. */
static states_view view_workspace(const tnl_call *call, float *data, bool transposed) {
    const int64_t e = call->dim[DIM_E], state = call->dim[DIM_D] * e;
    return {data, call->dim[DIM_H] * state, state, transposed ? 1 : e, transposed ? e : 1};
}

/* Where a product's incoming states are replaced in this call, have it read a copy. */
static tnl_status copy_replaced(const tnl_call *call, float *copy, products *all) {
    const tnl_tensor states = replaced_states(call);
    const int64_t count = (int64_t)copy_floats(call);
    bool replaced = false;
    for (int i = 0; i < all->count; i++)
        replaced = replaced || (states.data && all->at[i].state_out.data == states.data);
    if (!replaced)
        return TNL_OK;
    for (int i = 0; i < all->count; i++)
        if (all->at[i].state_in.data == states.data)
            all->at[i].state_in = view_workspace(call, copy, all->at[i].transposed);
    copy_states<<<(unsigned)min(ceil_div(count, 256), (int64_t)4096), 256, 0, tnl_stream(call)>>>(
        copy, view_states(&states, false), call->dim[DIM_H], call->dim[DIM_D], call->dim[DIM_E],
        count);
    return tnl_launched(call);
}

static tnl_status launch(const tnl_call *call) {
    products all = find_products(call);
    sweep args = {.at = {},
                  .count = all.count,
                  .tokens = divide_tokens(call, segment_length(call)),
                  .slope = slopes_of(call),
                  .heads = (int)call->dim[DIM_H],
                  .outer_blocks = 0,
                  .aligned = rows_allow_16_bytes(call)};
    float *ends[2] = {(float *)call->workspace, NULL};
    ends[1] = ends[0] + ends_floats(call, args.tokens);

    const products states = state_products(call);
    tnl_status status =
        copy_replaced(call, ends[0] + states.count * ends_floats(call, args.tokens), &all);
    if (status == TNL_OK && division_ends(args.tokens) > 0) {
        sweep first = args;
        first.count = states.count;
        for (int i = 0; i < states.count; i++)
            first.at[i] = {states.at[i], view_workspace(call, ends[i], false)};
        status = sweep_all(call, first, false);
    }
    if (status != TNL_OK)
        return status;
    for (int i = 0; i < all.count; i++)
        args.at[i] = {all.at[i],
                      view_workspace(call, ends[all.at[i].future], all.at[i].transposed)};
    return sweep_all(call, args, true);
}

const tnl_kernel tnl_cuda_attention_forward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cuda_attention_backward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cuda_attention_forward_backward_chunked = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
