/*
 * How blocks that run beside each other hand values on within a kernel: a value and a flag lie in
 * one word of eight bytes, which is stored and loaded as a whole. Who wants a value reads its word
 * again and again until the flag is the one that this round of values has. So neither a barrier nor
 * a fence is needed, and a value is on its way as soon as it is known. Every round has another
 * flag; a word is written again only when what was in it can't be wanted any more (step_cuda.cu).
 */
#ifndef TNL_MODEL_STEP_EXCHANGE_CUH
#define TNL_MODEL_STEP_EXCHANGE_CUH

#include "kernels/common/cuda.cuh"

namespace exchange {

struct alignas(8) word {
    float value;
    unsigned flag;
};

static __device__ __forceinline__ void put(word *to, float value, unsigned flag) {
    asm volatile("st.relaxed.gpu.global.v2.b32 [%0], {%1, %2};" ::"l"(to),
                 "r"(__float_as_uint(value)), "r"(flag)
                 : "memory");
}

/* The value of a word that has come already. */
static __device__ __forceinline__ float get(const word *from) {
    unsigned value;
    asm volatile("ld.relaxed.gpu.global.b32 %0, [%1];"
                 : "=r"(value)
                 : "l"(&from->value)
                 : "memory");
    return __uint_as_float(value);
}

/* Two words that lie side by side, at a multiple of 16 bytes. */
static __device__ __forceinline__ uint4 look(const word *at) {
    uint4 words;
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
                 : "l"(at)
                 : "memory");
    return words;
}

/* Pairs of words to be waited for: which there is none of is not waited for, and is 0. */
template <int COUNT> struct pairs {
    const word *at[COUNT]; /* NULL: none */

    __device__ __forceinline__ void wait(unsigned flag, float (&value)[2 * COUNT]) const {
        uint4 words[COUNT];
        bool come;
        do {
            come = true;
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                words[i] = at[i] ? look(at[i]) : make_uint4(0, flag, 0, flag);
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                come = come && words[i].y == flag && words[i].w == flag;
        } while (!come);
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            value[2 * i] = __uint_as_float(words[i].x);
            value[2 * i + 1] = __uint_as_float(words[i].z);
        }
    }
};

} // namespace exchange

#endif
