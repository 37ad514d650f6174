/*
 * How blocks that run beside each other hand values on within a kernel: two values in bfloat16 and
 * a flag lie in one word of eight bytes, which is stored and loaded as a whole. Who wants values
 * reads their word again and again until the flag is the one that this round of values has. So
 * neither a barrier nor a fence is needed, and values are on their way as soon as they are known.
 * Every round has another flag; a word is written again only when what was in it can't be wanted
 * any more (step_cuda.cu).
 */
#ifndef TNL_MODEL_STEP_EXCHANGE_CUH
#define TNL_MODEL_STEP_EXCHANGE_CUH

#include "kernels/common/mma.cuh"

namespace exchange {

using word = uint64_t; /* the flag in its high half */

static __device__ __forceinline__ void put(word *to, float first, float second, unsigned flag) {
    const word value = (word)flag << 32 | pack_pair<__nv_bfloat16>(first, second);
    asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" ::"l"(to), "l"(value) : "memory");
}

/* Two words that lie side by side, at a multiple of 16 bytes. */
static __device__ __forceinline__ ulonglong2 look(const word *at) {
    ulonglong2 words;
    asm volatile("ld.relaxed.gpu.global.v2.b64 {%0, %1}, [%2];"
                 : "=l"(words.x), "=l"(words.y)
                 : "l"(at)
                 : "memory");
    return words;
}

static __device__ __forceinline__ word look_at_one(const word *at) {
    word value;
    asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];" : "=l"(value) : "l"(at) : "memory");
    return value;
}

/* Two words and a pair of words, all of which have come. */
struct words {
    unsigned first, second;
    uint2 pair;
};

static __device__ __forceinline__ words wait(const word *first, const word *second,
                                             const word *pair, unsigned flag) {
    word a, b;
    ulonglong2 c;
    do {
        a = look_at_one(first);
        b = look_at_one(second);
        c = look(pair);
    } while (a >> 32 != flag || b >> 32 != flag || c.x >> 32 != flag || c.y >> 32 != flag);
    return {(unsigned)a, (unsigned)b, {(unsigned)c.x, (unsigned)c.y}};
}

/* Pairs of words to be waited for: which there is none of is not waited for, and is 0. */
template <int COUNT> struct pairs {
    const word *at[COUNT]; /* NULL: none */

    __device__ __forceinline__ void wait(unsigned flag, uint2 (&values)[COUNT]) const {
        unsigned missing = 0;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            values[i] = make_uint2(0, 0);
            missing |= at[i] ? 1u << i : 0;
        }
        while (missing) {
            ulonglong2 words[COUNT];
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                if (missing >> i & 1)
                    words[i] = look(at[i]);
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                if ((missing >> i & 1) && words[i].x >> 32 == flag && words[i].y >> 32 == flag) {
                    values[i] = make_uint2((unsigned)words[i].x, (unsigned)words[i].y);
                    missing &= ~(1u << i);
                }
        }
    }
};

} // namespace exchange

#endif
