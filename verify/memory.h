/* Memory on a device. The one place in verify and bench that knows how a device's memory is had. */
#ifndef TNL_VERIFY_MEMORY_H
#define TNL_VERIFY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "tnl.h"

/* Have everything below, in the calling thread, work on the context's device. */
bool memory_select(const tnl_context *context);
/* Aligned to TNL_WORKSPACE_ALIGNMENT at least; NULL: out of memory. */
void *memory_allocate(tnl_device device, size_t bytes);
void memory_free(tnl_device device, void *memory);
/* Both return when the copy is done; false: the device reported a failure. */
bool memory_to_device(tnl_device device, void *to, const void *from, size_t bytes);
bool memory_from_device(tnl_device device, void *to, const void *from, size_t bytes);
/* Fill memory on the device with a piece that lies on the host, again and again. */
bool memory_repeat(tnl_device device, void *to, size_t bytes, const void *piece,
                   size_t piece_bytes);
/* Wait for the context's work; false: it failed. */
bool memory_synchronize(const tnl_context *context);

#endif
