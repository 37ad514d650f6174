/*
 * What every CUDA row uses: the data types as C++ types, launching, errors.
 *
 * A kernel is a template over the data type T (float, __half, __nv_bfloat16), reads and writes T,
 * and computes in float.
 */
#ifndef TNL_KERNELS_COMMON_CUDA_CUH
#define TNL_KERNELS_COMMON_CUDA_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>
#include <string.h>

#include "core/context.h"
#include "core/kernels.h"

/* ---- errors ------------------------------------------------------------------------------- */

/* The status of a CUDA call, its failure named in the context's error text. */
static inline tnl_status tnl_cuda_status(const tnl_call *call, cudaError_t error) {
    if (error == cudaSuccess)
        return TNL_OK;
    return tnl_fail(call->context, TNL_DEVICE_ERROR, "%s: CUDA reports: %s, expected success",
                    tnl_operators[call->op].name, cudaGetErrorString(error));
}

/* The status of the kernel launch just made. */
static inline tnl_status tnl_launched(const tnl_call *call) {
    return tnl_cuda_status(call, cudaGetLastError());
}

static inline cudaStream_t tnl_stream(const tnl_call *call) {
    return (cudaStream_t)call->context->stream;
}

/* ---- types -------------------------------------------------------------------------------- */

/* Call f with a value of the C++ type of the call's data, as f(T()). */
template <typename F> static tnl_status tnl_with_type(const tnl_call *call, F f) {
    switch (call->type) {
    case TNL_FLOAT16:
        return f(__half());
    case TNL_BFLOAT16:
        return f(__nv_bfloat16());
    default:
        return f(float());
    }
}

static __device__ __forceinline__ float to_float(float x) {
    return x;
}
static __device__ __forceinline__ float to_float(__half x) {
    return __half2float(x);
}
static __device__ __forceinline__ float to_float(__nv_bfloat16 x) {
    return __bfloat162float(x);
}

template <typename T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
template <> __device__ __forceinline__ __half from_float<__half>(float x) {
    return __float2half_rn(x);
}
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

/* W elements at once, 16 bytes of them unless said otherwise. */
template <typename T, int W = 16 / (int)sizeof(T)> struct alignas(W * sizeof(T)) pack {
    static constexpr int size = W;
    T at[W];
};

/* Keep a pack as it was loaded: the compiler, which would rather keep each element unpacked in a
 * register of its own, is made to unpack it again after this. */
template <typename T, int W> static __device__ __forceinline__ void stay_packed(pack<T, W> &held) {
    if constexpr (sizeof held == sizeof(uint4)) {
        uint4 words;
        memcpy(&words, &held, sizeof words);
        asm volatile("" : "+r"(words.x), "+r"(words.y), "+r"(words.z), "+r"(words.w));
        memcpy(&held, &words, sizeof words);
    }
}

/* W consecutive elements as floats, in accesses of at most 16 bytes. */
template <int W, typename T>
static __device__ __forceinline__ void load(const T *from, float (&to)[W]) {
    constexpr int SIZE = W * sizeof(T) > 16 ? 16 / (int)sizeof(T) : W;
#pragma unroll
    for (int i = 0; i < W; i += SIZE) {
        const pack<T, SIZE> part = *reinterpret_cast<const pack<T, SIZE> *>(from + i);
#pragma unroll
        for (int j = 0; j < SIZE; j++)
            to[i + j] = to_float(part.at[j]);
    }
}

template <int W, typename T>
static __device__ __forceinline__ void store(T *to, const float (&from)[W]) {
    constexpr int SIZE = W * sizeof(T) > 16 ? 16 / (int)sizeof(T) : W;
#pragma unroll
    for (int i = 0; i < W; i += SIZE) {
        pack<T, SIZE> part;
#pragma unroll
        for (int j = 0; j < SIZE; j++)
            part.at[j] = from_float<T>(from[i + j]);
        *reinterpret_cast<pack<T, SIZE> *>(to + i) = part;
    }
}

/* Store what rounding to T takes from each. */
template <int W, typename T>
static __device__ __forceinline__ void store_rest(T *to, const float (&from)[W]) {
    float rest[W];
#pragma unroll
    for (int w = 0; w < W; w++)
        rest[w] = from[w] - to_float(from_float<T>(from[w]));
    store(to, rest);
}

/* ---- shapes ------------------------------------------------------------------------------- */

static inline __host__ __device__ int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Whether 16-byte accesses work on every row of a tensor: its pointer, its strides and its row. */
static inline bool tnl_allows_16_bytes(const tnl_tensor *t) {
    int64_t size = (int64_t)tnl_type_size(t->type);
    bool allows = (uintptr_t)t->data % 16 == 0 && t->shape[t->rank - 1] * size % 16 == 0;
    for (int i = 0; i + 1 < t->rank; i++)
        allows = allows && (t->shape[i] == 1 || t->stride[i] * size % 16 == 0);
    return allows;
}

/* A tensor [rows, columns] as a kernel takes it. */
template <typename T> struct matrix {
    T *data;
    int64_t stride;
    __device__ T *row(int64_t i) const {
        return data + i * stride;
    }
};

template <typename T> static matrix<T> tnl_matrix_of(const tnl_tensor *t) {
    return {(T *)t->data, t->stride[0]};
}

/* What lies in a workspace, one thing after another: each aligned to TNL_WORKSPACE_ALIGNMENT. With
 * base NULL it only counts, for a kernel's workspace function. */
struct tnl_carver {
    char *base;
    size_t used;
    template <typename T> T *take(int64_t count) {
        T *taken = base ? (T *)(base + used) : nullptr;
        used += ((size_t)count * sizeof(T) + TNL_WORKSPACE_ALIGNMENT - 1) /
                TNL_WORKSPACE_ALIGNMENT * TNL_WORKSPACE_ALIGNMENT;
        return taken;
    }
};

/* ---- sums over threads --------------------------------------------------------------------- */

static __device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}

#endif
