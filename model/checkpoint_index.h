/* The files of a checkpoint: which there are, opened, and where each tensor is. */
#ifndef TNL_MODEL_CHECKPOINT_INDEX_H
#define TNL_MODEL_CHECKPOINT_INDEX_H

#include "model/checkpoint.h"

/* model.safetensors.index.json: names of tensors, and for each the file that has it. */
typedef struct tnl_shard_index {
    char **file; /* each once, in no particular order */
    size_t file_count;
    struct json_t *root, *map; /* map: tensor -> file */
} tnl_shard_index;

/* Every name of a file is one of this directory: no path, no hidden file. false: error names the
 * index and the tensor. */
bool tnl_shard_index_parse(tnl_shard_index *index, const char *path, const char *text,
                           size_t length, char *error, size_t error_bytes);
void tnl_shard_index_free(tnl_shard_index *index);

/* Open the checkpoint's files, each tensor of which is where the index says, and in no other. */
bool tnl_open_shards(tnl_checkpoint *checkpoint, const char *directory, char *error,
                     size_t error_bytes);

#endif
