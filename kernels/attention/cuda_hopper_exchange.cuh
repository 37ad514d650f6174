/*
 * One sweep in which the segments of a sequence hand their states on.
 *
 * Where all blocks of a call run at a time, a block first computes the state E_i that its segment
 * leaves behind, as if it began with zero, puts it into the workspace and raises its warps' flags;
 * then it adds up those of the segments before its own, as they come, and computes the outputs.
 *
 * A block waits for none but blocks that began before it, wherever they run and whatever else the
 * device is doing: which segment it takes says a ticket that it draws. So the first of those that
 * have not ended never waits, and there is no deadlock.
 *
 * Workspace: [ E of each block, a lane's fragments apart by the number of threads ][ the ticket to
 * be drawn next ][ a flag for each warp of the state groups ]; the last two are cleared first.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_HOPPER_EXCHANGE_CUH
#define TNL_KERNELS_ATTENTION_CUDA_HOPPER_EXCHANGE_CUH

#include "kernels/attention/cuda_tile.cuh"
#include "kernels/common/hopper.cuh"

struct hopper_exchange {
    int segments; /* of a sequence; 0: states are not handed on */
    float4 *ends;
    unsigned *ticket, *flags;
};

constexpr int CLEAR_THREADS = 256;

static __global__ void __launch_bounds__(CLEAR_THREADS) clear_flags(unsigned *to, int count) {
#ifdef TNL_HOPPER_CODE
    allow_next_kernel();
    const int i = blockIdx.x * CLEAR_THREADS + threadIdx.x;
    if (i < count)
        to[i] = 0;
#endif
}

/* Clear what a sweep of so many blocks, with so many warps of state groups each, draws and raises.
 */
static inline tnl_status launch_clear(const tnl_call *call, const hopper_exchange &exchange,
                                      int64_t blocks, int warps) {
    const int count = (int)(1 + blocks * warps);
    clear_flags<<<(unsigned)ceil_div(count, CLEAR_THREADS), CLEAR_THREADS, 0, tnl_stream(call)>>>(
        exchange.ticket, count);
    return tnl_launched(call);
}

#ifdef TNL_HOPPER_CODE

/* Raise a flag behind this warp's stores. */
static __device__ __forceinline__ void raise_flag(unsigned *flag) {
    __syncwarp();
    if (lane_index() == 0)
        asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(__cvta_generic_to_global(flag))
                     : "memory");
}

/* Wait for a flag, before this thread reads what was stored ahead of it. */
static __device__ __forceinline__ void wait_for_flag(const unsigned *flag) {
    unsigned raised;
    do
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                     : "=r"(raised)
                     : "l"(__cvta_generic_to_global(flag))
                     : "memory");
    while (!raised);
}

#endif

#endif
