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

#endif
