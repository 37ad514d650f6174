/*
 * What an operator's arguments must satisfy beyond their shapes. A relate function runs when the
 * dimensions that tensors have of their own are known (call->dim) and sets those that follow from
 * others: s, f, k/2 and c. On failure it has set the context's error.
 */
#ifndef TNL_CORE_RELATE_H
#define TNL_CORE_RELATE_H

#include "core/call.h"

tnl_status tnl_relate_activation(tnl_call *call);
tnl_status tnl_relate_attention(tnl_call *call);
tnl_status tnl_relate_residual(tnl_call *call);
tnl_status tnl_relate_sglu(tnl_call *call);
tnl_status tnl_relate_projection(tnl_call *call);
tnl_status tnl_relate_decode(tnl_call *call);

#endif
