/*
 * Attention in segments: what the chunked and the hopper rows do around their sweeps.
 *
 * With many heads a segment is the whole sequence, and one sweep does it all. With few, sequences
 * are cut into segments: a first sweep computes the state that each segment leaves behind, as if it
 * began with zero, and the blocks of the second begin with what those of the segments before theirs
 * make together. There are at most two such sets of states, k^T v forwards (for o, and transposed
 * for dq) and q^T do backwards (for dv, and transposed for dk).
 *
 * Workspace, float32:
 *     [ states at segment ends, forwards ][ the same backwards ][ a copy of the incoming states,
 *     where the outgoing ones may take their place while they are still read ]
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_SEGMENTS_CUH
#define TNL_KERNELS_ATTENTION_CUDA_SEGMENTS_CUH

#include "kernels/attention/cuda_sweep.cuh"

/* The products whose states the segments need: they have the y and z of a call's products. */
static inline products state_products(const tnl_call *call) {
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

/* The least length of a segment, in chunks. One sequence of a packed batch may have nearly all of
 * its tokens, and a block adds up the states of all segments before its own. */
static inline int64_t least_segment(const tnl_call *call, int64_t chunk) {
    constexpr int MOST_SEGMENTS_PACKED = 128;
    return cu_seqlens_of(call)->data
               ? ceil_div(ceil_div(call->dim[DIM_N], chunk), MOST_SEGMENTS_PACKED)
               : 1;
}

/* The floats of one set of states at segment ends. */
static inline size_t ends_floats(const tnl_call *call, const division &tokens) {
    return (size_t)(division_ends(tokens) * call->dim[DIM_H] * call->dim[DIM_D] * call->dim[DIM_E]);
}

/* The incoming states that outgoing ones may replace, or a tensor with data NULL. */
static inline tnl_tensor replaced_states(const tnl_call *call) {
    if (call->op == TNL_ATTENTION_FORWARD && call->tensor[ATT_FINAL_STATE].data)
        return call->tensor[ATT_INITIAL_STATE];
    if (call->op == TNL_ATTENTION_BACKWARD && call->tensor[ATT_BWD_DINITIAL_STATE].data)
        return call->tensor[ATT_BWD_DFINAL_STATE];
    return {};
}

static inline size_t copy_floats(const tnl_call *call) {
    return replaced_states(call).data
               ? (size_t)(call->dim[DIM_S] * call->dim[DIM_H] * call->dim[DIM_D] * call->dim[DIM_E])
               : 0;
}

/* The workspace of a call cut into segments of `length` rows. */
static inline size_t segments_workspace(const tnl_call *call, int64_t length) {
    const division tokens = divide_tokens(call, length);
    return sizeof(float) *
           (state_products(call).count * ends_floats(call, tokens) + copy_floats(call));
}

/* to, contiguous, = from, both [s,h,d,e]. */
static __global__ void copy_states(float *to, const states_view from, int64_t heads, int64_t d,
                                   int64_t e, int64_t count) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < count;
         i += gridDim.x * (int64_t)blockDim.x)
        to[i] = from.data[i / (heads * d * e) * from.sequence + i / (d * e) % heads * from.head +
                          i / e % d * from.inner + i % e];
}

/* States in the workspace, contiguous. */
static inline states_view view_workspace(const tnl_call *call, float *data, bool transposed) {
    const int64_t e = call->dim[DIM_E], state = call->dim[DIM_D] * e;
    return {data, call->dim[DIM_H] * state, state, transposed ? 1 : e, transposed ? e : 1};
}

/* Where a product's incoming states are replaced in this call, have it read a copy. */
static inline tnl_status copy_replaced(const tnl_call *call, float *copy, products *all) {
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

/* The sweeps of a call: f(args, true) computes outputs, before it where there are several segments
 * f(args, false) the states that they leave behind. */
template <typename F> static tnl_status sweep_segments(const tnl_call *call, int64_t length, F f) {
    products all = find_products(call);
    sweep args = {.at = {},
                  .count = all.count,
                  .tokens = divide_tokens(call, length),
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
        status = f(first, false);
    }
    if (status != TNL_OK)
        return status;
    for (int i = 0; i < all.count; i++)
        args.at[i] = {all.at[i],
                      view_workspace(call, ends[all.at[i].future], all.at[i].transposed)};
    return f(args, true);
}

#endif
