/* Running a row on a problem, with everything watched. */
#include "verify/run.h"

#include <stdio.h>
#include <string.h>

#include "core/graph.h"
#include "core/memory.h"

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
    if (!tnl_memory_from_device(device, guard, memory, GUARD) ||
        !tnl_memory_from_device(device, guard + GUARD, memory + GUARD + bytes, GUARD))
        return false;
    for (int i = 0; i < 2 * GUARD; i++)
        if (guard[i] != POISON)
            return false;
    return true;
}

/* Where a run happens, and how. */
typedef struct run_place {
    tnl_context *context;
    const char *variant;
    unsigned char *memory; /* GUARD | workspace of so many bytes | GUARD */
    size_t bytes;
    bool captured;
} run_place;

static tnl_status run_plainly(const problem *p, const run_place *place) {
    return problem_run(p, place->context, place->variant, place->memory + GUARD, place->bytes);
}

/* Capture the call, which must write nothing, and replay it twice, each time from what
 * problem_poison leaves. */
static tnl_status run_captured(problem *p, const run_place *place) {
    tnl_graph c;
    tnl_status status = TNL_DEVICE_ERROR;
    bool captured = tnl_graph_begin(&c, place->context);
    if (captured)
        status = run_plainly(p, place);
    captured = captured && tnl_graph_end(&c) && status == TNL_OK;
    bool replayed = captured && tnl_graph_replay(&c) && problem_poison(p) && tnl_graph_replay(&c);
    if (status == TNL_OK && !replayed)
        status = tnl_fail(place->context, TNL_DEVICE_ERROR, "the call can't be %s",
                          captured ? "replayed" : "captured into a CUDA graph");
    tnl_graph_free(&c);
    return status;
}

/* The run itself, once there is workspace. */
static run_result run_in(problem *p, const run_place *place, char *text, size_t size) {
    tnl_context *context = place->context;
    const size_t bytes = place->bytes;
    tnl_status status = place->captured ? run_captured(p, place) : run_plainly(p, place);
    if (status == TNL_UNSUPPORTED)
        return RUN_REJECTED;
    if (status != TNL_OK) {
        snprintf(text, size, "%s: %s", tnl_status_name(status), tnl_context_error(context));
        return RUN_FAILED;
    }
    if (!tnl_memory_synchronize(context) || !problem_fetch(p)) {
        snprintf(text, size, "the device reported a failure");
        return RUN_FAILED;
    }
    if (!guards_hold(p->device, place->memory, bytes)) {
        snprintf(text, size, "memory around the workspace of %zu bytes was written to", bytes);
        return RUN_FAILED;
    }
    return RUN_DONE;
}

static run_result run(problem *p, tnl_context *context, const tnl_variant_row *row, bool captured,
                      char *text, size_t size) {
    size_t bytes = 0;
    tnl_status status = problem_workspace(p, context, row->name, &bytes);
    if (status == TNL_UNSUPPORTED)
        return RUN_REJECTED;
    if (status != TNL_OK) {
        snprintf(text, size, "workspace: %s: %s", tnl_status_name(status),
                 tnl_context_error(context));
        return RUN_FAILED;
    }
    const size_t total = bytes + 2 * GUARD;
    unsigned char piece[GUARD], *memory = tnl_memory_allocate(p->device, total);
    memset(piece, POISON, sizeof piece);
    run_result result = RUN_FAILED;
    snprintf(text, size, "out of memory");
    if (memory && problem_poison(p) &&
        tnl_memory_repeat(p->device, memory, total, piece, sizeof piece))
        result = run_in(p, &(run_place){context, row->name, memory, bytes, captured}, text, size);
    tnl_memory_free(p->device, memory);
    return result;
}

run_result run_row(problem *p, tnl_context *context, const tnl_variant_row *row, char *text,
                   size_t size) {
    return run(p, context, row, false, text, size);
}

run_result run_row_captured(problem *p, tnl_context *context, const tnl_variant_row *row,
                            char *text, size_t size) {
    return run(p, context, row, true, text, size);
}
