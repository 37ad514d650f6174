/* The benchmark's own kernels: see bench/kernels_cuda.h. */
#include "bench/kernels_cuda.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace {

constexpr int THREADS = 256;
constexpr int COPIES = 4; /* loads that a thread has in flight */
constexpr unsigned MOST_BLOCKS = 4096;

unsigned blocks_for(size_t items) {
    const size_t blocks = (items + THREADS - 1) / THREADS;
    return (unsigned)(blocks < MOST_BLOCKS ? blocks + !blocks : MOST_BLOCKS);
}

__global__ void empty_kernel() {}

__device__ uint64_t nanoseconds_now() {
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
}

__global__ void wait_kernel(uint64_t nanoseconds) {
    const uint64_t begin = nanoseconds_now();
    while (nanoseconds_now() - begin < nanoseconds)
        __nanosleep(500);
}

__global__ void read_kernel(const uint4 *from, size_t count, unsigned *sink) {
    const size_t step = (size_t)gridDim.x * THREADS;
    unsigned seen = 0;
#pragma unroll 4
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        const uint4 words = from[i];
        seen |= words.x | words.y | words.z | words.w;
    }
    if (seen) /* the memory is all zeros */
        *sink = seen;
}

/* A block copies COPIES stretches of THREADS words each; the bytes behind the last whole word are
 * the first block's. */
__global__ void copy_kernel(uint4 *to, const uint4 *from, size_t count, int bytes_behind) {
    const size_t first = (size_t)blockIdx.x * THREADS * COPIES + threadIdx.x;
    uint4 words[COPIES];
#pragma unroll
    for (int i = 0; i < COPIES; i++)
        if (first + i * THREADS < count)
            words[i] = __ldcs(from + first + i * THREADS);
#pragma unroll
    for (int i = 0; i < COPIES; i++)
        if (first + i * THREADS < count)
            __stcs(to + first + i * THREADS, words[i]);
    if (blockIdx.x == 0 && (int)threadIdx.x < bytes_behind)
        ((char *)(to + count))[threadIdx.x] = ((const char *)(from + count))[threadIdx.x];
}

template <typename T> struct alignas(16) words_of { T at[16 / sizeof(T)]; };

/* p = v u: a thread has 16 bytes; the elements behind the last whole 16 are the first block's. */
template <typename T> __global__ void product_kernel(T *p, const T *v, const T *u, size_t count) {
    constexpr size_t EACH = 16 / sizeof(T);
    const size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x, words = count / EACH;
    if (i < words) {
        const words_of<T> vs = ((const words_of<T> *)v)[i], us = ((const words_of<T> *)u)[i];
        words_of<T> ps;
        for (size_t j = 0; j < EACH; j++)
            ps.at[j] = T(float(vs.at[j]) * float(us.at[j]));
        ((words_of<T> *)p)[i] = ps;
    }
    const size_t behind = words * EACH + threadIdx.x;
    if (blockIdx.x == 0 && behind < count)
        p[behind] = T(float(v[behind]) * float(u[behind]));
}

template <typename T>
int queue_product(void *p, const void *v, const void *u, size_t count, cudaStream_t on) {
    const unsigned blocks = (unsigned)(count * sizeof(T) / (16 * THREADS) + 1);
    product_kernel<<<blocks, THREADS, 0, on>>>((T *)p, (const T *)v, (const T *)u, count);
    return cudaGetLastError();
}

/* The finalizer of MurmurHash3, of a counter. */
__device__ float random_at(uint64_t seed, uint64_t i) {
    uint64_t x = seed * 0x9e3779b97f4a7c15u + i;
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return (float)(x >> 40) * 0x1p-24f - 0.5f;
}

template <typename T> __global__ void fill_kernel(T *to, size_t count, float size, uint64_t seed) {
    const size_t step = (size_t)gridDim.x * THREADS;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step)
        to[i] = T(2 * size * random_at(seed, i));
}

} // namespace

int bench_queue_empty(void *stream) {
    empty_kernel<<<1, 1, 0, (cudaStream_t)stream>>>();
    return cudaGetLastError();
}

int bench_queue_wait(uint64_t nanoseconds, void *stream) {
    wait_kernel<<<1, 1, 0, (cudaStream_t)stream>>>(nanoseconds);
    return cudaGetLastError();
}

int bench_queue_read(const void *from, size_t bytes, void *sink, void *stream) {
    const size_t count = bytes / sizeof(uint4);
    read_kernel<<<blocks_for(count), THREADS, 0, (cudaStream_t)stream>>>((const uint4 *)from, count,
                                                                         (unsigned *)sink);
    return cudaGetLastError();
}

int bench_queue_copy(void *to, const void *from, size_t bytes, void *stream) {
    const size_t count = bytes / sizeof(uint4), each = THREADS * COPIES;
    const unsigned blocks = (unsigned)((count + each - 1) / each + !count);
    copy_kernel<<<blocks, THREADS, 0, (cudaStream_t)stream>>>((uint4 *)to, (const uint4 *)from,
                                                              count, (int)(bytes % sizeof(uint4)));
    return cudaGetLastError();
}

int bench_queue_product(void *p, const void *v, const void *u, tnl_type type, size_t count,
                        void *stream) {
    const cudaStream_t on = (cudaStream_t)stream;
    return type == TNL_FLOAT16    ? queue_product<__half>(p, v, u, count, on)
           : type == TNL_BFLOAT16 ? queue_product<__nv_bfloat16>(p, v, u, count, on)
                                  : queue_product<float>(p, v, u, count, on);
}

int bench_queue_fill(void *to, tnl_type type, size_t count, float size, uint64_t seed,
                     void *stream) {
    const unsigned blocks = blocks_for(count);
    const cudaStream_t on = (cudaStream_t)stream;
    if (type == TNL_FLOAT16)
        fill_kernel<<<blocks, THREADS, 0, on>>>((__half *)to, count, size, seed);
    else if (type == TNL_BFLOAT16)
        fill_kernel<<<blocks, THREADS, 0, on>>>((__nv_bfloat16 *)to, count, size, seed);
    else
        fill_kernel<<<blocks, THREADS, 0, on>>>((float *)to, count, size, seed);
    return cudaGetLastError();
}
