/*
 * Writing a .safetensors file: the header first, then the tensors' data in the header's order, in
 * as many pieces as the caller likes. The file gets its name when it is complete.
 *
 *     tnl_safetensors_writer w;
 *     bool good = tnl_safetensors_create(&w, path, tensors, count, NULL, error, sizeof error);
 *     good = good && tnl_safetensors_append(&w, data, bytes) && ...;
 *     good = tnl_safetensors_finish(&w, good);
 */
#ifndef TNL_MODEL_SAFETENSORS_WRITE_H
#define TNL_MODEL_SAFETENSORS_WRITE_H

#include <stdio.h>

#include "model/safetensors.h"

typedef struct tnl_safetensors_writer {
    FILE *stream;
    char *path, *temporary; /* the file is called so until it is complete */
    size_t left;            /* bytes of data to come */
    char *error;
    size_t error_bytes;
} tnl_safetensors_writer;

/* name, type, rank, shape and bytes of the tensors are read; metadata: NULL, or a JSON object of
 * texts. false: error names the file; there is then nothing to finish. */
bool tnl_safetensors_create(tnl_safetensors_writer *writer, const char *path,
                            const tnl_safetensors_tensor *tensor, size_t count,
                            struct json_t *metadata, char *error, size_t error_bytes);
bool tnl_safetensors_append(tnl_safetensors_writer *writer, const void *data, size_t bytes);
/* Give the file its name, where `good` and all data have come; else remove it. false: error. */
bool tnl_safetensors_finish(tnl_safetensors_writer *writer, bool good);

#endif
