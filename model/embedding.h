/* The embedding and the norm behind it, row by row: stream[i] = scale table[token[i]],
 * x[i] = SRMSNorm(stream[i]) with the default eps. */
#ifndef TNL_MODEL_EMBEDDING_H
#define TNL_MODEL_EMBEDDING_H

#include "core/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* table [vocab,D], token int32 [count], stream float32 [count,D] and x [count,D] of the table's
 * type: contiguous, on the context's device, and every token one of the table's. On CUDA queued on
 * the context's stream. */
tnl_status tnl_embed(tnl_context *context, const tnl_tensor *table, const int32_t *token,
                     int64_t count, float scale, float *stream, void *x);
tnl_status tnl_cuda_embed(tnl_context *context, const tnl_tensor *table, const int32_t *token,
                          int64_t count, float scale, float *stream, void *x);

#ifdef __cplusplus
}
#endif

#endif
