/*
 * Thin wrappers of the PTX instructions behind tensor-core kernels for any device from compute
 * capability 8.0 on: asynchronous copies to shared memory, matrix loads, and the 16 x 8 x 16
 * product of 16-bit types with sums in float32.
 *
 * With g = lane / 4 and t = lane % 4, a lane of a warp holds of
 *     A (16 x 16)   a[0]: row g,     columns 2t, 2t+1     a[2]: row g,     columns 2t+8, 2t+9
 *                   a[1]: row g + 8, columns 2t, 2t+1     a[3]: row g + 8, columns 2t+8, 2t+9
 *     B (16 x 8)    b0: rows 2t, 2t+1 of column g         b1: rows 2t+8, 2t+9 of column g
 *     C (16 x 8)    c[0], c[1]: row g, columns 2t, 2t+1   c[2], c[3]: row g + 8, the same columns
 * Matrix loads are ordered by barriers, as all that is written for another thread.
 */
#ifndef TNL_KERNELS_COMMON_MMA_CUH
#define TNL_KERNELS_COMMON_MMA_CUH

#include "kernels/common/cuda.cuh"

static __device__ __forceinline__ uint32_t shared_address(const void *shared) {
    return (uint32_t)__cvta_generic_to_shared(shared);
}

/* ---- asynchronous copies ------------------------------------------------------------------ */

/* Start copying 16 bytes, or (inside false) writing 16 zero bytes; then nothing is read. */
static __device__ __forceinline__ void copy_async_16(void *shared, const void *global,
                                                     bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(inside ? 16 : 0)
                 : "memory");
}

/* Wait for all copies that this thread has started. */
static __device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}

/* ---- matrices from shared memory ---------------------------------------------------------- */

/* Four 8 x 8 matrices; lanes 8i to 8i+7 give the addresses of the rows of the i-th, and each lane
 * gets of it columns 2t and 2t+1 of row g. */
static __device__ __forceinline__ void load_matrices(uint32_t (&m)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(shared_address(row)));
}

/* The same, each matrix transposed: rows 2t and 2t+1 of column g. */
static __device__ __forceinline__ void load_matrices_transposed(uint32_t (&m)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(shared_address(row)));
}

/* ---- products ----------------------------------------------------------------------------- */

template <typename T>
static __device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4],
                                                    uint32_t b0, uint32_t b1);

template <>
__device__ __forceinline__ void multiply_add<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4],
                                                            uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
__device__ __forceinline__ void multiply_add<__half>(float (&c)[4], const uint32_t (&a)[4],
                                                     uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* ---- pairs of 16-bit numbers in a register ------------------------------------------------ */

template <typename T> static __device__ __forceinline__ uint32_t pack_pair(float low, float high);
template <typename T> static __device__ __forceinline__ float2 unpack_pair(uint32_t pair);

template <> __device__ __forceinline__ uint32_t pack_pair<__nv_bfloat16>(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
}
template <> __device__ __forceinline__ uint32_t pack_pair<__half>(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
}
template <> __device__ __forceinline__ float2 unpack_pair<__nv_bfloat16>(uint32_t pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}
template <> __device__ __forceinline__ float2 unpack_pair<__half>(uint32_t pair) {
    return __half22float2(*reinterpret_cast<const __half2 *>(&pair));
}

#endif
