/*
 * From the states E_i that the segments of a sequence leave behind, each as if it began with zero,
 * to those before them: P_0 is the state before the sequence, and
 *
 *     P_(i+1) = lambda^length P_i + E_i
 *
 * takes the place of E_i in the workspace. A thread does four elements of one state for all
 * segments of its sequence, and reads several ahead.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_HOPPER_PREFIX_CUH
#define TNL_KERNELS_ATTENTION_CUDA_HOPPER_PREFIX_CUH

#include "kernels/attention/cuda_sweep.cuh"
#include "kernels/common/hopper.cuh"

constexpr int PREFIX_THREADS = 256, PREFIX_AHEAD = 8;

/* args.outer_blocks blocks for each head of each sequence. */
static __global__ void __launch_bounds__(PREFIX_THREADS) add_up_segments(const sweep args) {
#ifdef TNL_HOPPER_CODE
    allow_next_kernel();
    wait_for_kernel_before();
    const swept_product &swept = args.at[blockIdx.y];
    const product &p = swept.p;
    const division &d = args.tokens;
    const int head_and_sequence = blockIdx.x / args.outer_blocks;
    const int head = head_and_sequence % args.heads, sequence = head_and_sequence / args.heads;
    const int at = 4 * (blockIdx.x % args.outer_blocks * PREFIX_THREADS + threadIdx.x);
    const int row = at / p.outer, column = at % p.outer;
    int64_t begin = 0, tokens = d.n;
    if (d.cu_seqlens) {
        begin = d.cu_seqlens[sequence];
        tokens = d.cu_seqlens[sequence + 1] - begin;
    }
    const int segments = (int)ceil_div(tokens, d.length);
    const int64_t first_end =
        d.cu_seqlens ? begin / d.length : sequence * (ceil_div(d.n, d.length) - 1);
    if (row >= p.inner || segments < 2)
        return;
    const float factor = decay_by(decay_rate_of(args.slope[head]), (float)d.length);
    float4 sum = {};
    if (p.state_in.data) {
        const float *from = p.state_in.data + sequence * p.state_in.sequence +
                            head * p.state_in.head + row * p.state_in.inner;
        const auto element = [&](int i) { return from[(column + i) * p.state_in.outer]; };
        sum = make_float4(element(0), element(1), element(2), element(3));
    }
    float *to = swept.ends.data + first_end * swept.ends.sequence + head * swept.ends.head + at;
    for (int i = 0; i + 1 < segments; i += PREFIX_AHEAD) {
        float4 end[PREFIX_AHEAD];
#pragma unroll
        for (int j = 0; j < PREFIX_AHEAD; j++)
            if (i + j + 1 < segments)
                end[j] = *(const float4 *)(to + j * swept.ends.sequence);
#pragma unroll
        for (int j = 0; j < PREFIX_AHEAD; j++)
            if (i + j + 1 < segments) {
                sum = {fmaf(factor, sum.x, end[j].x), fmaf(factor, sum.y, end[j].y),
                       fmaf(factor, sum.z, end[j].z), fmaf(factor, sum.w, end[j].w)};
                *(float4 *)(to + j * swept.ends.sequence) = sum;
            }
        to += PREFIX_AHEAD * swept.ends.sequence;
    }
#endif
}

/* Add up the states of a sweep over states, behind that sweep. */
static inline tnl_status launch_prefix(const tnl_call *call, sweep args) {
    args.outer_blocks = (int)ceil_div(args.at[0].p.inner * args.at[0].p.outer, 4 * PREFIX_THREADS);
    const int64_t blocks = args.tokens.sequences * args.heads * args.outer_blocks;
    return tnl_launch_overlapping(call, add_up_segments,
                                  dim3((unsigned)blocks, (unsigned)args.count), PREFIX_THREADS, 0,
                                  true, args);
}

#endif
