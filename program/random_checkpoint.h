/* Checkpoints with random weights, to run everything without a download. */
#ifndef TNL_PROGRAM_RANDOM_CHECKPOINT_H
#define TNL_PROGRAM_RANDOM_CHECKPOINT_H

#include <stdbool.h>

#include "tnl_model.h"

typedef struct random_checkpoint {
    const tnl_config *config;
    tnl_type type;
    uint64_t seed;
    size_t shard_bytes; /* most data of one file, unless one tensor has more; 0: one file for all */
    void (*progress)(void *user, size_t done, size_t total); /* may be NULL */
    void *user;
} random_checkpoint;

/*
 * Write config.json and the tensors into a directory, made if it is not there; files of those names
 * are replaced. A matrix is normal with a standard deviation of 1/sqrt(columns), so that rows of
 * unit size stay so; angles are 10000^(-2i/hidden_dim) for channel i, from 1 to 1e-8. false: error
 * names the file.
 */
bool random_checkpoint_write(const random_checkpoint *what, const char *directory, char *error,
                             size_t error_bytes);

#endif
