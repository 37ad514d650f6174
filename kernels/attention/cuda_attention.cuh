/*
 * What the CUDA rows of attention share: the products that a call is made of, and how tokens are
 * divided among blocks.
 *
 * Forward and backward are four products of one shape,
 *
 *     out_r = sum over c of (x_r . y_c) lambda^|r-c| z_c,
 *
 * over the past of r (c <= r) or over its future (c >= r), as eq. 10 and its gradients have them:
 *
 *     x    y    z    out   c        inner  outer
 *     q    k    v    o     past     d      e
 *     do   v    k    dq    past     e      d       dA = (dO V^T) * M,  dQ = dA K
 *     v    do   q    dk    future   e      d       dK = dA^T Q
 *     k    q    do   dv    future   d      e       dV = (Q K^T * M)^T dO
 *
 * The future read backwards is a past: where a product looks forwards, its rows are numbered from
 * the sequence's last token, with a negative stride, and everything below its first row sees only
 * c <= r. What is left of the direction is the age of the state that stands for all rows before
 * the first one, [inner,outer]: row r adds lambda^(r+1) x_r S to a past, with the initial state S,
 * and lambda^r x_r R to a future, with the gradient R of the final state. Backwards, then, the
 * state that n rows leave behind is lambda^n R + sum over c of lambda^(n-c) y_c^T z_c, with one
 * power more than the forward lambda^n S + sum over c of lambda^(n-1-c) y_c^T z_c.
 * States are [d,e]; the products whose inner dimension is e read them transposed.
 */
#ifndef TNL_KERNELS_ATTENTION_CUDA_ATTENTION_CUH
#define TNL_KERNELS_ATTENTION_CUDA_ATTENTION_CUH

#include "kernels/common/cuda.cuh"

/* ---- products ----------------------------------------------------------------------------- */

/* Where the rows of a [b,h,n,.] tensor lie; strides in elements. */
struct rows_view {
    void *data;
    int64_t batch, head, token;
};

/* Where [inner,outer] states lie, one for each head of each sequence (or segment). data NULL:
 * absent. */
struct states_view {
    float *data;
    int64_t sequence, head, inner, outer;
};

struct product {
    rows_view x, y, z, out;
    states_view state_in, state_out;
    int inner, outer;
    bool future;
    bool transposed; /* its states are [outer,inner] in memory */
};

/* A call's products. */
struct products {
    product at[4];
    int count;
};

static inline rows_view view_rows(const tnl_tensor *t) {
    return {t->data, t->stride[0], t->stride[1], t->stride[2]};
}

static inline states_view view_states(const tnl_tensor *t, bool transposed) {
    if (!t->data)
        return {};
    return {(float *)t->data, t->stride[0], t->stride[1], transposed ? 1 : t->stride[2],
            transposed ? t->stride[2] : 1};
}

static inline product make_product(const tnl_tensor *x, const tnl_tensor *y, const tnl_tensor *z,
                                   const tnl_tensor *out, bool future, bool transposed) {
    return {.x = view_rows(x),
            .y = view_rows(y),
            .z = view_rows(z),
            .out = view_rows(out),
            .state_in = {},
            .state_out = {},
            .inner = (int)x->shape[3],
            .outer = (int)z->shape[3],
            .future = future,
            .transposed = transposed};
}

/* The products of a call, in the order of the table above. */
static inline products find_products(const tnl_call *call) {
    const tnl_tensor *t = call->tensor; /* q, k and v come first in every operator */
    const bool both = call->op == TNL_ATTENTION_FORWARD_BACKWARD;
    products p = {};
    if (both || call->op == TNL_ATTENTION_FORWARD) {
        p.at[p.count] = make_product(&t[ATT_Q], &t[ATT_K], &t[ATT_V],
                                     &t[both ? (int)ATT_FB_O : (int)ATT_O], false, false);
        if (!both) {
            p.at[p.count].state_in = view_states(&t[ATT_INITIAL_STATE], false);
            p.at[p.count].state_out = view_states(&t[ATT_FINAL_STATE], false);
        }
        p.count++;
    }
    if (both || call->op == TNL_ATTENTION_BACKWARD) {
        const tnl_tensor *dout = &t[both ? (int)ATT_FB_DOUT : (int)ATT_BWD_DOUT];
        const tnl_tensor *dq = &t[both ? (int)ATT_FB_DQ : (int)ATT_BWD_DQ]; /* then dk, dv */
        product *next = p.at + p.count;
        next[0] = make_product(dout, &t[ATT_BWD_V], &t[ATT_BWD_K], &dq[0], false, true);
        next[1] = make_product(&t[ATT_BWD_V], dout, &t[ATT_BWD_Q], &dq[1], true, true);
        next[2] = make_product(&t[ATT_BWD_K], &t[ATT_BWD_Q], dout, &dq[2], true, false);
        if (!both) {
            next[0].state_in = view_states(&t[ATT_BWD_INITIAL_STATE], true);
            next[1].state_in = view_states(&t[ATT_BWD_DFINAL_STATE], true);
            next[2].state_in = view_states(&t[ATT_BWD_DFINAL_STATE], false);
            next[2].state_out = view_states(&t[ATT_BWD_DINITIAL_STATE], false);
        }
        p.count += 3;
    }
    return p;
}

/* Whether every row of every data tensor can be read and written 16 bytes at a time. */
static inline bool rows_allow_16_bytes(const tnl_call *call) {
    bool allow = true;
    for (int i = 0; i < tnl_operators[call->op].argument_count; i++)
        if (call->tensor[i].data && call->tensor[i].rank == 4 &&
            call->tensor[i].type == call->type &&
            tnl_operators[call->op].argument[i].type == TNL_NO_TYPE)
            allow = allow && tnl_allows_16_bytes(&call->tensor[i]);
    return allow;
}

static inline const tnl_tensor *cu_seqlens_of(const tnl_call *call) {
    return &call->tensor[ATT_CU_SEQLENS];
}

static inline const float *slopes_of(const tnl_call *call) {
    return (const float *)call->tensor[ATT_SLOPE].data;
}

/* ---- tokens among blocks ------------------------------------------------------------------ */

/*
 * Every sequence is cut into segments of `length` rows, counted in a product's order; the first
 * `count` of each are items. Where the batch is packed the host does not know the sequences'
 * lengths: an item is then a place where a segment may be. Sequence i has the items from
 * begin / length + i on, where begin is its first token; they suffice, and there are n / length + s
 * in all. The ends of segments are numbered as the items are; in a packed batch those of all
 * segments but a sequence's last from begin / length on, and there are at most n / length of them.
 */
struct division {
    const int32_t *cu_seqlens; /* NULL: `sequences` of n tokens each */
    int64_t n, sequences, length, count;
};

static inline division divide_tokens(const tnl_call *call, int64_t length) {
    const int64_t n = call->dim[DIM_N];
    return {(const int32_t *)cu_seqlens_of(call)->data, n, call->dim[DIM_S], length,
            ceil_div(n, length)};
}

static inline int64_t division_items(const division &d) {
    return d.cu_seqlens ? d.n / d.length + d.sequences : d.sequences * d.count;
}

/* The ends of items, where of each sequence the last segment is none. */
static inline int64_t division_ends(const division &d) {
    return d.cu_seqlens ? d.n / d.length : d.sequences * d.count;
}

struct segment {
    int64_t sequence, batch, begin, tokens; /* the sequence */
    int64_t index;                          /* of the segment in it */
    int64_t first, rows;                    /* the segment's, in the product's order */
};

/* The number of the end of a sequence's segment 0. */
static __device__ __forceinline__ int64_t first_end(const division &d, const segment &s) {
    return d.cu_seqlens ? (unsigned)s.begin / (unsigned)d.length : s.sequence * d.count;
}

/* Sequence i of a packed batch: the last whose items start at or before `item`. */
static __device__ __forceinline__ int64_t find_sequence(const division &d, int64_t item) {
    int64_t low = 0, high = d.sequences - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (d.cu_seqlens[middle] / d.length + middle <= item)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* An item's segment; rows is 0 where there is none, or an empty sequence's only one. */
static __device__ __forceinline__ segment find_segment(const division &d, int64_t item) {
    segment s;
    if (d.cu_seqlens) {
        s.sequence = find_sequence(d, item);
        s.batch = 0;
        s.begin = d.cu_seqlens[s.sequence];
        s.tokens = d.cu_seqlens[s.sequence + 1] - s.begin;
        s.index = item - ((unsigned)s.begin / (unsigned)d.length + s.sequence);
    } else {
        /* In 32 bits, which hold both: a division of 64 takes a hundred instructions. */
        s.sequence = s.batch = (unsigned)item / (unsigned)d.count;
        s.begin = 0;
        s.tokens = d.n;
        s.index = (unsigned)item % (unsigned)d.count;
    }
    s.first = s.index * d.length;
    s.rows = max((int64_t)0, min(d.length, s.tokens - s.first));
    return s;
}

/* The rows of one head of one sequence, in a product's order. */
template <typename T> struct head_rows {
    T *first;
    int64_t stride;

    __device__ __forceinline__ T *row(int64_t r) const {
        return first + r * stride;
    }
};

template <typename T>
static __device__ __forceinline__ head_rows<T> find_rows(const rows_view &view, const segment &s,
                                                         int64_t head, bool future) {
    const int64_t token = future ? s.begin + s.tokens - 1 : s.begin;
    return {(T *)view.data + s.batch * view.batch + head * view.head + token * view.token,
            future ? -view.token : view.token};
}

constexpr float LOG2_E = 1.44269504f;

/* lambda^distance; log2_lambda is -slope LOG2_E. */
static __device__ __forceinline__ float decay_by(float log2_lambda, float distance) {
    return exp2f(log2_lambda * distance);
}

/* The same for states, where every digit counts: log2_lambda in two parts, and the product's
 * rounding error with it. */
struct decay_rate {
    float high, low;
};

static __device__ __forceinline__ decay_rate decay_rate_of(float slope) {
    constexpr float LOG2_E_REST = 1.92596299e-8f; /* log2(e) - LOG2_E */
    const float high = -slope * LOG2_E;
    return {high, fmaf(-slope, LOG2_E, -high) - slope * LOG2_E_REST};
}

static __device__ __forceinline__ float decay_by(decay_rate rate, float distance) {
    constexpr float LN_2 = 0.693147181f, LEAST = -160; /* exp2(LEAST) is 0 */
    const float high = rate.high * distance;
    if (high < LEAST)
        return 0;
    const float low = fmaf(rate.high, distance, -high) + rate.low * distance;
    const float power = exp2f(high);
    return fmaf(power, low * LN_2, power);
}

#endif
