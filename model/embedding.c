/* The embedding on the CPU, and the way to the one on CUDA. */
#include "model/embedding.h"

#include <math.h>

#include "core/types.h"

static void embed_rows(const tnl_tensor *table, const int32_t *token, int64_t count, float scale,
                       float *stream, float *x) {
    const int64_t width = table->shape[1];
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++) {
        const float *row = (const float *)table->data + token[i] * width;
        float *to = stream + i * width;
        double squares = 0;
        for (int64_t j = 0; j < width; j++) {
            to[j] = scale * row[j];
            squares += (double)to[j] * (double)to[j];
        }
        const double r = 1 / sqrt(squares / (double)width + TNL_DEFAULT_EPS);
        for (int64_t j = 0; j < width; j++)
            x[i * width + j] = (float)(r * (double)to[j]);
    }
}

tnl_status tnl_embed(tnl_context *context, const tnl_tensor *table, const int32_t *token,
                     int64_t count, float scale, float *stream, void *x) {
#ifdef TNL_WITH_CUDA
    if (context->device == TNL_CUDA)
        return tnl_cuda_embed(context, table, token, count, scale, stream, x);
#endif
    if (table->type != TNL_FLOAT32)
        return tnl_fail(context, TNL_UNSUPPORTED, "embedding: type is %s, expected f32 on the CPU",
                        tnl_type_name(table->type));
    embed_rows(table, token, count, scale, stream, x);
    return TNL_OK;
}
