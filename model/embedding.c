/* The embedding on the CPU, and the way to the one on CUDA. */
#include "model/embedding.h"

#include "core/types.h"

static void embed_rows(const tnl_tensor *table, const int32_t *token, int64_t count, float scale,
                       float *y) {
    const int64_t width = table->shape[1];
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++) {
        const float *row = (const float *)table->data + token[i] * width;
        for (int64_t j = 0; j < width; j++)
            y[i * width + j] = scale * row[j];
    }
}

tnl_status tnl_embed(tnl_context *context, const tnl_tensor *table, const int32_t *token,
                     int64_t count, float scale, void *y) {
#ifdef TNL_WITH_CUDA
    if (context->device == TNL_CUDA)
        return tnl_cuda_embed(context, table, token, count, scale, y);
#endif
    if (table->type != TNL_FLOAT32)
        return tnl_fail(context, TNL_UNSUPPORTED, "embedding: type is %s, expected f32 on the CPU",
                        tnl_type_name(table->type));
    embed_rows(table, token, count, scale, y);
    return TNL_OK;
}
