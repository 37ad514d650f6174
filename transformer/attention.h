/*
 * Softmax attention with a key-value cache, and the rotary positions (RoPE) of its queries and
 * keys: o = softmax(q K^T / sqrt(d)) V over the token itself and all before it, d = 128.
 *
 * The cache of a sequence has the rotated keys and the values of each head in rows, one a token:
 * k and v are [sequences, heads, capacity, d], contiguous. A call brings the new tokens' rows in
 * and attends; the tokens come as the packed projection has them, rows of Q | K | V, and Q may be
 * rotated where it lies. RoPE turns elements i and i + d/2 of a row, as a point in the plane, by
 * position 10000^(-2i/d).
 */
#ifndef TNL_TRANSFORMER_ATTENTION_H
#define TNL_TRANSFORMER_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "core/context.h"

enum { ATTENTION_DIM = 128, ATTENTION_PAIRS = ATTENTION_DIM / 2 };

typedef struct attention_call {
    tnl_context *context;
    int heads;
    int64_t capacity;
    void *packed; /* [rows, 3 heads d] */
    void *k, *v;  /* the first sequence's cache */
    void *o;      /* [rows, heads d] */
    void *workspace;
    int64_t rows;
    const int64_t *positions;      /* decoding: each row's, in its own sequence; on the device */
    int64_t longest;               /* the largest of them */
    int64_t first;                 /* prefilling: the first row's; the others follow it */
    double turns[ATTENTION_PAIRS]; /* whole turns of each pair from one position to the next */
} attention_call;

/* turns of a call. */
void attention_set_turns(attention_call *call);

/* Decoding: row i is the next token of sequence i. Prefilling: all rows are of one sequence. Of
 * bfloat16 on CUDA, queued on the context's stream, and of float32 on the CPU. The workspace, from
 * so many bytes for at most `rows` sequences, is zeroed once before it is first used; prefilling
 * takes none. On CUDA the positions, and the cache's rows of tokens before these, must be there
 * before the last kernel that was queued begins. */
size_t attention_workspace(const tnl_context *context, int heads, int64_t rows);
tnl_status attention_decode(const attention_call *call);
tnl_status attention_prefill(const attention_call *call);
/* Over how many blocks decoding splits a head's tokens: all that a position changes in what is
 * launched. */
int attention_splits(const attention_call *call);

#ifdef __cplusplus
extern "C" {
#endif

size_t attention_cuda_workspace(const tnl_context *context, int heads, int64_t rows);
int attention_cuda_splits(const attention_call *call);
tnl_status attention_cuda_decode(const attention_call *call);
tnl_status attention_cuda_prefill(const attention_call *call);

#ifdef __cplusplus
}
#endif

#endif
