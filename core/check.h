/* What core/check.c offers to core/dispatch.c; tnl_check_call itself is in core/api.h. */
#ifndef TNL_CORE_CHECK_H
#define TNL_CORE_CHECK_H

#include "core/call.h"

/* The caller's workspace: large enough, aligned, apart from every tensor of the call. */
tnl_status tnl_check_workspace(const tnl_call *call, const tnl_options *options, size_t needed);
/* What index tensors and slopes hold, read on a CPU context. */
tnl_status tnl_check_contents(const tnl_call *call);

#endif
