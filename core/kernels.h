/* The kernels that core/variants.h names, declared: a variant's file includes this and defines
 * its own. */
#ifndef TNL_CORE_KERNELS_H
#define TNL_CORE_KERNELS_H

#include "core/table.h"
#include "core/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CPU(op, variant, types, summary) extern const tnl_kernel tnl_cpu_##op##_##variant;
#define CPU_NAMED(op, variant, types, summary) CPU(op, variant, types, summary)
#define CUDA(op, variant, cc, types, summary) extern const tnl_kernel tnl_cuda_##op##_##variant;
#define CUDA_NAMED(op, variant, cc, types, summary) CUDA(op, variant, cc, types, summary)
#include "core/variants.h"
#undef CPU
#undef CPU_NAMED
#undef CUDA
#undef CUDA_NAMED

#ifdef __cplusplus
}
#endif

#endif
