/* Every typed function of tnl.h is one of these two, with its operator filled in. */
#ifndef TNL_CORE_DISPATCH_H
#define TNL_CORE_DISPATCH_H

#include "core/call.h"

tnl_status tnl_run(tnl_context *context, tnl_operator op, const void *args,
                   const tnl_options *options);
tnl_status tnl_workspace(tnl_context *context, tnl_operator op, const void *args,
                         const tnl_options *options, size_t *bytes);

#endif
