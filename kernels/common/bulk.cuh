/*
 * Hopper's bulk copies from device to shared memory: one thread asks, hardware moves, and a barrier
 * in shared memory counts the bytes that have come. Addresses and sizes are multiples of 16 bytes.
 * Below compute capability 9.0 these do nothing: a row of the table that needs Hopper never runs
 * there.
 */
#ifndef TNL_KERNELS_COMMON_BULK_CUH
#define TNL_KERNELS_COMMON_BULK_CUH

#include "kernels/common/mma.cuh"

/* A barrier whose phases end with so many arrivals, of bulk_expect() or bulk_arrive(). */
static __device__ __forceinline__ void bulk_barrier_init(uint64_t *barrier, unsigned arrivals = 1) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(arrivals)
                 : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/* Arrive; the barrier's phase ends when so many bytes have come in besides. */
static __device__ __forceinline__ void bulk_expect(uint64_t *barrier, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
        "r"(bytes)
        : "memory");
#endif
}

/* Arrive, and no bytes. */
static __device__ __forceinline__ void bulk_arrive(uint64_t *barrier) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
#endif
}

/* Wait for the end of a phase: 0 for the first, 1 for the second, and so on by turns. */
static __device__ __forceinline__ void bulk_wait(uint64_t *barrier, unsigned parity) {
#if __CUDA_ARCH__ >= 900
    unsigned done = 0;
    while (!done)
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}"
                     : "=r"(done)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
#endif
}

/* Device to shared memory. */
static __device__ __forceinline__ void bulk_load(void *to, const void *from, unsigned bytes,
                                                 uint64_t *barrier) {
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
#endif
}

#endif
