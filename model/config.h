/* Reading config.json into a tnl_config, and what follows from one. */
#ifndef TNL_MODEL_CONFIG_H
#define TNL_MODEL_CONFIG_H

#include <stdbool.h>

#include "tnl_model.h"

/* Sizes are at most this, so that every product of a few of them fits int64. */
enum { TNL_MAX_DIMENSION = 1 << 24 };

/* The configuration in a JSON text. Keys that mean nothing here are passed over; those that would
 * make another model are held to what this one is. false: error names the file and the key. */
bool tnl_config_parse(tnl_config *config, const char *path, const char *text, size_t length,
                      char *error, size_t error_bytes);
/* The same from a file. */
bool tnl_config_read(tnl_config *config, const char *path, char *error, size_t error_bytes);
/* config.json of a model with weights of this type; false: error. */
bool tnl_config_write(const tnl_config *config, tnl_type type, const char *path, char *error,
                      size_t error_bytes);

/* The head dimension of Q, K and V, and of Q and K after a layer's LRPE. */
static inline int64_t tnl_head_dim(const tnl_config *config) {
    return config->hidden_dim / config->heads;
}
static inline int64_t tnl_lrpe_dim(const tnl_config *config, int layer) {
    return tnl_head_dim(config) * (config->lrpe[layer] ? 2 : 1);
}

#endif
