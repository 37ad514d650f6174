/*
 * Stores that go past the caches, for outputs so large that nothing of them would still be there
 * when somebody reads them. An ordinary store first fetches the line that it overwrites: a third
 * of all traffic where as much is read as written.
 *
 * A result is made in a small buffer, a block at a time, and streamed from there:
 *
 *     _Alignas(32) float buffer[TNL_BLOCK];
 *     float *to = stream ? buffer : y + i;
 *     ... write to[0 .. count-1] ...
 *     if (stream)
 *         tnl_stream(y + i, buffer, count);
 *
 * and each thread that has streamed ends with tnl_stream_fence().
 */
#ifndef TNL_COMMON_CPU_STREAM_H
#define TNL_COMMON_CPU_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "tnl.h"

#ifdef __AVX__
#include <immintrin.h>
#endif

enum { TNL_BLOCK = 256 }; /* elements */

/* More than a process can hope to keep of a cache that it shares with others. */
#define TNL_STREAM_BYTES ((int64_t)64 << 20)

/* Whether to stream an output of rows, `in` being the input that it may be. */
static inline bool tnl_streams(const tnl_tensor *out, const tnl_tensor *in) {
    return out->data != in->data && (uintptr_t)out->data % 32 == 0 && out->stride[0] % 8 == 0 &&
           out->shape[0] * out->shape[1] * (int64_t)sizeof(float) >= TNL_STREAM_BYTES;
}

/* Both aligned to 32 bytes. */
static inline void tnl_stream(float *to, const float *from, int64_t count) {
    int64_t i = 0;
#ifdef __AVX__
    for (; i + 8 <= count; i += 8)
        _mm256_stream_ps(to + i, _mm256_load_ps(from + i));
#endif
    for (; i < count; i++)
        to[i] = from[i];
}

/* Such stores are ordered with no others: they are waited for before other threads go on. */
static inline void tnl_stream_fence(void) {
#ifdef __AVX__
    _mm_sfence();
#endif
}

#endif
