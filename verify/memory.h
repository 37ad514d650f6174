/* Memory on a device. The one place in verify and bench that knows how a device's memory is had. */
#ifndef TNL_VERIFY_MEMORY_H
#define TNL_VERIFY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "tnl.h"

/* At least 4096-byte aligned; NULL: out of memory. */
void *memory_allocate(tnl_device device, size_t bytes);
void memory_free(tnl_device device, void *memory);
/* Both return when the copy is done; false: the device reported a failure. */
bool memory_to_device(tnl_device device, void *to, const void *from, size_t bytes);
bool memory_from_device(tnl_device device, void *to, const void *from, size_t bytes);
/* Wait for the context's work; false: it failed. */
bool memory_synchronize(const tnl_context *context);

#endif
