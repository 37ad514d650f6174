/* Contexts, error texts and what else of tnl.h belongs to no operator. */
#include "core/context.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/cuda.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

tnl_status tnl_fail(tnl_context *context, tnl_status status, const char *format, ...) {
    if (context) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(context->error, sizeof context->error, format, arguments);
        va_end(arguments);
    }
    return status;
}

tnl_status tnl_context_create(tnl_device device, int index, tnl_context **context) {
    if (!context)
        return TNL_INVALID_ARGUMENT;
    *context = NULL;
    if ((device != TNL_CPU && device != TNL_CUDA) || index < 0 || (device == TNL_CPU && index > 0))
        return TNL_INVALID_ARGUMENT;
    tnl_context *made = calloc(1, sizeof *made);
    if (!made)
        return TNL_OUT_OF_MEMORY;
    made->device = device;
    made->index = index;
    made->threads = omp_get_max_threads();
    tnl_status status = device == TNL_CUDA ? tnl_cuda_open(made) : TNL_OK;
    if (status == TNL_OK)
        *context = made;
    else
        free(made);
    return status;
}

void tnl_context_destroy(tnl_context *context) {
    if (context && context->device == TNL_CUDA)
        tnl_cuda_close(context);
    free(context);
}

tnl_status tnl_context_set_stream(tnl_context *context, void *stream) {
    if (!context)
        return TNL_INVALID_ARGUMENT;
    if (context->device == TNL_CPU && stream)
        return tnl_fail(context, TNL_INVALID_ARGUMENT,
                        "tnl_context_set_stream: stream is %p, expected NULL on a CPU context",
                        stream);
    context->stream = stream;
    return TNL_OK;
}

const char *tnl_context_error(const tnl_context *context) {
    return context ? context->error : "context is NULL, expected one from tnl_context_create";
}

const char *tnl_status_name(tnl_status status) {
    static const char *const name[] = {
        [TNL_OK] = "TNL_OK",
        [TNL_INVALID_ARGUMENT] = "TNL_INVALID_ARGUMENT",
        [TNL_UNSUPPORTED] = "TNL_UNSUPPORTED",
        [TNL_WORKSPACE_TOO_SMALL] = "TNL_WORKSPACE_TOO_SMALL",
        [TNL_NO_DEVICE] = "TNL_NO_DEVICE",
        [TNL_DEVICE_ERROR] = "TNL_DEVICE_ERROR",
        [TNL_OUT_OF_MEMORY] = "TNL_OUT_OF_MEMORY",
        [TNL_FILE_ERROR] = "TNL_FILE_ERROR",
    };
    int index = (int)status;
    return index >= 0 && index < (int)(sizeof name / sizeof *name) ? name[index] : "not a status";
}

const char *tnl_version(void) {
    return TEXT(TNL_VERSION_MAJOR) "." TEXT(TNL_VERSION_MINOR) "." TEXT(TNL_VERSION_PATCH);
}
