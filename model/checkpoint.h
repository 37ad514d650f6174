/*
 * A checkpoint: a directory with config.json and the tensors that belong to it, in
 * model.safetensors or in the shards that model.safetensors.index.json lists. It is open only when
 * every tensor that the configuration asks for is there once, with the right shape and a type
 * that the library reads, and no other.
 */
#ifndef TNL_MODEL_CHECKPOINT_H
#define TNL_MODEL_CHECKPOINT_H

#include "model/config.h"
#include "model/safetensors.h"

/* The tensors of a model, [out,in] as PyTorch has them. */
typedef enum tnl_weight_kind {
    TNL_WEIGHT_EMBEDDING, /* [vocab_size,D] */
    TNL_WEIGHT_QKVU,      /* [4 hidden_dim,D] */
    TNL_WEIGHT_THETA,     /* [h,1,d], only where the layer has LRPE */
    TNL_WEIGHT_OUT,       /* [D,hidden_dim] */
    TNL_WEIGHT_L1,        /* [g,D] */
    TNL_WEIGHT_L2,        /* [g,D] */
    TNL_WEIGHT_L3,        /* [D,g] */
    TNL_WEIGHT_HEAD       /* [vocab_size,D] */
} tnl_weight_kind;

typedef struct tnl_weight {
    tnl_weight_kind kind;
    int layer; /* 0 where it is of none */
    char name[64];
    int rank;
    int64_t shape[3];
    const tnl_safetensors_tensor *stored; /* NULL while it is not known where */
} tnl_weight;

/* The weights that a configuration asks for; the head last, left out where it is tied. To be
 * given to free(); NULL: out of memory. */
tnl_weight *tnl_list_weights(const tnl_config *config, size_t *count);

typedef struct tnl_checkpoint {
    tnl_config config; /* tie is TNL_TIE_NO or TNL_TIE_YES */
    tnl_weight *weight;
    size_t weight_count;
    tnl_safetensors *shard;
    char **shard_path;
    size_t shard_count;
    char *list_path; /* the file that says which tensors there are: the index, or the only one */
} tnl_checkpoint;

/* false: error names file and tensor; *checkpoint is then empty. */
bool tnl_checkpoint_open(tnl_checkpoint *checkpoint, const char *directory, char *error,
                         size_t error_bytes);
/* An empty *checkpoint is allowed. */
void tnl_checkpoint_close(tnl_checkpoint *checkpoint);

/* The file's element type; TNL_NO_TYPE: one that weights can't have. */
tnl_type tnl_stored_type(const tnl_safetensors_tensor *tensor);
/* A hash of the configuration and of the names, types, shapes and data of all weights. */
uint64_t tnl_checkpoint_hash(const tnl_checkpoint *checkpoint);

#endif
