/* Finding the golden data of a model (verify/golden_lengths.h). */
#include "verify/golden_lengths.h"

#include <stdio.h>
#include <string.h>

/* The data of nN.PART, whose shape begins with these sizes (0: any, and set); NULL: text says why.
 */
static const void *find(const tnl_safetensors *file, int64_t n, const char *part, const char *type,
                        int rank, int64_t *shape, char *text, size_t size) {
    char name[64];
    snprintf(name, sizeof name, "n%lld.%s", (long long)n, part);
    const tnl_safetensors_tensor *tensor = tnl_safetensors_find(file, name);
    bool good = tensor && strcmp(tensor->type, type) == 0 && tensor->rank == rank &&
                tensor->bytes > 0 && (uintptr_t)tensor->data % sizeof(float) == 0;
    for (int i = 0; good && i < rank; i++) {
        good = shape[i] == 0 || shape[i] == tensor->shape[i];
        shape[i] = tensor->shape[i];
    }
    if (!good)
        snprintf(text, size, "%s is missing or not %s of its shape", name, type);
    return good ? tensor->data : NULL;
}

static bool find_length(const tnl_safetensors *file, int64_t vocab, int64_t n, golden_length *found,
                        char *text, size_t size) {
    int64_t ids[2] = {0, n}, logits[3] = {0, n, vocab};
    *found = (golden_length){.n = n};
    found->ids = find(file, n, "ids", "I32", 2, ids, text, size);
    logits[0] = found->batch = ids[0];
    found->logits = found->ids ? find(file, n, "logits", "F32", 3, logits, text, size) : NULL;
    int64_t greedy[2] = {ids[0], 0};
    found->greedy = found->logits ? find(file, n, "greedy", "I32", 2, greedy, text, size) : NULL;
    int64_t greedy_logits[3] = {ids[0], greedy[1], vocab};
    found->more = greedy[1];
    found->greedy_logits =
        found->greedy ? find(file, n, "greedy_logits", "F32", 3, greedy_logits, text, size) : NULL;
    return found->greedy_logits != NULL;
}

int golden_find_lengths(const tnl_safetensors *file, int64_t vocab, golden_length *found, int most,
                        char *text, size_t size) {
    int count = 0;
    for (size_t i = 0; i < file->count && count < most; i++) {
        long long n;
        int end = 0;
        if (sscanf(file->tensor[i].name, "n%lld.ids%n", &n, &end) != 1 ||
            (size_t)end != strlen(file->tensor[i].name) || n < 1)
            continue;
        if (!find_length(file, vocab, n, &found[count++], text, size))
            return 0;
    }
    if (count == 0)
        snprintf(text, size, "there is no nN.ids");
    return count;
}
