/*
 * What the CPU rows of attention share: a call's tensors by name, a head's part of them as
 * matrices, and the products of one chunk of c tokens from which both rows are made. To the left
 * product a whole sequence is one chunk.
 *
 * With S the state before the chunk, M[i,j] = lambda^(i-j) for i >= j, else 0, and i = 0 .. c-1
 * the tokens, eq. 10 cut into chunks is
 *
 *     A  = (Q K^T) * M
 *     O  = A V + diag(lambda^(i+1)) Q S
 *     S' = lambda^c S + K^T diag(lambda^(c-1-i)) V
 *
 * and its gradients, with R' the gradient of S', are
 *
 *     dA = (dO V^T) * M
 *     dQ = dA K   + diag(lambda^(i+1)) dO S^T
 *     dK = dA^T Q + diag(lambda^(c-1-i)) V R'^T
 *     dV = A^T dO + diag(lambda^(c-1-i)) K R'
 *     R  = lambda^c R' + Q^T diag(lambda^(i+1)) dO
 *
 * Every power of lambda has an exponent >= 0: nothing divides by a decay.
 */
#ifndef TNL_KERNELS_ATTENTION_CPU_ATTENTION_H
#define TNL_KERNELS_ATTENTION_CPU_ATTENTION_H

#include <stdbool.h>

#include "core/call.h"

/* A call's tensors; those that are absent or that its operator does not have are NULL. */
typedef struct tnl_attention {
    const tnl_call *call;
    int cu_seqlens; /* its index in the call */
    int64_t sequences, heads, n, d, e;
    const tnl_tensor *q, *k, *v, *slope, *initial_state, *o, *final_state;
    const tnl_tensor *dout, *dfinal_state, *dq, *dk, *dv, *dinitial_state;
} tnl_attention;

/* One head of one sequence: a problem of its own. */
typedef struct tnl_head {
    int64_t sequence, head;
    int64_t batch, begin, tokens;
    double slope;
} tnl_head;

/* Rows of cols contiguous elements, ld apart. Where a state is asked for, data NULL is a zero one.
 */
typedef struct tnl_matrix {
    float *data;
    int64_t rows, cols, ld;
} tnl_matrix;

/*
 * The powers of one head's lambda, for chunks of up to `length` tokens. They run backwards in
 * memory, one[-p] = lambda^p, so that the first i + 1 factors in row i of M lie side by side at
 * one - i.
 */
typedef struct tnl_decay {
    const float *one;
    double slope;
} tnl_decay;

tnl_attention tnl_attention_of(const tnl_call *call);
/* NULL, or why the call can't be taken: a BLAS's limits, or a workspace of so many floats. */
const char *tnl_attention_rejects(const tnl_call *call, double workspace_floats);

tnl_head tnl_get_head(const tnl_attention *a, int64_t sequence, int64_t head);
/* Tokens [first, first + rows) of the head's sequence in a [b,h,n,.] tensor. */
tnl_matrix tnl_head_rows(const tnl_tensor *tensor, const tnl_head *head, int64_t first,
                         int64_t rows);
/* The head's matrix in a [s,h,d,e] tensor; tensor NULL: a zero one. */
tnl_matrix tnl_head_state(const tnl_tensor *tensor, const tnl_head *head);
/* A contiguous matrix in memory of one's own. */
tnl_matrix tnl_dense(float *data, int64_t rows, int64_t cols);

/* table: length + 1 floats. */
tnl_decay tnl_make_decay(float *table, int64_t length, double slope);
/* to = from. They may be the same. */
void tnl_copy_state(tnl_matrix to, tnl_matrix from);
/* to = lambda^tokens from, or (add) that much more. They may be the same. */
void tnl_carry_state(tnl_matrix to, tnl_matrix from, double slope, int64_t tokens, bool add);

/*
 * The steps of a chunk. Every matrix has the chunk's rows, `scores` is c x c, and `scratch` takes
 * c max(d,e) floats; it may be NULL where the state is zero.
 */
/* scores = (left right^T) * M: A from Q and K, dA from dO and V. */
void tnl_chunk_scores(tnl_matrix left, tnl_matrix right, tnl_decay decay, tnl_matrix scores);
/* O. Leaves A in scores. */
void tnl_chunk_o(tnl_matrix q, tnl_matrix k, tnl_matrix v, tnl_matrix state, tnl_decay decay,
                 tnl_matrix scores, float *scratch, tnl_matrix o);
/* dV, from A in scores; dstate is R'. */
void tnl_chunk_dv(tnl_matrix k, tnl_matrix dout, tnl_matrix dstate, tnl_decay decay,
                  tnl_matrix scores, float *scratch, tnl_matrix dv);
/* dK, from dA in scores. */
void tnl_chunk_dk(tnl_matrix q, tnl_matrix v, tnl_matrix dstate, tnl_decay decay, tnl_matrix scores,
                  float *scratch, tnl_matrix dk);
/* dQ in two parts: what comes through the state, which is not zero; and dA K, from dA in scores,
 * which is all of it or (add) what is added to the first. */
void tnl_chunk_dq_state(tnl_matrix dout, tnl_matrix state, tnl_decay decay, float *scratch,
                        tnl_matrix dq);
void tnl_chunk_dq_scores(tnl_matrix k, tnl_matrix scores, bool add, tnl_matrix dq);
/* S' from S, in place. */
void tnl_chunk_state(tnl_matrix k, tnl_matrix v, tnl_decay decay, float *scratch, tnl_matrix state);
/* R from R', in place. */
void tnl_chunk_dstate(tnl_matrix q, tnl_matrix dout, tnl_decay decay, float *scratch,
                      tnl_matrix dstate);

#endif
