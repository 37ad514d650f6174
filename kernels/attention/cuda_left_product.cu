/*
 * Attention as eq. 10 has it, O = ((Q K^T) * M) V, by cuBLAS over all heads at once, with the n x n
 * matrix of every head in memory: what the linear rows are measured against. A = (Q K^T) * M
 * outlives the forward pass, as in a training step; once dV = A^T dO is done it is not needed any
 * more, and dA = (dO V^T) * M takes its place, for dQ = dA K and dK = dA^T Q.
 *
 * Scores leave cuBLAS in float32, are masked, and only then rounded to the data type, in place:
 * each row's first half then holds its A. That is the memory of two matrices in 16 bits, what an
 * eager framework has for the scores and for A. A score beyond float16's range becomes infinite.
 * A matrix of few scores has little over which rounding errors could average, so that calls with
 * few tokens are computed in float32 altogether, on copies of their tensors; so are those with
 * states, whose part of the outputs would else be added to what is rounded already.
 *
 * A packed batch is one problem of all its tokens, whose mask also keeps sequences apart. What
 * comes from an initial state, and final states, are computed by plain loops: a left product has
 * no use for a state, and these are here so that the row takes every call.
 *
 * Workspace: [ cuBLAS's ][ A, then dA: b h n n float32 ][ float32 copies, where computed so ]
 */
#include <type_traits>

#include "kernels/attention/cuda_attention.cuh"
#include "kernels/common/cublas.cuh"

static constexpr int64_t FEW_TOKENS = 64;
static constexpr int ROW_THREADS = 256;
static constexpr int ROW_STEPS = 4; /* elements a thread has in flight */

/* One matrix for each head of each batch entry; strides in elements. */
struct head_matrices {
    void *data;
    tnl_type type;
    int64_t batch, head, row;
};

static head_matrices matrices_of(const tnl_tensor *t) {
    return {t->data, t->type, t->stride[0], t->stride[1], t->stride[2]};
}

/* ---- workspace ---------------------------------------------------------------------------- */

/* Whether a call of 16-bit tensors is computed in float32. */
static bool is_wide(const tnl_call *call) {
    bool states = false;
    for (int i = 0; i < tnl_operators[call->op].argument_count; i++) {
        const tnl_argument *argument = &tnl_operators[call->op].argument[i];
        states = states ||
                 (call->tensor[i].data && argument->rank == 4 && argument->type == TNL_FLOAT32);
    }
    return call->type != TNL_FLOAT32 && (states || call->dim[DIM_N] <= FEW_TOKENS);
}

static bool is_data(const tnl_call *call, int i) {
    return call->tensor[i].data && tnl_operators[call->op].argument[i].type == TNL_NO_TYPE;
}

struct left_product_memory {
    void *cublas;
    float *scores;
    float *copy[TNL_MAX_TENSORS]; /* of each data tensor, in a wide call */
    size_t bytes;

    left_product_memory(const tnl_call *call, void *workspace) : copy() {
        const int64_t *dim = call->dim;
        tnl_carver carver = {(char *)workspace, 0};
        cublas = carver.take<char>(TNL_CUBLAS_BYTES);
        scores = carver.take<float>(dim[DIM_B] * dim[DIM_H] * dim[DIM_N] * dim[DIM_N]);
        for (int i = 0; i < tnl_operators[call->op].argument_count; i++)
            if (is_wide(call) && is_data(call, i))
                copy[i] = carver.take<float>(dim[DIM_B] * dim[DIM_H] * dim[DIM_N] *
                                             call->tensor[i].shape[3]);
        bytes = carver.used;
    }
};

static size_t workspace(const tnl_call *call) {
    return left_product_memory(call, NULL).bytes;
}

static const char *rejects(const tnl_call *call) {
    const double n = (double)call->dim[DIM_N];
    const double floats = n * n * (double)call->dim[DIM_B] * (double)call->dim[DIM_H];
    return floats > 0x1p58 ? "needs more workspace than the address space holds" : NULL;
}

/* ---- products ----------------------------------------------------------------------------- */

/* C = A B for every head, A [rows,inner], B [inner,columns], each the transpose of what is stored
 * where its flag says so. One call where all three matrices lie at regular distances. */
static tnl_status multiply(const tnl_call *call, const head_matrices &a, bool transpose_a,
                           const head_matrices &b, bool transpose_b, const head_matrices &c,
                           int64_t rows, int64_t columns, int64_t inner) {
    const int64_t batch = call->dim[DIM_B], heads = call->dim[DIM_H];
    const bool regular =
        a.batch == heads * a.head && b.batch == heads * b.head && c.batch == heads * c.head;
    const int64_t calls = regular ? 1 : batch, count = regular ? batch * heads : heads;
    const float one = 1, zero = 0;
    const auto entry = [](const head_matrices &m, int64_t i) {
        return (char *)m.data + i * m.batch * (int64_t)tnl_type_size(m.type);
    };
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    for (int64_t i = 0; i < calls && status == CUBLAS_STATUS_SUCCESS; i++)
        status = cublasGemmStridedBatchedEx_64(
            tnl_cublas(call), transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
            transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, columns, rows, inner, &one, entry(b, i),
            tnl_cuda_type(b.type), b.row, b.head, entry(a, i), tnl_cuda_type(a.type), a.row, a.head,
            &zero, entry(c, i), tnl_cuda_type(c.type), c.row, c.head, count, CUBLAS_COMPUTE_32F,
            CUBLAS_GEMM_DEFAULT);
    return tnl_cublas_status(call, status);
}

/* The sequence that token t of a packed batch is in. */
static __device__ __forceinline__ int64_t sequence_of_token(const division &d, int64_t t) {
    int64_t low = 0, high = d.sequences - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (d.cu_seqlens[middle] <= t)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/*
 * A row of float32 scores times M, rounded to T, in place, a block for each row. In each step the
 * block has read a stretch of the row before it writes the same elements, which as T lie at or
 * before where they were; what lies before the stretch has been read in earlier steps.
 */
template <typename T>
static __global__ void __launch_bounds__(ROW_THREADS)
    mask_rows(float *scores, const division tokens, const float *slope, int64_t heads,
              int64_t rows) {
    const int64_t n = tokens.n;
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const int64_t t = row % n;
        const int64_t begin =
            tokens.cu_seqlens ? tokens.cu_seqlens[sequence_of_token(tokens, t)] : 0;
        const float log2_lambda = -slope[row / n % heads] * LOG2_E;
        const float *from = scores + row * n;
        T *to = (T *)(scores + row * n);
        for (int64_t first = threadIdx.x; first - threadIdx.x < n;
             first += ROW_STEPS * ROW_THREADS) {
            float value[ROW_STEPS];
#pragma unroll
            for (int i = 0; i < ROW_STEPS; i++) {
                const int64_t c = first + i * ROW_THREADS;
                value[i] =
                    c >= begin && c <= t ? from[c] * decay_by(log2_lambda, (float)(t - c)) : 0;
            }
            __syncthreads();
#pragma unroll
            for (int i = 0; i < ROW_STEPS; i++)
                if (first + i * ROW_THREADS < n)
                    to[first + i * ROW_THREADS] = from_float<T>(value[i]);
        }
    }
}

static unsigned grid_size(int64_t blocks) {
    return (unsigned)min(blocks, (int64_t)INT32_MAX);
}

/* (left right^T) * M for every head, in the data type. */
template <typename T>
static tnl_status make_scores(const tnl_call *call, const left_product_memory &m,
                              const tnl_tensor *left, const tnl_tensor *right) {
    const int64_t n = call->dim[DIM_N], heads = call->dim[DIM_H];
    const int64_t rows = call->dim[DIM_B] * heads * n;
    const tnl_status status =
        multiply(call, matrices_of(left), false, matrices_of(right), true,
                 {m.scores, TNL_FLOAT32, heads * n * n, n * n, n}, n, n, left->shape[3]);
    if (status != TNL_OK)
        return status;
    mask_rows<T><<<grid_size(rows), ROW_THREADS, 0, tnl_stream(call)>>>(
        m.scores, divide_tokens(call, n), slopes_of(call), heads, rows);
    return tnl_launched(call);
}

/* out = A right, or A^T right, for every head, with what make_scores has made. */
static tnl_status apply_scores(const tnl_call *call, const left_product_memory &m, bool transpose,
                               const tnl_tensor *right, const tnl_tensor *out) {
    const int64_t n = call->dim[DIM_N], heads = call->dim[DIM_H];
    const int64_t row = n * (int64_t)(sizeof(float) / tnl_type_size(call->type));
    return multiply(call, {m.scores, call->type, heads * n * row, n * row, row}, transpose,
                    matrices_of(right), false, matrices_of(out), n, right->shape[3], n);
}

/* ---- states ------------------------------------------------------------------------------- */

static division whole_sequences(const tnl_call *call) {
    return divide_tokens(call, call->dim[DIM_N] + 1);
}

/* out += what comes from the incoming states: a block for each token of each head. Calls with
 * states are in float32. */
static __global__ void add_states(const __grid_constant__ product p, const division tokens,
                                  const float *slope, int64_t heads, int64_t count) {
    for (int64_t item = blockIdx.x; item < count; item += gridDim.x) {
        const int64_t head = item % heads, token = item / heads % tokens.n;
        const segment s = find_segment(tokens, tokens.cu_seqlens ? sequence_of_token(tokens, token)
                                                                 : item / heads / tokens.n);
        const int64_t r = p.future ? s.begin + s.tokens - 1 - token : token - s.begin;
        const float *x = find_rows<float>(p.x, s, head, p.future).row(r);
        float *out = find_rows<float>(p.out, s, head, p.future).row(r);
        const float *state =
            p.state_in.data + s.sequence * p.state_in.sequence + head * p.state_in.head;
        const float power = decay_by(decay_rate_of(slope[head]), (float)(p.future ? r : r + 1));
        for (int j = threadIdx.x; j < p.outer; j += blockDim.x) {
            float sum = 0;
            for (int i = 0; i < p.inner; i++)
                sum += x[i] * state[i * p.state_in.inner + j * p.state_in.outer];
            out[j] += power * sum;
        }
    }
}

/* The outgoing states: a block for each row of each. They may be the incoming ones. */
static __global__ void make_states(const __grid_constant__ product p, const division tokens,
                                   const float *slope, int64_t heads, int64_t count) {
    for (int64_t item = blockIdx.x; item < count; item += gridDim.x) {
        const int64_t i = item % p.inner, head = item / p.inner % heads;
        const segment s = find_segment(tokens, item / p.inner / heads);
        const head_rows<float> y = find_rows<float>(p.y, s, head, p.future),
                               z = find_rows<float>(p.z, s, head, p.future);
        const decay_rate rate = decay_rate_of(slope[head]);
        const int64_t last = s.tokens - (p.future ? 0 : 1);
        for (int j = threadIdx.x; j < p.outer; j += blockDim.x) {
            float sum = 0;
            if (p.state_in.data)
                sum = decay_by(rate, (float)s.tokens) *
                      p.state_in.data[s.sequence * p.state_in.sequence + head * p.state_in.head +
                                      i * p.state_in.inner + j * p.state_in.outer];
            for (int64_t r = 0; r < s.tokens; r++)
                sum += decay_by(rate, (float)(last - r)) * y.row(r)[i] * z.row(r)[j];
            p.state_out.data[s.sequence * p.state_out.sequence + head * p.state_out.head +
                             i * p.state_out.inner + j * p.state_out.outer] = sum;
        }
    }
}

static tnl_status apply_states(const tnl_call *call) {
    const int64_t *dim = call->dim, heads = dim[DIM_H];
    const products all = find_products(call);
    tnl_status status = TNL_OK;
    for (int i = 0; i < all.count && status == TNL_OK; i++) {
        const int64_t count = dim[DIM_B] * dim[DIM_N] * heads;
        if (!all.at[i].state_in.data)
            continue;
        add_states<<<grid_size(count), 128, 0, tnl_stream(call)>>>(all.at[i], whole_sequences(call),
                                                                   slopes_of(call), heads, count);
        status = tnl_launched(call);
    }
    for (int i = 0; i < all.count && status == TNL_OK; i++) {
        const int64_t count = dim[DIM_S] * heads * all.at[i].inner;
        if (!all.at[i].state_out.data)
            continue;
        make_states<<<grid_size(count), 128, 0, tnl_stream(call)>>>(
            all.at[i], whole_sequences(call), slopes_of(call), heads, count);
        status = tnl_launched(call);
    }
    return status;
}

/* ---- the operators ------------------------------------------------------------------------ */

#define TRY(step)                                                                                  \
    do {                                                                                           \
        const tnl_status status_ = (step);                                                         \
        if (status_ != TNL_OK)                                                                     \
            return status_;                                                                        \
    } while (0)

template <typename T>
static tnl_status compute(const tnl_call *call, const left_product_memory &m) {
    const tnl_tensor *t = call->tensor;
    const bool both = call->op == TNL_ATTENTION_FORWARD_BACKWARD;
    TRY(make_scores<T>(call, m, &t[ATT_Q], &t[ATT_K]));
    if (both || call->op == TNL_ATTENTION_FORWARD)
        TRY(apply_scores(call, m, false, &t[ATT_V], &t[both ? (int)ATT_FB_O : (int)ATT_O]));
    if (both || call->op == TNL_ATTENTION_BACKWARD) {
        const tnl_tensor *dout = &t[both ? (int)ATT_FB_DOUT : (int)ATT_BWD_DOUT];
        const tnl_tensor *dq = &t[both ? (int)ATT_FB_DQ : (int)ATT_BWD_DQ], *dk = dq + 1,
                         *dv = dq + 2;
        TRY(apply_scores(call, m, true, dout, dv));
        TRY(make_scores<T>(call, m, dout, &t[ATT_BWD_V]));
        TRY(apply_scores(call, m, false, &t[ATT_BWD_K], dq));
        TRY(apply_scores(call, m, true, &t[ATT_BWD_Q], dk));
    }
    return std::is_same_v<T, float> ? apply_states(call) : TNL_OK;
}

/* to, [b,h,n,width] by the strides given, = from. */
template <typename TO, typename FROM>
static __global__ void convert(const rows_view to, const rows_view from, int64_t heads, int64_t n,
                               int64_t width, int64_t count) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < count;
         i += gridDim.x * (int64_t)blockDim.x) {
        const int64_t b = i / (heads * n * width), h = i / (n * width) % heads;
        const int64_t t = i / width % n, j = i % width;
        ((TO *)to.data)[b * to.batch + h * to.head + t * to.token + j] = from_float<TO>(to_float(
            ((const FROM *)from.data)[b * from.batch + h * from.head + t * from.token + j]));
    }
}

template <typename TO, typename FROM>
static tnl_status convert_tensor(const tnl_call *call, const tnl_tensor *to,
                                 const tnl_tensor *from) {
    const int64_t heads = call->dim[DIM_H], n = call->dim[DIM_N], width = to->shape[3];
    const int64_t count = call->dim[DIM_B] * heads * n * width;
    convert<TO, FROM><<<grid_size(ceil_div(count, 256)), 256, 0, tnl_stream(call)>>>(
        view_rows(to), view_rows(from), heads, n, width, count);
    return tnl_launched(call);
}

/* The call in float32, on copies of its tensors. */
template <typename T>
static tnl_status compute_wide(const tnl_call *call, const left_product_memory &m) {
    const tnl_operator_row *row = &tnl_operators[call->op];
    tnl_call wide = *call;
    wide.type = TNL_FLOAT32;
    for (int i = 0; i < row->argument_count; i++) {
        tnl_tensor *copy = &wide.tensor[i];
        if (!is_data(call, i))
            continue;
        const int64_t head = copy->shape[2] * copy->shape[3];
        *copy = {m.copy[i],
                 TNL_FLOAT32,
                 4,
                 {copy->shape[0], copy->shape[1], copy->shape[2], copy->shape[3]},
                 {copy->shape[1] * head, head, copy->shape[3], 1}};
        if (row->argument[i].role == TNL_INPUT)
            TRY((convert_tensor<float, T>(call, copy, &call->tensor[i])));
    }
    TRY(compute<float>(&wide, m));
    for (int i = 0; i < row->argument_count; i++)
        if (is_data(call, i) && row->argument[i].role != TNL_INPUT)
            TRY((convert_tensor<T, float>(call, &call->tensor[i], &wide.tensor[i])));
    return TNL_OK;
}

static tnl_status launch(const tnl_call *call) {
    const left_product_memory m(call, call->workspace);
    TRY(tnl_cublas_begin(call, m.cublas));
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        if constexpr (sizeof(T) < sizeof(float))
            if (is_wide(call))
                return compute_wide<T>(call, m);
        return compute<T>(call, m);
    });
}

const tnl_kernel tnl_cuda_attention_forward_left_product = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cuda_attention_backward_left_product = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
const tnl_kernel tnl_cuda_attention_forward_backward_left_product = {
    .launch = launch, .workspace = workspace, .rejects = rejects, .deterministic = true};
