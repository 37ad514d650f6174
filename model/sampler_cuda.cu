/*
 * Choosing tokens on CUDA (model/sampler.h), a block a row of logits.
 *
 * Nothing is sorted. Logits become unsigned keys of the same order. What top_k, top_p or the draw
 * asks for is where, from the largest key down, a running total (of tokens, or of weights) reaches
 * a number; the key there is found bit by bit, each bit by a sum over the row, and among tokens of
 * one key, whose order is the vocabulary's, the one there by a division. Weights are integers.
 */
#include <type_traits>

#include "kernels/common/cuda.cuh"
#include "model/sampler.h"

namespace {

constexpr int THREADS = 1024, WARPS = THREADS / 32;
constexpr float WEIGHT_OF_LARGEST = 0x1p31f;

typedef unsigned long long total;

struct choosing {
    tnl_sampling how;
    uint64_t step;
    int vocab;
    int32_t stop;
    bool fed;
    int64_t *positions;
    int32_t *slots, *tokens, *made;
};

/* ---- a row ----------------------------------------------------------------------------------- */

/* Bits of a type's numbers that float32 has at its top: sign, exponent and mantissa. */
template <typename T>
constexpr int key_bits = sizeof(T) == sizeof(float)       ? 32
                         : std::is_same<T, __half>::value ? 19
                                                          : 16;

/* In the order of the numbers. */
template <typename T> __device__ __forceinline__ unsigned key_of(float x) {
    const unsigned bits = __float_as_uint(x);
    return (bits >> 31 ? ~bits : bits | 0x80000000u) >> (32 - key_bits<T>);
}

template <typename T> struct row {
    const T *logits;
    int vocab;
    float largest, scale; /* log2(e) / temperature */

    __device__ __forceinline__ unsigned weight(float logit) const {
        return __float2uint_rn(WEIGHT_OF_LARGEST * exp2f((logit - largest) * scale));
    }

    /* f(logit, i) of the thread's share of the row, 16 bytes at a time where they lie so. */
    template <typename F> __device__ __forceinline__ void each(F f) const {
        constexpr int W = pack<T>::size;
        const int packs = (uintptr_t)logits % 16 == 0 ? vocab / W : 0;
        for (int p = (int)threadIdx.x; p < packs; p += THREADS) {
            float x[W];
            load<W>(logits + p * W, x);
#pragma unroll
            for (int w = 0; w < W; w++)
                f(x[w], p * W + w);
        }
        for (int i = packs * W + (int)threadIdx.x; i < vocab; i += THREADS)
            f(to_float(logits[i]), i);
    }
};

__device__ __forceinline__ total block_sum(total mine) {
    __shared__ total part[WARPS];
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        mine += __shfl_xor_sync(0xffffffffu, mine, distance);
    __syncthreads();
    if (lane == 0)
        part[threadIdx.x / 32] = mine;
    __syncthreads();
    mine = part[lane];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        mine += __shfl_xor_sync(0xffffffffu, mine, distance);
    return mine;
}

__device__ __forceinline__ total block_max(total mine) {
    __shared__ total part[WARPS];
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        mine = max(mine, __shfl_xor_sync(0xffffffffu, mine, distance));
    if (lane == 0)
        part[threadIdx.x / 32] = mine;
    __syncthreads();
    mine = part[lane];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        mine = max(mine, __shfl_xor_sync(0xffffffffu, mine, distance));
    return mine;
}

/* The sum over the row of measure(logit). */
template <typename T, typename F>
__device__ __forceinline__ total sum_of(const row<T> &of, F measure) {
    total mine = 0;
    of.each([&](float x, int) { mine += measure(x); });
    return block_sum(mine);
}

/* The first i, in the vocabulary's order, at which the sum of measure reaches target; the sum over
 * all is at least that, and target at least 1. */
template <typename T, typename F>
__device__ int find_in_order(const row<T> &of, total target, F measure) {
    __shared__ total before[WARPS];
    __shared__ int found;
    const int each = (of.vocab + THREADS - 1) / THREADS, lane = threadIdx.x % 32;
    const int begin = min((int)threadIdx.x * each, of.vocab);
    const int end = min(begin + each, of.vocab);
    total mine = 0;
    for (int i = begin; i < end; i++)
        mine += measure(to_float(of.logits[i]));
    total up_to = mine; /* with this thread's, in the warp */
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        const total other = __shfl_up_sync(0xffffffffu, up_to, distance);
        up_to += lane >= distance ? other : 0;
    }
    if (lane == 31)
        before[threadIdx.x / 32] = up_to;
    __syncthreads();
    for (int warp = 0; warp < (int)threadIdx.x / 32; warp++)
        up_to += before[warp];
    if (up_to >= target && up_to - mine < target) {
        total sum = up_to - mine;
        int i = begin;
        while ((sum += measure(to_float(of.logits[i]))) < target)
            i++;
        found = i;
    }
    __syncthreads();
    return found;
}

/* ---- from the largest down ------------------------------------------------------------------- */

/* Tokens in the order of their keys, down to some of those of key `least`. */
struct kept {
    unsigned least;
    total ties;    /* so many of that key */
    total above;   /* weight of those before */
    unsigned each; /* weight of one of that key */

    __device__ __forceinline__ total weight() const {
        return above + ties * each;
    }
};

/* The largest key from which on upwards the sum of measure reaches target, but not below `least`.
 */
template <typename T, typename F>
__device__ unsigned find_key(const row<T> &of, unsigned least, total target, F measure) {
    unsigned key = 0;
    for (unsigned bit = 1u << (key_bits<T> - 1); bit; bit >>= 1) {
        const unsigned candidate = key | bit;
        if (candidate <= least || sum_of(of, [&](float x) -> total {
                                      return key_of<T>(x) >= candidate ? measure(x) : 0;
                                  }) >= target)
            key = candidate;
    }
    return key;
}

/* A key's place: what lies above it, and what one token of it weighs. */
template <typename T> __device__ kept place_of(const row<T> &of, unsigned key) {
    kept at = {key, 0, 0, 0};
    at.above = sum_of(of, [&](float x) -> total { return key_of<T>(x) > key ? of.weight(x) : 0; });
    at.ties = sum_of(of, [&](float x) -> total { return key_of<T>(x) == key; });
    total heaviest = 0;
    of.each([&](float x, int) {
        if (key_of<T>(x) == key)
            heaviest = of.weight(x);
    });
    __syncthreads();
    at.each = (unsigned)block_max(heaviest);
    __syncthreads();
    return at;
}

/* The k likeliest. */
template <typename T> __device__ kept keep_count(const row<T> &of, total k) {
    const unsigned key = find_key(of, 0, k, [](float) -> total { return 1; });
    kept at = place_of(of, key);
    at.ties = k - sum_of(of, [&](float x) -> total { return key_of<T>(x) > key; });
    return at;
}

/* Of those the fewest, at least one, that weigh `target`. */
template <typename T>
__device__ kept keep_weight(const row<T> &of, const kept &from, total target) {
    const unsigned key =
        find_key(of, from.least, target, [&](float x) -> total { return of.weight(x); });
    kept at = key == from.least ? from : place_of(of, key);
    const total wanted =
        target > at.above && at.each ? (target - at.above + at.each - 1) / at.each : 1;
    at.ties = min(max(wanted, 1ull), at.ties);
    return at;
}

template <typename T> __device__ int draw(const row<T> &of, const tnl_sampling &how, double drawn) {
    const bool all = (how.top_k == 0 || how.top_k >= of.vocab) && how.top_p >= 1;
    if (all) {
        auto weight = [&](float x) -> total { return of.weight(x); };
        const total sum = sum_of(of, weight);
        const total target = (total)(drawn * (double)sum) + 1;
        return find_in_order(of, min(target, sum), weight);
    }
    const total k = how.top_k == 0 ? of.vocab : min((total)how.top_k, (total)of.vocab);
    kept from = keep_count(of, k);
    if (how.top_p < 1)
        from = keep_weight(of, from, max((total)ceil(how.top_p * (double)from.weight()), 1ull));
    const total target = (total)(drawn * (double)from.weight()) + 1;
    const kept at = keep_weight(of, from, min(target, from.weight()));
    return find_in_order(of, at.ties, [&](float x) -> total { return key_of<T>(x) == at.least; });
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* The likeliest, of equals the first; false: a logit is no finite number. */
template <typename T> __device__ bool find_largest(const row<T> &of, int &best) {
    total mine = 0;
    bool finite = true;
    of.each([&](float x, int i) {
        finite = finite && isfinite(x);
        /* 0 is no less than -0, and comes first where it does */
        mine = max(mine, (total)key_of<float>(x == 0 ? 0 : x) << 32 | (unsigned)~i);
    });
    mine = block_max(mine);
    best = (int)~(unsigned)mine;
    return __syncthreads_and(finite);
}

template <typename T>
__global__ void __launch_bounds__(THREADS, 1) choose_kernel(const choosing at, const T *all) {
    const int r = (int)blockIdx.x;
    row<T> of = {all + (int64_t)r * at.vocab, at.vocab, 0,
                 (float)(1.4426950408889634 / at.how.temperature)};
    const bool active = at.slots[r] >= 0;
    int token = TNL_TOKEN_NONE;
    __syncthreads(); /* all have read it */
    if (active && !find_largest(of, token))
        token = TNL_TOKEN_NOT_FINITE;
    else if (active && at.how.temperature > 0) {
        of.largest = to_float(of.logits[token]);
        token = draw(of, at.how, tnl_draw(&at.how, (uint64_t)r, at.step));
    }
    if (threadIdx.x != 0)
        return;
    at.made[r] = token;
    at.tokens[r] = max(token, 0);
    if (active && at.fed)
        at.positions[r]++;
    if (token < 0 || token == at.stop)
        at.slots[r] = -1;
}

} // namespace

tnl_status tnl_cuda_choose(tnl_context *context, const tnl_cuda_choice *choice) {
    const tnl_tensor *logits = &choice->logits;
    tnl_call call = {};
    call.context = context;
    call.type = logits->type;
    const choosing at = {choice->sampling, choice->step,   (int)logits->shape[1],
                         choice->stop,     choice->fed,    choice->positions,
                         choice->slots,    choice->tokens, choice->made};
    tnl_with_type(&call, [&](auto type) {
        using T = decltype(type);
        choose_kernel<T><<<(unsigned)logits->shape[0], THREADS, 0, tnl_stream(&call)>>>(
            at, (const T *)logits->data);
        return TNL_OK;
    });
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? TNL_OK
                                : tnl_fail(context, TNL_DEVICE_ERROR,
                                           "a choice of tokens: CUDA reports: %s, expected success",
                                           cudaGetErrorString(error));
}
