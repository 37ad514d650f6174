/*
 * tnl.h - linear attention for TransNormerLLM: kernels without Triton, for C and C++.
 *
 * The equations and algorithms named here are those of "TransNormerLLM: A Faster and Better
 * Large Language Model with Improved TransNormer" (Qin et al.).
 *
 * How a call works. Every operator is one function. It takes a context (where to run), a struct
 * of named tensors (what to run on), and options (which variant, which workspace). A tensor is a
 * pointer, a type, a shape and strides; the operator's dimensions are read off the shapes, and
 * every shape is checked against them before anything runs:
 *
 *     tnl_context *context;
 *     tnl_context_create(TNL_CPU, 0, &context);
 *     tnl_attention_forward_args args = {
 *         .q = tnl_4d(q, TNL_FLOAT32, b, h, n, d),
 *         .k = tnl_4d(k, TNL_FLOAT32, b, h, n, d),
 *         .v = tnl_4d(v, TNL_FLOAT32, b, h, n, e),
 *         .slope = tnl_1d(slope, TNL_FLOAT32, h),
 *         .o = tnl_4d(o, TNL_FLOAT32, b, h, n, e),
 *     };                                             // tensors left out: absent
 *     size_t bytes;
 *     tnl_attention_forward_workspace(context, &args, NULL, &bytes);
 *     tnl_options options = {.workspace = aligned_alloc(TNL_WORKSPACE_ALIGNMENT, bytes),
 *                            .workspace_bytes = bytes};
 *     if (tnl_attention_forward(context, &args, &options) != TNL_OK)
 *         puts(tnl_context_error(context));
 *
 * What holds everywhere
 *
 *   Letters   b batch, h heads, n sequence length, d head dimension of Q and K, e head dimension
 *             of V, s sequences, m rows (tokens), D hidden dimension, g gated dimension,
 *             k features of a packed projection; f = d, or 2d where LRPE doubles it.
 *   Types     "data" tensors of a call share one type: float32, float16 or bfloat16. Slopes,
 *             angles, states and the angles' gradients are float32. Sums and states are
 *             accumulated in float32.
 *   Strides   In elements. The last dimension is contiguous (stride 1); the others are the
 *             caller's, so that [b,h,n,d], [b,n,h,d] and slices of a packed projection go in
 *             without a copy. No two elements of one tensor may share memory. All strides zero
 *             means contiguous. The stride of a dimension of size 1 is ignored.
 *   Sizes     At least 1 and at most 2^31 - 1 each.
 *   Alignment A pointer is aligned to its element; workspace to TNL_WORKSPACE_ALIGNMENT. A row
 *             that wants more says so and is passed over where the pointer has less.
 *   Overlap   No output may overlap another tensor or the workspace, with one exception: where a
 *             comment says "in place", the output may be that input exactly (same pointer, shape
 *             and strides). Interleaved slices of one packed buffer do not overlap.
 *   Where     On a CPU context all tensors are host memory, on a CUDA context device memory of
 *             the context's device, index tensors included. What index tensors and slopes hold
 *             is checked on a CPU context; on a CUDA context reading them would stop the stream,
 *             so there their contents are the caller's word.
 *   Packed    cu_seqlens, int32 [s+1], starts at 0, never decreases and ends at the number of
 *             tokens: sequence i owns tokens cu_seqlens[i] to cu_seqlens[i+1]-1 of a batch of 1.
 *             An empty sequence is allowed. Without it there is a sequence for each batch entry.
 *   Decay     One slope >= 0 a head: lambda = exp(-slope); slope 0 is no decay.
 *   Streams   A call on a CUDA context is asynchronous on the context's stream, never
 *             synchronises and can be captured into a CUDA graph. A call on a CPU context has
 *             finished when it returns.
 *   Memory    No call allocates after the context is made; workspace is the caller's, and may be
 *             reused as soon as the call's work has finished.
 *   Errors    Every argument is checked before anything runs: a call that returns anything but
 *             TNL_OK because of its arguments has written nothing. tnl_context_error() then names
 *             the argument, its value and what was expected. Nothing prints, nothing exits.
 *   Threads   A context belongs to one thread at a time; two contexts share nothing.
 */
#ifndef TNL_H
#define TNL_H

#include <stddef.h>
#include <stdint.h>

#define TNL_VERSION_MAJOR 0
#define TNL_VERSION_MINOR 1
#define TNL_VERSION_PATCH 0

#define TNL_WORKSPACE_ALIGNMENT 256 /* bytes */
#define TNL_DEFAULT_EPS 1e-6
#define TNL_MAX_RANK 4
#define TNL_MAX_POSITION ((int64_t)1 << 52)

#if defined(__GNUC__)
#define TNL_API __attribute__((visibility("default")))
#else
#define TNL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status, types, tensors ------------------------------------------------------------- */

typedef enum tnl_status {
    TNL_OK = 0,
    TNL_INVALID_ARGUMENT,    /* an argument is wrong; the context's error text names it */
    TNL_UNSUPPORTED,         /* no row, or not the row named, can run this call here */
    TNL_WORKSPACE_TOO_SMALL, /* fewer bytes than the _workspace function asks for */
    TNL_NO_DEVICE,           /* no such device, no driver, or built without CUDA */
    TNL_DEVICE_ERROR,        /* the device or one of its libraries reported a failure */
    TNL_OUT_OF_MEMORY,       /* only from functions that create or open something */
    TNL_FILE_ERROR           /* a file can't be read or written, or is not what it should be */
} tnl_status;

/* The status as a word, "TNL_OK" and so on; never NULL. */
TNL_API const char *tnl_status_name(tnl_status status);

typedef enum tnl_type {
    TNL_NO_TYPE = 0,
    TNL_FLOAT32,
    TNL_FLOAT16,  /* IEEE 754 binary16 */
    TNL_BFLOAT16, /* the upper half of a float32 */
    TNL_INT32,
    TNL_INT64
} tnl_type;

/* Bytes of an element; 0 for a value that is no type. */
TNL_API size_t tnl_type_size(tnl_type type);
/* "f32", "f16", "bf16", "i32", "i64"; "?" for a value that is no type. */
TNL_API const char *tnl_type_name(tnl_type type);

/* A view of the caller's memory. data NULL: the tensor is absent. Inputs are only read. */
typedef struct tnl_tensor {
    void *data;
    tnl_type type;
    int rank;
    int64_t shape[TNL_MAX_RANK];
    int64_t stride[TNL_MAX_RANK]; /* in elements; all zero: contiguous */
} tnl_tensor;

/* Contiguous tensors of 1 to 4 dimensions. For another layout set .stride. */
static inline tnl_tensor tnl_4d(const void *data, tnl_type type, int64_t n0, int64_t n1, int64_t n2,
                                int64_t n3) {
    tnl_tensor t = {(void *)data, type, 4, {n0, n1, n2, n3}, {0, 0, 0, 0}};
    return t;
}
static inline tnl_tensor tnl_3d(const void *data, tnl_type type, int64_t n0, int64_t n1,
                                int64_t n2) {
    tnl_tensor t = {(void *)data, type, 3, {n0, n1, n2, 0}, {0, 0, 0, 0}};
    return t;
}
static inline tnl_tensor tnl_2d(const void *data, tnl_type type, int64_t n0, int64_t n1) {
    tnl_tensor t = {(void *)data, type, 2, {n0, n1, 0, 0}, {0, 0, 0, 0}};
    return t;
}
static inline tnl_tensor tnl_1d(const void *data, tnl_type type, int64_t n0) {
    tnl_tensor t = {(void *)data, type, 1, {n0, 0, 0, 0}, {0, 0, 0, 0}};
    return t;
}

/* ---- context ---------------------------------------------------------------------------- */

typedef enum tnl_device { TNL_CPU = 0, TNL_CUDA } tnl_device;

typedef struct tnl_context tnl_context;

/*
 * Make a context for the CPU (index 0) or for CUDA device `index`; *context receives it, or NULL
 * on failure. Calls on the CPU use as many threads as OpenMP would at this moment.
 * TNL_NO_DEVICE: no such device, no driver, or a build without CUDA.
 * TNL_INVALID_ARGUMENT: context is NULL, or device is neither, or index is negative (for the
 * CPU: not 0).
 */
TNL_API tnl_status tnl_context_create(tnl_device device, int index, tnl_context **context);
/* NULL is allowed. On a CUDA context the work it has queued must have finished. */
TNL_API void tnl_context_destroy(tnl_context *context);
/* The cudaStream_t (as void *; NULL: the default stream) that later calls go to. A CPU context
 * takes only NULL: TNL_INVALID_ARGUMENT. */
TNL_API tnl_status tnl_context_set_stream(tnl_context *context, void *stream);
/* The text of this context's last error, "" where there was none since it was made; valid until
 * the next call on the context. With context NULL: a text that says so. */
TNL_API const char *tnl_context_error(const tnl_context *context);

/* How a call runs. A NULL pointer to options is the same as {0}. */
typedef struct tnl_options {
    const char *variant;    /* a row's name; NULL: the table chooses */
    void *workspace;        /* may be NULL where 0 bytes are needed */
    size_t workspace_bytes; /* at least what the operator's _workspace function gives */
} tnl_options;

/* ---- slopes ----------------------------------------------------------------------------- */

/*
 * Equation 2: slopes[i] = 8 (i+1) / heads * (1 - (layer+1) / layers), i = 0 .. heads-1, so that
 * the last layer has slope 0. layer counts from 0; the paper's h and l count from 1.
 * TNL_INVALID_ARGUMENT: heads or layers < 1, layer not in [0, layers), slopes NULL; then nothing
 * is written.
 */
TNL_API tnl_status tnl_slopes_paper(int heads, int layers, int layer, float *slopes);
/*
 * The slopes of the published checkpoints: ALiBi's, times 1 - layer / (layers-1) + 1e-5 (with one
 * layer: 1 + 1e-5). ALiBi's are 2^(-8 (i+1) / heads) where heads is a power of two; otherwise
 * those of the next lower power of two p, followed by every other one of 2p's until there are
 * `heads`. Errors as above.
 */
TNL_API tnl_status tnl_slopes_released(int heads, int layers, int layer, float *slopes);

/* ---- operators -------------------------------------------------------------------------- */
/*
 * Each operator has a function that runs it and one, _workspace, that says how many bytes of
 * workspace the same call needs (*bytes; options may name the variant; the data pointers must be
 * those of the call or others of the same alignment). Both return
 *   TNL_OK
 *   TNL_INVALID_ARGUMENT     an argument is NULL, misshapen, mistyped, misaligned or overlaps
 *   TNL_UNSUPPORTED          no row supports the call, or the one named does not
 *   TNL_WORKSPACE_TOO_SMALL  (the function itself)
 *   TNL_DEVICE_ERROR
 *
 * An args struct is a row of tensors, in the order of the operator's table, and then its scalars.
 * In the comments: "out" is written, "opt" may be absent, everything else is required and read.
 */

/* y = x / sqrt(mean(x^2) + eps) for each row (eq. 8). */
typedef struct tnl_srmsnorm_forward_args {
    tnl_tensor x; /* data [m,D] */
    tnl_tensor y; /* out, data [m,D]; in place of x */
    double eps;   /* > 0; 0 stands for TNL_DEFAULT_EPS */
} tnl_srmsnorm_forward_args;
TNL_API tnl_status tnl_srmsnorm_forward(tnl_context *, const tnl_srmsnorm_forward_args *,
                                        const tnl_options *);
TNL_API tnl_status tnl_srmsnorm_forward_workspace(tnl_context *, const tnl_srmsnorm_forward_args *,
                                                  const tnl_options *, size_t *bytes);

/* With r = 1/sqrt(mean(x^2) + eps): dx = r dy - x r^3 mean(x dy), from eq. 8. */
typedef struct tnl_srmsnorm_backward_args {
    tnl_tensor x;  /* data [m,D] */
    tnl_tensor dy; /* data [m,D] */
    tnl_tensor dx; /* out, data [m,D]; in place of dy */
    double eps;
} tnl_srmsnorm_backward_args;
TNL_API tnl_status tnl_srmsnorm_backward(tnl_context *, const tnl_srmsnorm_backward_args *,
                                         const tnl_options *);
TNL_API tnl_status tnl_srmsnorm_backward_workspace(tnl_context *,
                                                   const tnl_srmsnorm_backward_args *,
                                                   const tnl_options *, size_t *bytes);

/* The pre-norm of eq. 9: residual_out = residual + x, y = SRMSNorm(residual_out). The sums of many
 * layers lose less in a float32 residual than in a smaller type, and with an x that was not rounded
 * (sglu_down's y may be float32); y is made from the sum before it is rounded. */
typedef struct tnl_srmsnorm_residual_forward_args {
    tnl_tensor residual;     /* data or float32 [m,D] */
    tnl_tensor x;            /* data or float32 [m,D] */
    tnl_tensor residual_out; /* out, of residual's type [m,D]; in place of residual */
    tnl_tensor y;            /* out, data [m,D]; in place of x of that type */
    double eps;
} tnl_srmsnorm_residual_forward_args;
TNL_API tnl_status tnl_srmsnorm_residual_forward(tnl_context *,
                                                 const tnl_srmsnorm_residual_forward_args *,
                                                 const tnl_options *);
TNL_API tnl_status tnl_srmsnorm_residual_forward_workspace(
    tnl_context *, const tnl_srmsnorm_residual_forward_args *, const tnl_options *, size_t *bytes);

/* dx = SRMSNorm's gradient at residual_out for dy, plus dresidual_out. It is the gradient of
 * residual and of x alike. */
typedef struct tnl_srmsnorm_residual_backward_args {
    tnl_tensor residual_out;  /* data [m,D], as the forward pass wrote it */
    tnl_tensor dy;            /* data [m,D] */
    tnl_tensor dresidual_out; /* opt, data [m,D]; absent: zero */
    tnl_tensor dx;            /* out, data [m,D]; in place of dresidual_out */
    double eps;
} tnl_srmsnorm_residual_backward_args;
TNL_API tnl_status tnl_srmsnorm_residual_backward(tnl_context *,
                                                  const tnl_srmsnorm_residual_backward_args *,
                                                  const tnl_options *);
TNL_API tnl_status tnl_srmsnorm_residual_backward_workspace(
    tnl_context *, const tnl_srmsnorm_residual_backward_args *, const tnl_options *, size_t *bytes);

/* y = SRMSNorm(x) * u, elementwise (eq. 3). */
typedef struct tnl_srmsnorm_gate_forward_args {
    tnl_tensor x; /* data [m,D] */
    tnl_tensor u; /* data [m,D] */
    tnl_tensor y; /* out, data [m,D]; in place of x */
    double eps;
} tnl_srmsnorm_gate_forward_args;
TNL_API tnl_status tnl_srmsnorm_gate_forward(tnl_context *, const tnl_srmsnorm_gate_forward_args *,
                                             const tnl_options *);
TNL_API tnl_status tnl_srmsnorm_gate_forward_workspace(tnl_context *,
                                                       const tnl_srmsnorm_gate_forward_args *,
                                                       const tnl_options *, size_t *bytes);

/* du = SRMSNorm(x) * dy; dx = SRMSNorm's gradient at x for u * dy. */
typedef struct tnl_srmsnorm_gate_backward_args {
    tnl_tensor x;  /* data [m,D] */
    tnl_tensor u;  /* data [m,D] */
    tnl_tensor dy; /* data [m,D] */
    tnl_tensor dx; /* out, data [m,D] */
    tnl_tensor du; /* out, data [m,D] */
    double eps;
} tnl_srmsnorm_gate_backward_args;
TNL_API tnl_status tnl_srmsnorm_gate_backward(tnl_context *,
                                              const tnl_srmsnorm_gate_backward_args *,
                                              const tnl_options *);
TNL_API tnl_status tnl_srmsnorm_gate_backward_workspace(tnl_context *,
                                                        const tnl_srmsnorm_gate_backward_args *,
                                                        const tnl_options *, size_t *bytes);

/*
 * The activation of the packed Q, K, V, U projection: swish on Q and K (eq. 4), and then, where
 * theta is given, LRPE (eq. 1, its real part): x -> [x cos(theta t) | x sin(theta t)], which
 * doubles d. t is the absolute position: positions[sequence] + the token's place in its sequence,
 * from 0. V and U pass unchanged and are no arguments.
 */
typedef struct tnl_qkvu_activation_forward_args {
    tnl_tensor q;          /* data [b,h,n,d] */
    tnl_tensor k;          /* data [b,h,n,d] */
    tnl_tensor theta;      /* opt, float32 [h,d]; absent: no LRPE */
    tnl_tensor positions;  /* opt, int64 [s], in [0, TNL_MAX_POSITION]: each sequence's first
                              position; absent: 0 */
    tnl_tensor cu_seqlens; /* opt, int32 [s+1] */
    tnl_tensor q_out;      /* out, data [b,h,n,f], f = d without theta, 2d with; in place of q */
    tnl_tensor k_out;      /* out, data [b,h,n,f]; in place of k */
} tnl_qkvu_activation_forward_args;
TNL_API tnl_status tnl_qkvu_activation_forward(tnl_context *,
                                               const tnl_qkvu_activation_forward_args *,
                                               const tnl_options *);
TNL_API tnl_status tnl_qkvu_activation_forward_workspace(tnl_context *,
                                                         const tnl_qkvu_activation_forward_args *,
                                                         const tnl_options *, size_t *bytes);

typedef struct tnl_qkvu_activation_backward_args {
    tnl_tensor q;          /* data [b,h,n,d], as it went into the forward pass */
    tnl_tensor k;          /* data [b,h,n,d] */
    tnl_tensor theta;      /* opt, float32 [h,d] */
    tnl_tensor positions;  /* opt, int64 [s] */
    tnl_tensor cu_seqlens; /* opt, int32 [s+1] */
    tnl_tensor dq_out;     /* data [b,h,n,f] */
    tnl_tensor dk_out;     /* data [b,h,n,f] */
    tnl_tensor dq;         /* out, data [b,h,n,d]; in place of dq_out */
    tnl_tensor dk;         /* out, data [b,h,n,d]; in place of dk_out */
    tnl_tensor dtheta;     /* out, opt, float32 [h,d], summed over Q, K and all tokens; with theta
                              only */
} tnl_qkvu_activation_backward_args;
TNL_API tnl_status tnl_qkvu_activation_backward(tnl_context *,
                                                const tnl_qkvu_activation_backward_args *,
                                                const tnl_options *);
TNL_API tnl_status tnl_qkvu_activation_backward_workspace(tnl_context *,
                                                          const tnl_qkvu_activation_backward_args *,
                                                          const tnl_options *, size_t *bytes);

/*
 * O = (Q K^T * M) V, M[s,t] = lambda^(s-t) for s >= t, else 0 (eq. 10); no scale, no softmax.
 * With a state S0 handed in, S_t = lambda S_{t-1} + k_t^T v_t and o_t = q_t S_t; final_state is
 * the S of each sequence's last token, so that a sequence may be cut anywhere.
 */
typedef struct tnl_attention_forward_args {
    tnl_tensor q;             /* data [b,h,n,d] */
    tnl_tensor k;             /* data [b,h,n,d] */
    tnl_tensor v;             /* data [b,h,n,e] */
    tnl_tensor slope;         /* float32 [h], >= 0 and finite */
    tnl_tensor cu_seqlens;    /* opt, int32 [s+1]; then b = 1; without it s = b */
    tnl_tensor initial_state; /* opt, float32 [s,h,d,e]; absent: zero */
    tnl_tensor o;             /* out, data [b,h,n,e] */
    tnl_tensor final_state;   /* out, opt, float32 [s,h,d,e]; in place of initial_state */
} tnl_attention_forward_args;
TNL_API tnl_status tnl_attention_forward(tnl_context *, const tnl_attention_forward_args *,
                                         const tnl_options *);
TNL_API tnl_status tnl_attention_forward_workspace(tnl_context *,
                                                   const tnl_attention_forward_args *,
                                                   const tnl_options *, size_t *bytes);

/* The gradients of the above for the output's gradient `dout` and the final state's. */
typedef struct tnl_attention_backward_args {
    tnl_tensor q;              /* data [b,h,n,d] */
    tnl_tensor k;              /* data [b,h,n,d] */
    tnl_tensor v;              /* data [b,h,n,e] */
    tnl_tensor slope;          /* float32 [h] */
    tnl_tensor cu_seqlens;     /* opt, int32 [s+1] */
    tnl_tensor initial_state;  /* opt, float32 [s,h,d,e] */
    tnl_tensor dout;           /* data [b,h,n,e] */
    tnl_tensor dfinal_state;   /* opt, float32 [s,h,d,e]; absent: zero */
    tnl_tensor dq;             /* out, data [b,h,n,d] */
    tnl_tensor dk;             /* out, data [b,h,n,d] */
    tnl_tensor dv;             /* out, data [b,h,n,e] */
    tnl_tensor dinitial_state; /* out, opt, float32 [s,h,d,e]; in place of dfinal_state */
} tnl_attention_backward_args;
TNL_API tnl_status tnl_attention_backward(tnl_context *, const tnl_attention_backward_args *,
                                          const tnl_options *);
TNL_API tnl_status tnl_attention_backward_workspace(tnl_context *,
                                                    const tnl_attention_backward_args *,
                                                    const tnl_options *, size_t *bytes);

/* Forward and then backward in one call, keeping in the workspace what the forward pass can save
 * for the backward one: the work of a training step, as figure 3 measures it. */
typedef struct tnl_attention_forward_backward_args {
    tnl_tensor q;          /* data [b,h,n,d] */
    tnl_tensor k;          /* data [b,h,n,d] */
    tnl_tensor v;          /* data [b,h,n,e] */
    tnl_tensor slope;      /* float32 [h] */
    tnl_tensor cu_seqlens; /* opt, int32 [s+1] */
    tnl_tensor dout;       /* data [b,h,n,e] */
    tnl_tensor o;          /* out, data [b,h,n,e] */
    tnl_tensor dq;         /* out, data [b,h,n,d] */
    tnl_tensor dk;         /* out, data [b,h,n,d] */
    tnl_tensor dv;         /* out, data [b,h,n,e] */
} tnl_attention_forward_backward_args;
TNL_API tnl_status tnl_attention_forward_backward(tnl_context *,
                                                  const tnl_attention_forward_backward_args *,
                                                  const tnl_options *);
TNL_API tnl_status tnl_attention_forward_backward_workspace(
    tnl_context *, const tnl_attention_forward_backward_args *, const tnl_options *, size_t *bytes);

/*
 * The channel mixer SGLU (eq. 5): Y = ((X Wv) * (X Wu)) Wo. Weights have PyTorch's order, [out,
 * in]: wv and wu are [g,D], wo is [D,g]. sglu_gate gives the product, sglu_down its projection,
 * sglu_forward both. v = X Wv and u = X Wu are written where asked for (both or neither), for the
 * backward pass.
 */
typedef struct tnl_sglu_gate_args {
    tnl_tensor x;  /* data [m,D] */
    tnl_tensor wv; /* data [g,D] */
    tnl_tensor wu; /* data [g,D] */
    tnl_tensor p;  /* out, data [m,g]: v * u */
    tnl_tensor v;  /* out, opt, data [m,g] */
    tnl_tensor u;  /* out, opt, data [m,g] */
} tnl_sglu_gate_args;
TNL_API tnl_status tnl_sglu_gate(tnl_context *, const tnl_sglu_gate_args *, const tnl_options *);
TNL_API tnl_status tnl_sglu_gate_workspace(tnl_context *, const tnl_sglu_gate_args *,
                                           const tnl_options *, size_t *bytes);

/* Y = P Wo; as a plain projection it also serves the token mixer's output. */
typedef struct tnl_sglu_down_args {
    tnl_tensor p;  /* data [m,g] */
    tnl_tensor wo; /* data [D,g] */
    tnl_tensor y;  /* out, data or float32 [m,D] */
} tnl_sglu_down_args;
TNL_API tnl_status tnl_sglu_down(tnl_context *, const tnl_sglu_down_args *, const tnl_options *);
TNL_API tnl_status tnl_sglu_down_workspace(tnl_context *, const tnl_sglu_down_args *,
                                           const tnl_options *, size_t *bytes);

typedef struct tnl_sglu_forward_args {
    tnl_tensor x;  /* data [m,D] */
    tnl_tensor wv; /* data [g,D] */
    tnl_tensor wu; /* data [g,D] */
    tnl_tensor wo; /* data [D,g] */
    tnl_tensor y;  /* out, data [m,D] */
    tnl_tensor v;  /* out, opt, data [m,g] */
    tnl_tensor u;  /* out, opt, data [m,g] */
} tnl_sglu_forward_args;
TNL_API tnl_status tnl_sglu_forward(tnl_context *, const tnl_sglu_forward_args *,
                                    const tnl_options *);
TNL_API tnl_status tnl_sglu_forward_workspace(tnl_context *, const tnl_sglu_forward_args *,
                                              const tnl_options *, size_t *bytes);

/* The gradients of X, Wv, Wu and Wo. v and u are the forward pass's, both or neither; without
 * them they are computed again. */
typedef struct tnl_sglu_backward_args {
    tnl_tensor x;   /* data [m,D] */
    tnl_tensor wv;  /* data [g,D] */
    tnl_tensor wu;  /* data [g,D] */
    tnl_tensor wo;  /* data [D,g] */
    tnl_tensor v;   /* opt, data [m,g] */
    tnl_tensor u;   /* opt, data [m,g] */
    tnl_tensor dy;  /* data [m,D] */
    tnl_tensor dx;  /* out, data [m,D] */
    tnl_tensor dwv; /* out, data [g,D] */
    tnl_tensor dwu; /* out, data [g,D] */
    tnl_tensor dwo; /* out, data [D,g] */
} tnl_sglu_backward_args;
TNL_API tnl_status tnl_sglu_backward(tnl_context *, const tnl_sglu_backward_args *,
                                     const tnl_options *);
TNL_API tnl_status tnl_sglu_backward_workspace(tnl_context *, const tnl_sglu_backward_args *,
                                               const tnl_options *, size_t *bytes);

/*
 * The packed projection of the token mixer (eq. 4), activation included: X W^T has k features,
 * Q, K, V and U side by side, k/4 each; Q and K then get swish, and where theta is given LRPE
 * (see qkvu_activation), head by head: head j of Q is the 2d features from 2dj on. So a row of y
 * is Q | K | V | U of widths k/4 each without theta, k/2, k/2, k/4, k/4 with. Rows are tokens,
 * one sequence of m, or those that cu_seqlens says.
 */
typedef struct tnl_qkvu_projection_forward_args {
    tnl_tensor x;             /* data [m,D] */
    tnl_tensor w;             /* data [k,D]; k a multiple of 4 */
    tnl_tensor theta;         /* opt, float32 [h,d], 4 h d = k */
    tnl_tensor positions;     /* opt, int64 [s] */
    tnl_tensor cu_seqlens;    /* opt, int32 [s+1] */
    tnl_tensor y;             /* out, data [m,c]: c = k without theta, 3k/2 with */
    tnl_tensor preactivation; /* out, opt, data [m,k/2]: Q and K before swish, for backward */
} tnl_qkvu_projection_forward_args;
TNL_API tnl_status tnl_qkvu_projection_forward(tnl_context *,
                                               const tnl_qkvu_projection_forward_args *,
                                               const tnl_options *);
TNL_API tnl_status tnl_qkvu_projection_forward_workspace(tnl_context *,
                                                         const tnl_qkvu_projection_forward_args *,
                                                         const tnl_options *, size_t *bytes);

typedef struct tnl_qkvu_projection_backward_args {
    tnl_tensor x;             /* data [m,D] */
    tnl_tensor w;             /* data [k,D] */
    tnl_tensor theta;         /* opt, float32 [h,d] */
    tnl_tensor positions;     /* opt, int64 [s] */
    tnl_tensor cu_seqlens;    /* opt, int32 [s+1] */
    tnl_tensor preactivation; /* opt, data [m,k/2], the forward pass's; absent: computed again */
    tnl_tensor dy;            /* data [m,c] */
    tnl_tensor dx;            /* out, data [m,D] */
    tnl_tensor dw;            /* out, data [k,D] */
    tnl_tensor dtheta;        /* out, opt, float32 [h,d]; with theta only */
} tnl_qkvu_projection_backward_args;
TNL_API tnl_status tnl_qkvu_projection_backward(tnl_context *,
                                                const tnl_qkvu_projection_backward_args *,
                                                const tnl_options *);
TNL_API tnl_status tnl_qkvu_projection_backward_workspace(tnl_context *,
                                                          const tnl_qkvu_projection_backward_args *,
                                                          const tnl_options *, size_t *bytes);

/*
 * One token for each of b slots (Algorithm 2): swish and LRPE on q and k as in qkvu_activation,
 * then state[slot] <- lambda state[slot] + k^T v and o = q state[slot], the state in place.
 * The variant `origin` is Algorithm 1: its state is the paper's [kv]_t, which holds
 * lambda^-t times the one above and overflows; it is there to be looked at, never chosen.
 */
typedef struct tnl_decode_args {
    tnl_tensor q;         /* data [b,h,d], before swish */
    tnl_tensor k;         /* data [b,h,d], before swish */
    tnl_tensor v;         /* data [b,h,e] */
    tnl_tensor slope;     /* float32 [h], >= 0 and finite */
    tnl_tensor theta;     /* opt, float32 [h,d]; absent: no LRPE */
    tnl_tensor positions; /* opt, int64 [b], from 0: each token's position; absent: 0 */
    tnl_tensor slots;     /* opt, int32 [b], in [-1, slots): -1 skips the token, whose o is then
                             left as it was; no slot twice; absent: 0, 1, .. b-1 */
    tnl_tensor state;     /* read and written, float32 [slots,h,f,e], f = d, with theta 2d */
    tnl_tensor o;         /* out, data [b,h,e] */
} tnl_decode_args;
TNL_API tnl_status tnl_decode(tnl_context *, const tnl_decode_args *, const tnl_options *);
TNL_API tnl_status tnl_decode_workspace(tnl_context *, const tnl_decode_args *, const tnl_options *,
                                        size_t *bytes);

/* ---- the table of operators and variants ------------------------------------------------ */

typedef enum tnl_operator {
    TNL_SRMSNORM_FORWARD = 0,
    TNL_SRMSNORM_BACKWARD,
    TNL_SRMSNORM_RESIDUAL_FORWARD,
    TNL_SRMSNORM_RESIDUAL_BACKWARD,
    TNL_SRMSNORM_GATE_FORWARD,
    TNL_SRMSNORM_GATE_BACKWARD,
    TNL_QKVU_ACTIVATION_FORWARD,
    TNL_QKVU_ACTIVATION_BACKWARD,
    TNL_ATTENTION_FORWARD,
    TNL_ATTENTION_BACKWARD,
    TNL_ATTENTION_FORWARD_BACKWARD,
    TNL_SGLU_GATE,
    TNL_SGLU_DOWN,
    TNL_SGLU_FORWARD,
    TNL_SGLU_BACKWARD,
    TNL_QKVU_PROJECTION_FORWARD,
    TNL_QKVU_PROJECTION_BACKWARD,
    TNL_DECODE,
    TNL_OPERATOR_COUNT
} tnl_operator;

typedef struct tnl_operator_info {
    const char *name;       /* "attention_forward" */
    const char *definition; /* "O = (Q K^T * M) V" */
    int argument_count;     /* tensors */
    int variant_count;
} tnl_operator_info;

typedef enum tnl_role { TNL_INPUT = 0, TNL_OUTPUT, TNL_IN_OUT } tnl_role;

typedef struct tnl_argument_info {
    const char *name;
    tnl_role role;
    int optional;
    tnl_type type;  /* TNL_NO_TYPE: the call's data type */
    char shape[32]; /* "[b,h,n,d]" */
    int or_float32; /* float32 will do, too, where the data type is a smaller one */
} tnl_argument_info;

typedef struct tnl_variant_info {
    const char *name;       /* "chunked" */
    const char *summary;    /* how it works, one line */
    tnl_device device;      /* where it runs */
    int compute_capability; /* the lowest CUDA one, 90 for 9.0; 0 on the CPU */
    unsigned types;         /* 1u << tnl_type for each data type it takes */
    int built;              /* 0: left out of this build (no CUDA compiler) */
} tnl_variant_info;

/* Fill *info. TNL_INVALID_ARGUMENT: no such operator, argument or variant, or info NULL; then
 * *info is untouched. Variants come in rising order of preference. */
TNL_API tnl_status tnl_get_operator(tnl_operator operator_, tnl_operator_info *info);
TNL_API tnl_status tnl_get_argument(tnl_operator operator_, int index, tnl_argument_info *info);
TNL_API tnl_status tnl_get_variant(tnl_operator operator_, int index, tnl_variant_info *info);

/* "0.1.0" */
TNL_API const char *tnl_version(void);

#ifdef __cplusplus
}
#endif

#endif
