/*
 * Attention at the speed of memory on compute capability 9.0: the chunked rows' mathematics with
 * TMA, wgmma and warps of their own for loading, for the state and for the outputs
 * (cuda_hopper_memory.cuh has the plan of a block, cuda_hopper_sweep.cuh the equations).
 */
#include "kernels/attention/cuda_hopper_sweep.cuh"
#include "kernels/attention/cuda_segments.cuh"

static constexpr int MOST_SEGMENTS = 32;

/* The columns of the outer dimension that a block may take: float16's units leave no registers for
 * more. */
template <typename T> constexpr int most_columns = std::is_same_v<T, __half> ? 64 : 128;

/* ---- the plan ----------------------------------------------------------------------------- */

struct hopper_plan {
    int64_t length; /* of a segment */
    int columns; /* of the outer dimension that a block takes, where its inner one is up to 128 */
};

static double blocks_of(const products &all, int columns) {
    double blocks = 0;
    for (int i = 0; i < all.count; i++)
        blocks += (double)ceil_div(all.at[i].outer, all.at[i].inner > 128 ? 64 : columns);
    return blocks;
}

static hopper_plan plan(const tnl_call *call) {
    const int64_t sequences = call->dim[DIM_S], n = call->dim[DIM_N];
    const int64_t chunks = ceil_div(cu_seqlens_of(call)->data ? ceil_div(n, sequences) : n, TILE);
    const double heads = (double)(call->dim[DIM_H] * sequences);
    const double slots = call->context->multiprocessors;
    const products all = find_products(call), states = state_products(call);
    hopper_plan best = {chunks * TILE, 64};
    double least = 0;
    const int most = call->type == TNL_FLOAT16 ? most_columns<__half> : most_columns<__nv_bfloat16>;
    for (int columns = 64; columns <= most; columns *= 2) {
        const double chunk_time = columns == 64 ? 0.7 : 1, state_time = columns == 64 ? 0.25 : 0.4;
        for (int64_t segments = 1; segments <= MOST_SEGMENTS && segments <= chunks; segments++) {
            const double length = (double)ceil_div(chunks, segments);
            double time =
                ceil(heads * blocks_of(all, columns) * segments / slots) * chunk_time * length;
            if (segments > 1)
                time += 2 +
                        ceil(heads * blocks_of(states, columns) * (segments - 1) / slots) * length *
                            state_time +
                        (segments - 1) * columns / 64 * 0.3;
            if (least == 0 || time < least) {
                least = time;
                best = {(int64_t)length * TILE, columns};
            }
        }
    }
    return best;
}

static size_t workspace(const tnl_call *call) {
    return segments_workspace(call, plan(call).length);
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
    return sweep_fits(call, divide_tokens(call, plan(call).length))
               ? NULL
               : "takes up to 2^31 / 8 heads of segments";
}

/* ---- the rows ----------------------------------------------------------------------------- */

template <typename T, bool OUTPUTS>
static tnl_status sweep_width(const tnl_call *call, const sweep &args, int width, int columns) {
    const bool overlaps = OUTPUTS && division_ends(args.tokens) > 0;
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
    return sweep_segments(call, chosen.length, [&](const sweep &args, bool outputs) {
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

#define HOPPER_ROW                                                                                 \
    {                                                                                              \
        .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true,       \
        .bound = {                                                                                 \
            0,                                                                                     \
            0,                                                                                     \
            0,                                                                                     \
            2.5e-3                                                                                 \
        } /* bfloat16, the last of the types */                                                    \
    }
const tnl_kernel tnl_cuda_attention_forward_hopper = HOPPER_ROW;
const tnl_kernel tnl_cuda_attention_backward_hopper = HOPPER_ROW;
const tnl_kernel tnl_cuda_attention_forward_backward_hopper = HOPPER_ROW;
