/* Running a row on a problem, with everything watched. */
#include "verify/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/memory.h"

enum { GUARD = 4096, POISON = 0xff };

const char *run_obstacle(const tnl_context *context, const tnl_variant_row *row) {
    if (!row->kernel)
        return "not in this build";
    if (row->device != context->device)
        return row->device == TNL_CUDA ? "needs a CUDA device" : "runs on the CPU";
    if (row->compute_capability > context->compute_capability)
        return "needs a newer device";
    return NULL;
}

/* Whether the guards, GUARD bytes before and behind `bytes` of workspace, are as they were. */
static bool guards_hold(tnl_device device, const unsigned char *memory, size_t bytes) {
    unsigned char guard[2 * GUARD];
    if (!memory_from_device(device, guard, memory, GUARD) ||
        !memory_from_device(device, guard + GUARD, memory + GUARD + bytes, GUARD))
        return false;
    for (int i = 0; i < 2 * GUARD; i++)
        if (guard[i] != POISON)
            return false;
    return true;
}

/* The run itself, once there is workspace. */
static run_result run_in(problem *p, tnl_context *context, const char *variant,
                         unsigned char *memory, size_t bytes, char *text, size_t size) {
    tnl_status status = problem_run(p, context, variant, memory + GUARD, bytes);
    if (status == TNL_UNSUPPORTED)
        return RUN_REJECTED;
    if (status != TNL_OK) {
        snprintf(text, size, "%s: %s", tnl_status_name(status), tnl_context_error(context));
        return RUN_FAILED;
    }
    if (!memory_synchronize(context) || !problem_fetch(p)) {
        snprintf(text, size, "the device reported a failure");
        return RUN_FAILED;
    }
    if (!guards_hold(p->device, memory, bytes)) {
        snprintf(text, size, "memory around the workspace of %zu bytes was written to", bytes);
        return RUN_FAILED;
    }
    return RUN_DONE;
}

run_result run_row(problem *p, tnl_context *context, const tnl_variant_row *row, char *text,
                   size_t size) {
    size_t bytes = 0;
    tnl_status status = problem_workspace(p, context, row->name, &bytes);
    if (status == TNL_UNSUPPORTED)
        return RUN_REJECTED;
    if (status != TNL_OK) {
        snprintf(text, size, "workspace: %s: %s", tnl_status_name(status),
                 tnl_context_error(context));
        return RUN_FAILED;
    }
    size_t total = bytes + 2 * GUARD;
    unsigned char *memory = memory_allocate(p->device, total), *poison = malloc(total);
    run_result result = RUN_FAILED;
    snprintf(text, size, "out of memory");
    if (memory && poison && problem_poison(p)) {
        memset(poison, POISON, total);
        if (memory_to_device(p->device, memory, poison, total))
            result = run_in(p, context, row->name, memory, bytes, text, size);
    }
    free(poison);
    memory_free(p->device, memory);
    return result;
}
