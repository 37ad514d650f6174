/* What the tensors of a problem hold. */
#ifndef TNL_VERIFY_VALUES_H
#define TNL_VERIFY_VALUES_H

#include "verify/problem.h"

/* Fill an input or in-out tensor of the problem, whose elements lie in host memory at `data`
 * with the tensor's strides, from seed, tensor index and element index. */
void values_fill(const problem_spec *spec, int tensor, const tnl_tensor *shape, void *data);

/* The offset, in elements from the tensor's first, of the element of that linear index. */
int64_t values_offset(const tnl_tensor *tensor, int64_t index);

#endif
