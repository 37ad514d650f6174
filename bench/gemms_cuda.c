/*
 * cuBLAS's GEMMs, one after another in one launch. Neighbours with a left operand of the same shape
 * share it; where the gated product belongs to them, a kernel makes the third GEMM's left operand
 * of what the first two give.
 */
#include "bench/gemms_cuda.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <stdlib.h>

#include "bench/kernels_cuda.h"
#include "core/context.h"
#include "core/memory.h"

typedef struct gemms_task {
    cublasHandle_t cublas;
    void *stream;
    bare_gemms of;
    void *a[BARE_GEMMS_MAX], *b[BARE_GEMMS_MAX], *c[BARE_GEMMS_MAX];
} gemms_task;

/* cuBLAS is column-major: it sees every matrix transposed, and computes C^T = B A^T. */
static bool multiply(const gemms_task *task, int i) {
    const gemm_size *size = &task->of.gemm[i];
    const int m = (int)size->m, n = (int)size->n, k = (int)size->k;
    const float one = 1, zero = 0;
    const cudaDataType_t type = size->type == TNL_FLOAT16    ? CUDA_R_16F
                                : size->type == TNL_BFLOAT16 ? CUDA_R_16BF
                                                             : CUDA_R_32F;
    return cublasGemmEx(task->cublas, CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, task->b[i], type, k,
                        task->a[i], type, k, &zero, task->c[i], type, n, CUBLAS_COMPUTE_32F,
                        CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
}

static tnl_status launch(void *data) {
    const gemms_task *task = data;
    const int repeats = task->of.repeats > 0 ? task->of.repeats : 1;
    bool launched = true;
    for (int j = 0; j < repeats * task->of.count && launched; j++) {
        const int i = j % task->of.count;
        const gemm_size *size = &task->of.gemm[i];
        if (i == 2 && task->of.product)
            launched = bench_queue_product(task->a[2], task->c[0], task->c[1], size->type,
                                           (size_t)(size->m * size->k), task->stream) == 0;
        launched = launched && multiply(task, i);
    }
    return launched ? TNL_OK : TNL_DEVICE_ERROR;
}

/* Memory for an operand, filled. */
static void *make_operand(const bench_yardsticks *yardsticks, tnl_type type, int64_t count,
                          uint64_t seed) {
    void *memory = tnl_memory_allocate(TNL_CUDA, (size_t)count * tnl_type_size(type));
    if (memory && (bench_queue_fill(memory, type, (size_t)count, 0.5f, yardsticks->seed + seed,
                                    yardsticks->context->stream) != cudaSuccess ||
                   !tnl_memory_synchronize(yardsticks->context))) {
        tnl_memory_free(TNL_CUDA, memory);
        memory = NULL;
    }
    return memory;
}

static bool shares_left(const bare_gemms *gemms, const gemm_size *size) {
    return size > gemms->gemm && size[0].m == size[-1].m && size[0].k == size[-1].k;
}

static bool make_operands(const bench_yardsticks *yardsticks, gemms_task *task) {
    for (int i = 0; i < task->of.count; i++) {
        const gemm_size *size = &task->of.gemm[i];
        const uint64_t seed = 2 * (uint64_t)i;
        task->a[i] = shares_left(&task->of, size)
                         ? task->a[i - 1]
                         : make_operand(yardsticks, size->type, size->m * size->k, seed + 1);
        task->b[i] = make_operand(yardsticks, size->type, size->n * size->k, seed + 2);
        task->c[i] =
            tnl_memory_allocate(TNL_CUDA, (size_t)(size->m * size->n) * tnl_type_size(size->type));
        if (!task->a[i] || !task->b[i] || !task->c[i])
            return false;
    }
    return true;
}

void gemms_cuda_free(bench_work *work) {
    gemms_task *task = work->data;
    work->data = NULL;
    if (!task)
        return;
    for (int i = 0; i < task->of.count; i++) {
        if (!shares_left(&task->of, &task->of.gemm[i]))
            tnl_memory_free(TNL_CUDA, task->a[i]);
        tnl_memory_free(TNL_CUDA, task->b[i]);
        tnl_memory_free(TNL_CUDA, task->c[i]);
    }
    if (task->cublas)
        cublasDestroy(task->cublas);
    free(task);
}

tnl_status gemms_cuda_make(const bench_yardsticks *yardsticks, const bare_gemms *gemms,
                           bench_work *work) {
    gemms_task *task = calloc(1, sizeof *task);
    *work = (bench_work){.launch = launch, .data = task};
    if (!task)
        return TNL_OUT_OF_MEMORY;
    task->of = *gemms;
    task->stream = yardsticks->context->stream;
    tnl_status status = TNL_OK;
    if (cublasCreate(&task->cublas) != CUBLAS_STATUS_SUCCESS ||
        cublasSetStream(task->cublas, task->stream) != CUBLAS_STATUS_SUCCESS)
        status = TNL_DEVICE_ERROR;
    else if (!make_operands(yardsticks, task))
        status = TNL_OUT_OF_MEMORY;
    if (status != TNL_OK)
        gemms_cuda_free(work);
    return status;
}

tnl_status gemms_cuda_samples(const bench_yardsticks *yardsticks, const gemm_size *size,
                              bench_samples *taken) {
    const bare_gemms one = {.gemm = {*size}, .count = 1};
    bench_work work;
    tnl_status status = gemms_cuda_make(yardsticks, &one, &work);
    if (status == TNL_OK)
        status = measure(&bench_meter_cuda, &work, &yardsticks->limits, taken);
    gemms_cuda_free(&work);
    return status;
}
