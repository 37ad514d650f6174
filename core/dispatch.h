/* Every typed function of tnl.h is one of these two, with its operator filled in. */
#ifndef TNL_CORE_DISPATCH_H
#define TNL_CORE_DISPATCH_H

#include "core/call.h"

tnl_status tnl_run(tnl_context *context, tnl_operator op, const void *args,
                   const tnl_options *options);
/* The same within a model's pass, where weights, states before the step, and slots are settled: a
 * kernel may read them before the kernels ahead of it have ended. None of the pass ahead writes to
 * them; and all that came before the pass has ended, since the pass begins with a kernel that waits
 * for it before it lets the next one in (model/embedding_cuda.cu). */
tnl_status tnl_run_settled(tnl_context *context, tnl_operator op, const void *args,
                           const tnl_options *options);
tnl_status tnl_workspace(tnl_context *context, tnl_operator op, const void *args,
                         const tnl_options *options, size_t *bytes);

#endif
