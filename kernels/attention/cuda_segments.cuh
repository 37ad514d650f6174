/*
 * Attention in segments: what the chunked and the hopper rows do around their sweeps.
 *
 * With many heads a segment is the whole sequence, and one sweep does it all. With few, sequences
 * are cut into segments: a first sweep computes the state that each segment, or each of several
 * parts of it, leaves behind, as if it began with zero; a small kernel makes of them the states
 * before segments (where parts are few, the second sweep's blocks may do that); and with these the
 * blocks of the second sweep begin. There are at most two such sets of states, k^T v forwards (for
 * o, and transposed for dq) and q^T do backwards (for dv, and transposed for dk).
 *
 * Workspace, float32:
 *     [ states at the ends of parts, forwards ][ the same backwards ][ a copy of the incoming
 *     states, where the outgoing ones may take their place while they are still read ]
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_SEGMENTS_CUH
#define TNL_KERNELS_ATTENTION_CUDA_SEGMENTS_CUH

#include "kernels/attention/cuda_sweep.cuh"
#include "kernels/common/cuda_launch.cuh"

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
 * its tokens, and the states of all its segments are added up one after another. */
static inline int64_t least_segment(const tnl_call *call, int64_t chunk) {
    constexpr int MOST_SEGMENTS_PACKED = 128;
    return cu_seqlens_of(call)->data
               ? ceil_div(ceil_div(call->dim[DIM_N], chunk), MOST_SEGMENTS_PACKED)
               : 1;
}

/* The floats of one set of states at the ends of parts. */
static inline int64_t ends_floats(const tnl_call *call, const division &parts) {
    return division_ends(parts) * call->dim[DIM_H] * call->dim[DIM_D] * call->dim[DIM_E];
}

/* The incoming states that outgoing ones may replace, or a tensor with data NULL. */
static inline tnl_tensor replaced_states(const tnl_call *call) {
    if (call->op == TNL_ATTENTION_FORWARD && call->tensor[ATT_FINAL_STATE].data)
        return call->tensor[ATT_INITIAL_STATE];
    if (call->op == TNL_ATTENTION_BACKWARD && call->tensor[ATT_BWD_DINITIAL_STATE].data)
        return call->tensor[ATT_BWD_DFINAL_STATE];
    return {};
}

static inline int64_t copy_floats(const tnl_call *call) {
    return replaced_states(call).data
               ? call->dim[DIM_S] * call->dim[DIM_H] * call->dim[DIM_D] * call->dim[DIM_E]
               : 0;
}

/* How sequences are cut: into segments of `length` rows, these into parts of `part` rows. Whether a
 * kernel adds up the states of parts; else each block with outputs does it with those before its
 * own segment. */
struct segments_cut {
    int64_t length, part;
    bool added_up;
};

/* The parts before the last segment: those whose states are needed. */
static inline division divide_parts(const tnl_call *call, const segments_cut &cut) {
    division parts = divide_tokens(call, cut.part);
    parts.count = (divide_tokens(call, cut.length).count - 1) * (cut.length / cut.part);
    return parts;
}

/* The workspace of a call cut like this. */
static inline size_t segments_workspace(const tnl_call *call, const segments_cut &cut) {
    const int64_t ends = state_products(call).count * ends_floats(call, divide_parts(call, cut));
    return sizeof(float) * (size_t)(ends + copy_floats(call));
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
    const int64_t count = copy_floats(call);
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

/* ---- states before segments --------------------------------------------------------------- */

constexpr int PREFIX_THREADS = 256;

/* Add to the state that each part leaves behind the incoming one and those of all parts before it,
 * each decayed by what has passed since: the state before the next part. A thread has W elements of
 * the states of one product, sequence and head. */
template <int W>
static __global__ void __launch_bounds__(PREFIX_THREADS)
    add_up_states(const __grid_constant__ sweep args) {
    constexpr int AHEAD = 8; /* states on their way */
    using floats = pack<float, W>;
    const product &p = args.at[blockIdx.z].p;
    const states_view &ends = args.at[blockIdx.z].ends, &in = p.state_in;
    const int head = (int)(blockIdx.x % (unsigned)args.heads);
    const int element = (int)(blockIdx.y * PREFIX_THREADS + threadIdx.x) * W;
    if (element >= p.inner * p.outer)
        return;
    segment s = {};
    s.sequence = blockIdx.x / (unsigned)args.heads;
    const int32_t *const begin = args.parts.cu_seqlens;
    s.begin = begin ? begin[s.sequence] : 0;
    s.tokens = begin ? begin[s.sequence + 1] - s.begin : args.parts.n;
    const int count = needed_ends(args, s);
    const float passed = decay_by(decay_rate_of(args.slope[head]), (float)args.parts.length);
    float *at = ends.data + first_end(args.parts, s) * ends.sequence + head * ends.head + element;
    await_previous();
    floats sum = {};
    if (in.data)
        for (int j = 0; j < W; j++)
            sum.at[j] =
                in.data[s.sequence * in.sequence + head * in.head +
                        (element + j) / p.outer * in.inner + (element + j) % p.outer * in.outer];
    for (int i = 0; i < count; i += AHEAD, at += AHEAD * ends.sequence) {
        floats own[AHEAD] = {};
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (i + k < count)
                own[k] = *(const floats *)(at + k * ends.sequence);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            for (int j = 0; j < W; j++)
                sum.at[j] = fmaf(passed, sum.at[j], own[k].at[j]);
            if (i + k < count)
                *(floats *)(at + k * ends.sequence) = sum;
        }
    }
}

static inline tnl_status launch_add_up(const tnl_call *call, const sweep &args) {
    const bool pairs = call->dim[DIM_E] % 2 == 0;
    const int64_t threads = call->dim[DIM_D] * call->dim[DIM_E] / (pairs ? 2 : 1);
    const dim3 grid((unsigned)(call->dim[DIM_S] * call->dim[DIM_H]),
                    (unsigned)ceil_div(threads, PREFIX_THREADS), (unsigned)args.count);
    return tnl_launch(call, pairs ? add_up_states<2> : add_up_states<1>, grid, dim3(PREFIX_THREADS),
                      0, args);
}

/* ---- a call ------------------------------------------------------------------------------- */

/* The state that a set of them begins with, as [d,e]: that of the products which read the set. */
static inline states_view incoming_states(const products &all, bool future) {
    states_view states = {};
    for (int i = 0; i < all.count; i++)
        if (all.at[i].future == future) {
            const states_view &in = all.at[i].state_in;
            states = in;
            if (all.at[i].transposed)
                states = {in.data, in.sequence, in.head, in.outer, in.inner};
        }
    return states;
}

/* The sweeps of a call: f(args, true) computes outputs, before it where there are several segments
 * f(args, false) the states that their parts leave behind. */
template <typename F>
static tnl_status sweep_segments(const tnl_call *call, const segments_cut &cut, F f) {
    products all = find_products(call);
    sweep args = {.at = {},
                  .count = all.count,
                  .tokens = divide_tokens(call, cut.length),
                  .parts = divide_parts(call, cut),
                  .slope = slopes_of(call),
                  .heads = (int)call->dim[DIM_H],
                  .outer_blocks = 0,
                  .aligned = rows_allow_16_bytes(call),
                  .added_up = cut.added_up};
    const int64_t floats = ends_floats(call, args.parts);
    float *const ends[2] = {(float *)call->workspace, (float *)call->workspace + floats};

    products states = state_products(call);
    tnl_status status = copy_replaced(call, ends[0] + states.count * floats, &all);
    if (status == TNL_OK && floats > 0) {
        sweep first = args;
        first.count = states.count;
        for (int i = 0; i < states.count; i++) {
            states.at[i].state_in = incoming_states(all, states.at[i].future);
            first.at[i] = {states.at[i], view_workspace(call, ends[i], false)};
        }
        status = f(first, false);
        if (status == TNL_OK && cut.added_up)
            status = launch_add_up(call, first);
    }
    if (status != TNL_OK)
        return status;
    for (int i = 0; i < all.count; i++)
        args.at[i] = {all.at[i],
                      view_workspace(call, ends[all.at[i].future], all.at[i].transposed)};
    return f(args, true);
}

#endif
