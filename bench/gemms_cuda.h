/* cuBLAS's GEMMs, as yardsticks: alone, and those that an operator is made of. */
#ifndef TNL_BENCH_GEMMS_CUDA_H
#define TNL_BENCH_GEMMS_CUDA_H

#include "bench/yardsticks.h"

/* See bench_standards. */
tnl_status gemms_cuda_samples(const bench_yardsticks *yardsticks, const gemm_size *size,
                              bench_samples *taken);
tnl_status gemms_cuda_make(const bench_yardsticks *yardsticks, const bare_gemms *gemms,
                           bench_work *work);
void gemms_cuda_free(bench_work *work);

#endif
