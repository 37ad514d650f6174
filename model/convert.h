/* Converting arrays between the floating-point types. */
#ifndef TNL_MODEL_CONVERT_H
#define TNL_MODEL_CONVERT_H

#include <stddef.h>

#include "tnl.h"

/* count elements, each rounded to nearest even as tnl_store does. `from` may lie at any address,
 * `to` at one for its type. */
void tnl_convert(void *to, tnl_type to_type, const void *from, tnl_type from_type, size_t count);

#endif
