/*
 * A .safetensors file, mapped into memory: eight bytes with the length of a JSON header (little
 * endian), the header, and then the tensors' data. The header says for each tensor its type, its
 * shape and where its data begins and ends; the tensors fill the rest of the file without a gap.
 */
#ifndef TNL_MODEL_SAFETENSORS_H
#define TNL_MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TNL_SAFETENSORS_MAX_RANK = 8 };

typedef struct tnl_safetensors_tensor {
    const char *name;
    const char *type; /* as the file has it: "F64", "F32", "F16", "BF16", "I64" or "I32" */
    int rank;
    int64_t shape[TNL_SAFETENSORS_MAX_RANK];
    const void *data; /* little endian, row by row; not always aligned to its type */
    size_t bytes;
} tnl_safetensors_tensor;

typedef struct tnl_safetensors {
    tnl_safetensors_tensor *tensor; /* in the order of their data */
    size_t count;
    const void *bytes; /* the file's */
    size_t byte_count;
    void *map;             /* the same where it is mapped; NULL: somebody else's memory */
    struct json_t *header; /* owns the names */
} tnl_safetensors;

/*
 * Map the file and check all of its header: every type is one of the above, every size is its
 * shape's, and the data have neither gap nor overlap. false: error holds a text that names the
 * file and, where one is to blame, the tensor; *file is then empty.
 */
bool tnl_safetensors_open(tnl_safetensors *file, const char *path, char *error, size_t error_bytes);
/* The same for a file that lies in memory, which must stay until *file is closed; path is what the
 * text of an error calls it. */
bool tnl_safetensors_parse(tnl_safetensors *file, const char *path, const void *bytes,
                           size_t byte_count, char *error, size_t error_bytes);
/* Unmaps the file: names and data end here. An empty *file is allowed. */
void tnl_safetensors_close(tnl_safetensors *file);
/* The tensor of that name, or NULL. */
const tnl_safetensors_tensor *tnl_safetensors_find(const tnl_safetensors *file, const char *name);
/* The text that the file's metadata have under a key, or NULL. */
const char *tnl_safetensors_metadata(const tnl_safetensors *file, const char *key);

#endif
