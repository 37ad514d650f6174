/*
 * What the packed projection's backward pass asks of the activation's beyond the operator's own
 * tensors: two more, as dq and dk, for what rounding to the data type takes from those. Absent,
 * data NULL, in every other call.
 */
#ifndef TNL_ACTIVATION_CUDA_REST_CUH
#define TNL_ACTIVATION_CUDA_REST_CUH

#include "core/call.h"

enum { ACT_BWD_DQ_REST = ACT_BWD_DTHETA + 1, ACT_BWD_DK_REST };
static_assert(ACT_BWD_DK_REST < TNL_MAX_TENSORS, "a call has place for them");

#endif
