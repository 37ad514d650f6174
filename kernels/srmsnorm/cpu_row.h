/*
 * How the fused SRMSNorm variants go through a matrix: a thread has some of its rows, and of a row
 * first makes the sums (cpu_sums.h) and then, element by element, the results. Those are written a
 * block at a time, past the cache where that pays (kernels/common/cpu_stream.h).
 */
#ifndef TNL_SRMSNORM_CPU_ROW_H
#define TNL_SRMSNORM_CPU_ROW_H

#include "core/kernels.h"
#include "kernels/srmsnorm/cpu_sums.h"

/* A row's inputs, as the variant means them, and what is known of the whole row. */
typedef struct tnl_norm_row {
    const float *a, *b, *c;
    tnl_norm_gradient sums; /* forward: r alone */
} tnl_norm_row;

/* An element's one or two results. */
typedef struct tnl_pair {
    double first, second;
} tnl_pair;

typedef tnl_pair tnl_element(const tnl_norm_row *row, int64_t i);

/* y = the first results of a row, and z, unless it is NULL, the second. An output may be an input.
 * Inline, so that `element` is in the loop itself. */
static inline __attribute__((always_inline)) void tnl_write_row(const tnl_norm_row *row,
                                                                tnl_element *element, int64_t width,
                                                                bool stream, float *y, float *z) {
    _Alignas(32) float y_buffer[TNL_BLOCK], z_buffer[TNL_BLOCK];
    for (int64_t i = 0; i < width; i += TNL_BLOCK) {
        const int64_t count = width - i < TNL_BLOCK ? width - i : TNL_BLOCK;
        float *to_y = stream ? y_buffer : y + i;
        float *to_z = z && !stream ? z + i : z_buffer;
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            const tnl_pair result = element(row, i + j);
            to_y[j] = (float)result.first;
            if (z)
                to_z[j] = (float)result.second;
        }
        if (stream)
            tnl_stream(y + i, y_buffer, count);
        if (stream && z)
            tnl_stream(z + i, z_buffer, count);
    }
}

/* at: the row of each tensor of the call, NULL where that is absent. */
typedef void tnl_row_function(float *const *at, int64_t width, double eps, bool stream);

/* f of every row of a call all of whose tensors are [m,D]. */
static inline tnl_status tnl_for_rows(const tnl_call *call, bool stream, tnl_row_function *f) {
    const int64_t m = call->dim[DIM_M], width = call->dim[DIM_HIDDEN];
#pragma omp parallel
    {
#pragma omp for nowait
        for (int64_t row = 0; row < m; row++) {
            float *at[TNL_MAX_TENSORS];
            for (int i = 0; i < TNL_MAX_TENSORS; i++) {
                const tnl_tensor *tensor = &call->tensor[i];
                at[i] = tensor->data ? (float *)tensor->data + row * tensor->stride[0] : NULL;
            }
            f(at, width, call->eps, stream);
        }
        tnl_stream_fence();
    }
    return TNL_OK;
}

#endif
