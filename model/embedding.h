/* The embedding: y[i] = scale table[token[i]], row by row, in the table's type. */
#ifndef TNL_MODEL_EMBEDDING_H
#define TNL_MODEL_EMBEDDING_H

#include "core/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* table [vocab,D] and y [count,D], both contiguous, token int32 [count]: on the context's device,
 * and every token one of the table's. On CUDA queued on the context's stream. */
tnl_status tnl_embed(tnl_context *context, const tnl_tensor *table, const int32_t *token,
                     int64_t count, float scale, void *y);
tnl_status tnl_cuda_embed(tnl_context *context, const tnl_tensor *table, const int32_t *token,
                          int64_t count, float scale, void *y);

#ifdef __cplusplus
}
#endif

#endif
