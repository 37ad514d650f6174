/* Memory on the CPU: the C library's. */
#include "verify/memory.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

void *memory_allocate(tnl_device device, size_t bytes) {
    if (device != TNL_CPU || bytes > SIZE_MAX - PAGE)
        return NULL;
    return aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
}

void memory_free(tnl_device device, void *memory) {
    if (device == TNL_CPU)
        free(memory);
}

bool memory_to_device(tnl_device device, void *to, const void *from, size_t bytes) {
    if (device != TNL_CPU)
        return false;
    if (to != from)
        memcpy(to, from, bytes);
    return true;
}

bool memory_from_device(tnl_device device, void *to, const void *from, size_t bytes) {
    return memory_to_device(device, to, from, bytes);
}

/* A call on a CPU context has finished when it returns. */
bool memory_synchronize(const tnl_context *context) {
    (void)context;
    return true;
}
