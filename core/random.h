/* Random numbers by counter: each is a function of seed, stream and index alone, so that any part
 * of a tensor can be made without the rest, in any order, by any thread. */
#ifndef TNL_CORE_RANDOM_H
#define TNL_CORE_RANDOM_H

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define TNL_RANDOM static inline __host__ __device__
#else
#define TNL_RANDOM static inline
#endif

/* The finaliser of splitmix64. */
TNL_RANDOM uint64_t random_mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

TNL_RANDOM uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index) {
    const uint64_t golden = 0x9e3779b97f4a7c15u;
    uint64_t start = random_mix(random_mix(seed + golden) + (stream + 1) * golden);
    return random_mix(start + (index + 1) * golden);
}

/* In [0, 1). */
TNL_RANDOM double random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    return (double)(random_bits(seed, stream, index) >> 11) * 0x1p-53;
}

/* Standard normal, by Box and Muller from the two halves of 64 bits. */
static inline double random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    uint64_t bits = random_bits(seed, stream, index);
    float radius = sqrtf(-2 * logf(((float)(bits >> 40) + 1) * 0x1p-24f));
    float angle = (float)(bits & 0xffffff) * (6.2831853f * 0x1p-24f);
    return radius * cosf(angle);
}

#endif
