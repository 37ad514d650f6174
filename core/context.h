/* The context behind tnl_context, and how errors get into it. */
#ifndef TNL_CORE_CONTEXT_H
#define TNL_CORE_CONTEXT_H

#include "tnl.h"

struct tnl_context {
    tnl_device device;
    int index;
    int threads;            /* CPU: how many a call may use */
    int compute_capability; /* CUDA: 90 for 9.0; CPU: 0 */
    int multiprocessors;    /* CUDA */
    void *stream;           /* CUDA: cudaStream_t */
    void *cublas;           /* CUDA: cublasHandle_t */
    char error[1024];
};

#ifdef __cplusplus
extern "C" {
#endif

/* Set the context's error text and return the status. context may be NULL: no text. */
__attribute__((format(printf, 3, 4))) tnl_status tnl_fail(tnl_context *context, tnl_status status,
                                                          const char *format, ...);

#ifdef __cplusplus
}
#endif

#endif
