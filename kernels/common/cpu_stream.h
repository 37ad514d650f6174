/*
 * Stores that go past the caches, for outputs so large that nothing of them would still be there
 * when somebody reads them. An ordinary store first fetches the line that it overwrites: a third
 * of all traffic where as much is read as written.
 *
 * A result is made in a small buffer, a block at a time, and streamed from there:
 *
 *     float buffer[TNL_BLOCK];
 *     float *to = stream ? buffer : y + i;
 *     ... write to[0 .. count-1] ...
 *     if (stream)
 *         tnl_stream(y + i, buffer, count);
 */
#ifndef TNL_COMMON_CPU_STREAM_H
#define TNL_COMMON_CPU_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tnl.h"

#ifdef __AVX__
#include <immintrin.h>
#endif

enum { TNL_BLOCK = 1024 }; /* elements: a few such blocks fit in the first cache */

/* More than a process can hope to keep of a cache that it shares with others. */
#define TNL_STREAM_BYTES ((int64_t)64 << 20)

/* Whether to stream an output of `count` elements, `in` being the input that it may be. */
static inline bool tnl_streams(const tnl_tensor *out, const tnl_tensor *in, int64_t count) {
    return out->data != in->data && count * (int64_t)sizeof(float) >= TNL_STREAM_BYTES;
}

static inline void tnl_stream(float *to, const float *from, int64_t count) {
#ifdef __AVX__
    int64_t i = 0;
    for (; i < count && (uintptr_t)(to + i) % sizeof(__m256) != 0; i++)
        to[i] = from[i];
    for (; i + 8 <= count; i += 8)
        _mm256_stream_ps(to + i, _mm256_loadu_ps(from + i));
    for (; i < count; i++)
        to[i] = from[i];
    _mm_sfence(); /* such stores are ordered with no others: they must not be overtaken */
#else
    memcpy(to, from, sizeof(float) * (size_t)count);
#endif
}

#endif
