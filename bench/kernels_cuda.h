/* The benchmark's own kernels, for its C files. All are queued on a cudaStream_t (as void *) and
 * return a cudaError_t (as int). */
#ifndef TNL_BENCH_KERNELS_CUDA_H
#define TNL_BENCH_KERNELS_CUDA_H

#include <stddef.h>
#include <stdint.h>

#include "tnl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Nothing. */
int bench_queue_empty(void *stream);
/* Keep the stream waiting for so many nanoseconds. */
int bench_queue_wait(uint64_t nanoseconds, void *stream);
/* Read all of it; sink, of 4 bytes, is never written to, which only we know. Aligned to 16 bytes,
 * and so are the two below. */
int bench_queue_read(const void *from, size_t bytes, void *sink, void *stream);
int bench_queue_copy(void *to, const void *from, size_t bytes, void *stream);
/* p = v u, elementwise, 16-byte aligned. */
int bench_queue_product(void *p, const void *v, const void *u, tnl_type type, size_t count,
                        void *stream);
/* Random numbers, even in [-size, size). */
int bench_queue_fill(void *to, tnl_type type, size_t count, float size, uint64_t seed,
                     void *stream);

#ifdef __cplusplus
}
#endif

#endif
