/* Memory on a device, for the model, verify and bench: the one place that knows how it is had.
 * Operators allocate nothing. */
#ifndef TNL_CORE_MEMORY_H
#define TNL_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "tnl.h"

/* Have everything below, in the calling thread, work on the context's device. */
bool tnl_memory_select(const tnl_context *context);
/* Aligned to TNL_WORKSPACE_ALIGNMENT at least; NULL: out of memory. */
void *tnl_memory_allocate(tnl_device device, size_t bytes);
void tnl_memory_free(tnl_device device, void *memory);
/* Both return when the copy is done; false: the device reported a failure. */
bool tnl_memory_to_device(tnl_device device, void *to, const void *from, size_t bytes);
bool tnl_memory_from_device(tnl_device device, void *to, const void *from, size_t bytes);
/* Fill memory on the device with a piece that lies on the host, again and again. */
bool tnl_memory_repeat(tnl_device device, void *to, size_t bytes, const void *piece,
                       size_t piece_bytes);
/* Both are queued on the context's stream, with the context's device as the current one. Host
 * memory that is copied from may be reused at once; host memory that is copied to has the bytes
 * when the stream has been waited for. false: the device reported a failure. */
bool tnl_memory_queue_copy(const tnl_context *context, void *to, const void *from, size_t bytes);
bool tnl_memory_queue_zero(const tnl_context *context, void *to, size_t bytes);
/* Host memory that the context's device writes to, too, at the same address; NULL: there is none.
 * What a kernel has written is seen once the stream has been waited for, or a mark behind it. */
void *tnl_memory_allocate_shared(const tnl_context *context, size_t bytes);
void tnl_memory_free_shared(const tnl_context *context, void *memory);
/* A mark on a stream, to wait for what was queued before it was set and for nothing behind it. On a
 * CPU context there is nothing to wait for, and a mark is NULL. false: the device failed. */
bool tnl_mark_create(const tnl_context *context, void **mark);
bool tnl_mark_set(const tnl_context *context, void *mark);
bool tnl_mark_wait(const tnl_context *context, void *mark);
void tnl_mark_destroy(const tnl_context *context, void *mark);
/* Wait for the context's work; false: it failed. */
bool tnl_memory_synchronize(const tnl_context *context);

#endif
