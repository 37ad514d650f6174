/* The data types: their sizes, and conversion to and from double, correctly rounded. */
#ifndef TNL_CORE_TYPES_H
#define TNL_CORE_TYPES_H

#include "tnl.h"

#define TNL_TYPE_BIT(type) (1u << (type))
#define TNL_F32 TNL_TYPE_BIT(TNL_FLOAT32)
#define TNL_16_BIT (TNL_TYPE_BIT(TNL_FLOAT16) | TNL_TYPE_BIT(TNL_BFLOAT16))
#define TNL_ALL_FLOATS (TNL_F32 | TNL_16_BIT)

#ifdef __cplusplus
extern "C" {
#endif

/* Element i of an array of a floating-point type, widened exactly. */
double tnl_load(const void *data, tnl_type type, int64_t i);
/* Store x as element i, rounded to nearest even; beyond the type's range it becomes infinite. */
void tnl_store(void *data, tnl_type type, int64_t i, double x);
/* x rounded to the precision of the type but with the range of float32, as an intermediate value
 * that a variant holds in float32 would be. */
double tnl_round(tnl_type type, double x);
/* The distance from |x| to the next larger number of the type; the smallest one's at 0. */
double tnl_ulp(tnl_type type, double x);

#ifdef __cplusplus
}
#endif

#endif
