/* A model that is open: weights where operators can use them. */
#ifndef TNL_MODEL_MODEL_H
#define TNL_MODEL_MODEL_H

#include <stdatomic.h>

#include "model/checkpoint.h"

typedef struct tnl_layer {
    tnl_tensor qkvu, out, l1, l2, l3; /* [out,in] */
    tnl_tensor theta;                 /* float32 [h,d]; absent: no LRPE */
    tnl_tensor slope;                 /* float32 [h] */
} tnl_layer;

struct tnl_model {
    tnl_device device;
    int index;
    tnl_type type;
    tnl_checkpoint checkpoint; /* its data may be the weights */
    tnl_tensor embedding, head;
    tnl_layer *layer;
    void *memory; /* on the device: what could not be used where it lay */
    size_t memory_bytes, weight_bytes;
    _Atomic(uint64_t) hash; /* 0: not computed yet */
};

/* Makes the content of a weight, a matrix on the device; false: it could not. */
typedef bool tnl_weight_fill(void *user, const tnl_tensor *weight);

/* A model without a checkpoint, for measurements: of any configuration that config.json could say
 * (tie TNL_TIE_NO or TNL_TIE_YES), its weights by `fill`, one after the other. It has no hash of
 * its own, so that its states are not to be saved. Closed as any other; *model is NULL on failure.
 */
tnl_status tnl_model_make(tnl_context *context, const tnl_config *config, tnl_type type,
                          tnl_weight_fill *fill, void *user, tnl_model **model);

#endif
