/*
 * The matrix products of a warpgroup (wgmma), four warps from a multiple of four on: 64 rows,
 * 16-bit operands in panels of shared memory (hopper.cuh), or the first of them in registers, and
 * sums in float32 registers. They run beside the threads that start them, in groups.
 */
#ifndef TNL_KERNELS_COMMON_WGMMA_CUH
#define TNL_KERNELS_COMMON_WGMMA_CUH

#include "kernels/common/hopper.cuh"

#ifdef TNL_HOPPER_CODE

/* ---- descriptors --------------------------------------------------------------------------- */

/*
 * A descriptor of a matrix in panels. K-major: rows of a panel are rows of the matrix (M or N),
 * and 16 columns further along K is 32 bytes further. MN-major: rows of a panel are steps of K,
 * 16 steps further is 2048 bytes further, and `panel_bytes` leads to the next 64 of M or N.
 */
static __device__ __forceinline__ uint64_t make_descriptor(const void *panel, int panel_bytes) {
    constexpr uint64_t EIGHT_ROWS = 8 * PANEL_ROW_BYTES, SWIZZLE_128 = 1;
    return (uint64_t)(shared_address(panel) >> 4 & 0x3fff) | (uint64_t)(panel_bytes >> 4) << 16 |
           (EIGHT_ROWS >> 4) << 32 | SWIZZLE_128 << 62;
}

static __device__ __forceinline__ uint64_t k_major(const void *panel) {
    return make_descriptor(panel, 16); /* the distance of panels is not used */
}

static __device__ __forceinline__ uint64_t mn_major(const void *panel, int panel_bytes) {
    return make_descriptor(panel, panel_bytes);
}

/* A descriptor `bytes` further on. */
static __device__ __forceinline__ uint64_t further(uint64_t descriptor, int bytes) {
    return descriptor + (uint64_t)(bytes >> 4);
}

/* ---- groups -------------------------------------------------------------------------------- */

/* Before the first product of a group: the registers that the products use are written. */
static __device__ __forceinline__ void wgmma_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Wait for all but the last LEFT groups. */
template <int LEFT> static __device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

/* Keep the compiler from moving reads or writes of an accumulator across this place. */
template <int N> static __device__ __forceinline__ void pin(float (&c)[N][4]) {
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])::"memory");
}

/* ---- products ------------------------------------------------------------------------------ */

/*
 * wgmma<T, B_MN>(c, a, b, adds), below the macros that make it for each width:
 * c = A B, or (adds) c + A B: 64 rows, COLUMNS columns, 16 steps of K, by a warpgroup, whose warp w
 * holds rows 16w to 16w + 15 of c as C fragments of mma.cuh side by side, and where A is in
 * registers those rows of A as an A fragment. A in shared memory is K-major; B is K-major, or
 * MN-major with B_MN.
 */
#define TNL_C4(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define TNL_C8(i) TNL_C4(i), TNL_C4(i + 1)
#define TNL_C16(i) TNL_C4(i), TNL_C4(i + 1), TNL_C4(i + 2), TNL_C4(i + 3)
#define TNL_C32(i) TNL_C16(i), TNL_C16(i + 4)
#define TNL_C64(i) TNL_C32(i), TNL_C32(i + 8)
#define TNL_REGISTERS_32                                                                           \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TNL_REGISTERS_64                                                                           \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TNL_REGISTERS_128                                                                          \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "             \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "             \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "             \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "   \
    "%127"
#define TNL_C128(i) TNL_C64(i), TNL_C64(i + 16)

#define TNL_WGMMA_16(TYPE, name)                                                                   \
    template <bool B_MN>                                                                           \
    static __device__ __forceinline__ void name(float(&c)[2][4], uint64_t a, uint64_t b,           \
                                                bool adds) {                                       \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"                                  \
                     "wgmma.mma_async.sync.aligned.m64n16k16.f32." TYPE "." TYPE                   \
                     " {%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, p, 1, 1, 0, %11;\n}"              \
                     : TNL_C8(0)                                                                   \
                     : "l"(a), "l"(b), "r"((int)adds), "n"((int)B_MN));                            \
    }

#define TNL_WGMMA_64(TYPE, name)                                                                   \
    template <bool B_MN>                                                                           \
    static __device__ __forceinline__ void name(float(&c)[8][4], uint64_t a, uint64_t b,           \
                                                bool adds) {                                       \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                  \
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE                   \
                     " {" TNL_REGISTERS_32 "}, %32, %33, p, 1, 1, 0, %35;\n}"                      \
                     : TNL_C32(0)                                                                  \
                     : "l"(a), "l"(b), "r"((int)adds), "n"((int)B_MN));                            \
    }                                                                                              \
    template <bool B_MN>                                                                           \
    static __device__ __forceinline__ void name(float(&c)[8][4], const uint32_t(&a)[4],            \
                                                uint64_t b, bool adds) {                           \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"                                  \
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE                   \
                     " {" TNL_REGISTERS_32 "}, {%32, %33, %34, %35}, "                             \
                     "%36, p, 1, 1, %38;\n}"                                                       \
                     : TNL_C32(0)                                                                  \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds),         \
                       "n"((int)B_MN));                                                            \
    }

#define TNL_WGMMA_128(TYPE, name)                                                                  \
    template <bool B_MN>                                                                           \
    static __device__ __forceinline__ void name(float(&c)[16][4], uint64_t a, uint64_t b,          \
                                                bool adds) {                                       \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                  \
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE                  \
                     " {" TNL_REGISTERS_64 "}, %64, %65, p, 1, 1, 0, %67;\n}"                      \
                     : TNL_C64(0)                                                                  \
                     : "l"(a), "l"(b), "r"((int)adds), "n"((int)B_MN));                            \
    }                                                                                              \
    template <bool B_MN>                                                                           \
    static __device__ __forceinline__ void name(float(&c)[16][4], const uint32_t(&a)[4],           \
                                                uint64_t b, bool adds) {                           \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"                                  \
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE                  \
                     " {" TNL_REGISTERS_64 "}, {%64, %65, %66, %67}, "                             \
                     "%68, p, 1, 1, %70;\n}"                                                       \
                     : TNL_C64(0)                                                                  \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds),         \
                       "n"((int)B_MN));                                                            \
    }

#define TNL_WGMMA_256(TYPE, name)                                                                  \
    template <bool B_MN>                                                                           \
    static __device__ __forceinline__ void name(float(&c)[32][4], uint64_t a, uint64_t b,          \
                                                bool adds) {                                       \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"                                 \
                     "wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE                  \
                     " {" TNL_REGISTERS_128 "}, %128, %129, p, 1, 1, 0, %131;\n}"                  \
                     : TNL_C128(0)                                                                 \
                     : "l"(a), "l"(b), "r"((int)adds), "n"((int)B_MN));                            \
    }                                                                                              \
    template <bool B_MN>                                                                           \
    static __device__ __forceinline__ void name(float(&c)[32][4], const uint32_t(&a)[4],           \
                                                uint64_t b, bool adds) {                           \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %133, 0;\n"                                 \
                     "wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE                  \
                     " {" TNL_REGISTERS_128 "}, {%128, %129, %130, %131}, "                        \
                     "%132, p, 1, 1, %134;\n}"                                                     \
                     : TNL_C128(0)                                                                 \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)adds),         \
                       "n"((int)B_MN));                                                            \
    }

TNL_WGMMA_16("bf16", wgmma_bf16)
TNL_WGMMA_16("f16", wgmma_f16)
TNL_WGMMA_64("bf16", wgmma_bf16)
TNL_WGMMA_64("f16", wgmma_f16)
TNL_WGMMA_128("bf16", wgmma_bf16)
TNL_WGMMA_128("f16", wgmma_f16)
TNL_WGMMA_256("bf16", wgmma_bf16)
TNL_WGMMA_256("f16", wgmma_f16)

#undef TNL_WGMMA_16
#undef TNL_WGMMA_64
#undef TNL_WGMMA_128
#undef TNL_WGMMA_256
#undef TNL_REGISTERS_32
#undef TNL_REGISTERS_64
#undef TNL_REGISTERS_128
#undef TNL_C4
#undef TNL_C8
#undef TNL_C16
#undef TNL_C32
#undef TNL_C64
#undef TNL_C128

/* A: a descriptor, or a fragment. */
template <typename T, bool B_MN, int N, typename A>
static __device__ __forceinline__ void wgmma(float (&c)[N][4], const A &a, uint64_t b, bool adds) {
    if constexpr (std::is_same_v<T, __half>)
        wgmma_f16<B_MN>(c, a, b, adds);
    else
        wgmma_bf16<B_MN>(c, a, b, adds);
}

#endif

#endif
