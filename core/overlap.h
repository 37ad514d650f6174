/* Whether two strided tensors may share memory. */
#ifndef TNL_CORE_OVERLAP_H
#define TNL_CORE_OVERLAP_H

#include <stdbool.h>

#include "tnl.h"

/* Bytes from a tensor's first element to the end of its last; 0 where that overflows. Strides are
 * >= 0 and filled in. */
int64_t tnl_extent(const tnl_tensor *tensor);
/* Whether two elements of the tensor may be the same memory. */
bool tnl_overlaps_itself(const tnl_tensor *tensor);
/* Whether an element of a may share memory with one of b: never false where one does. It sees
 * that slices of one packed buffer are apart, and may take other interleavings for an overlap. */
bool tnl_may_overlap(const tnl_tensor *a, const tnl_tensor *b);

#endif
