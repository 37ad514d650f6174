/* Sizes on a CUDA device. Figures and most sweeps are of bfloat16; the other types are measured at
 * a few of the sizes. */
#include "bench/sizes.h"

#define BFLOAT16 .types = TNL_TYPE_BIT(TNL_BFLOAT16)
#define OTHERS .types = TNL_TYPE_BIT(TNL_FLOAT32) | TNL_TYPE_BIT(TNL_FLOAT16)
#define WIDE_HEADS [DIM_B] = 4, [DIM_H] = 32, [DIM_D] = 256, [DIM_E] = 128

/* clang-format off */
const size_sweep bench_sizes_cuda[] = {
    /* Figure 2: against sequence length, and against feature dimension. */
    {.op = TNL_SRMSNORM_FORWARD, HELD([DIM_HIDDEN] = 3072), ALONG(DIM_M, LENGTHS), BFLOAT16},
    {.op = TNL_SRMSNORM_FORWARD, HELD([DIM_M] = 4096), ALONG(DIM_HIDDEN, FEATURES), BFLOAT16, WARM},
    {.op = TNL_SRMSNORM_BACKWARD, HELD([DIM_HIDDEN] = 3072), ALONG(DIM_M, LENGTHS), BFLOAT16},
    {.op = TNL_SRMSNORM_BACKWARD, HELD([DIM_M] = 4096), ALONG(DIM_HIDDEN, FEATURES), BFLOAT16, WARM},

    /* Figure 3; and the same in a batch of a model's heads. */
    {.op = TNL_ATTENTION_FORWARD_BACKWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, LENGTHS), RELEASED,
     BFLOAT16},
    {.op = TNL_ATTENTION_FORWARD_BACKWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 2048, 8192), RELEASED,
     BFLOAT16},

    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(1, 8)), ALONG(DIM_N, 8192), BOTH_DECAYS, BFLOAT16},
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, LENGTHS), RELEASED, BFLOAT16},
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, 8192, 65536), NO_DECAY, BFLOAT16},
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(1, 32)), ALONG(DIM_N, 8192), BOTH_DECAYS, BFLOAT16},
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(1, 64)), ALONG(DIM_N, 8192, 32768, 131072),
     BOTH_DECAYS, BFLOAT16},
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(4, 32)),
     ALONG(DIM_N, 2048, 8192, 16384, 32768, 65536), RELEASED, BFLOAT16},
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 2048, 8192, 32768), NO_DECAY,
     BFLOAT16},
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 2048, 8192), RELEASED, OTHERS},
    {.op = TNL_ATTENTION_FORWARD, HELD(WIDE_HEADS), ALONG(DIM_N, 8192), BOTH_DECAYS, BFLOAT16},

    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(1, 8)), ALONG(DIM_N, 8192), BOTH_DECAYS, BFLOAT16},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, LENGTHS), RELEASED, BFLOAT16},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, 8192, 65536), NO_DECAY, BFLOAT16},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(1, 32)), ALONG(DIM_N, 8192), BOTH_DECAYS, BFLOAT16},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(1, 64)), ALONG(DIM_N, 8192, 32768, 131072),
     BOTH_DECAYS, BFLOAT16},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(4, 32)),
     ALONG(DIM_N, 2048, 8192, 16384, 32768, 65536), RELEASED, BFLOAT16},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 2048, 8192, 32768), NO_DECAY,
     BFLOAT16},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 2048, 8192), RELEASED, OTHERS},
    {.op = TNL_ATTENTION_BACKWARD, HELD(WIDE_HEADS), ALONG(DIM_N, 8192), BOTH_DECAYS, BFLOAT16},

    /* Slices of one packed tensor in place of tensors of their own. */
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 8192), RELEASED, BFLOAT16,
     .layout = LAYOUT_PACKED},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 8192), RELEASED, BFLOAT16,
     .layout = LAYOUT_PACKED},

    /* Large tensors, 64 MiB each and more, and few rows. */
#define NORM_SWEEPS(operator, given)                                                               \
    {.op = operator, HELD([DIM_M] = 32768), ALONG(DIM_HIDDEN, FEATURES), BFLOAT16,                 \
     .present = given, WARM},                                                                      \
    {.op = operator, HELD([DIM_HIDDEN] = 1024), ALONG(DIM_M, 1, 16, 256), BFLOAT16,                \
     .present = given, WARM},                                                                      \
    {.op = operator, HELD([DIM_HIDDEN] = 4096), ALONG(DIM_M, 1, 16, 256), BFLOAT16,                \
     .present = given, WARM},                                                                      \
    {.op = operator, HELD([DIM_HIDDEN] = 16384), ALONG(DIM_M, 1, 16, 256), BFLOAT16,               \
     .present = given, WARM}
#define NORM_4096_ROWS(operator, given)                                                            \
    {.op = operator, HELD([DIM_M] = 4096), ALONG(DIM_HIDDEN, FEATURES), BFLOAT16,                  \
     .present = given, WARM}
    NORM_SWEEPS(TNL_SRMSNORM_FORWARD, 0),
    NORM_SWEEPS(TNL_SRMSNORM_BACKWARD, 0),
    NORM_SWEEPS(TNL_SRMSNORM_RESIDUAL_FORWARD, 0),
    NORM_4096_ROWS(TNL_SRMSNORM_RESIDUAL_FORWARD, 0),
    NORM_SWEEPS(TNL_SRMSNORM_RESIDUAL_BACKWARD, 1u << RES_BWD_DRESIDUAL_OUT),
    NORM_4096_ROWS(TNL_SRMSNORM_RESIDUAL_BACKWARD, 1u << RES_BWD_DRESIDUAL_OUT),
    NORM_SWEEPS(TNL_SRMSNORM_GATE_FORWARD, 0),
    NORM_4096_ROWS(TNL_SRMSNORM_GATE_FORWARD, 0),
    NORM_SWEEPS(TNL_SRMSNORM_GATE_BACKWARD, 0),
    NORM_4096_ROWS(TNL_SRMSNORM_GATE_BACKWARD, 0),

    {.op = TNL_SRMSNORM_FORWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 24576, 98304)},
    {.op = TNL_SRMSNORM_BACKWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 24576, 98304)},
    {.op = TNL_SRMSNORM_RESIDUAL_FORWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 2048, 24576)},
    {.op = TNL_SRMSNORM_RESIDUAL_BACKWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 2048, 24576),
     .present = 1u << RES_BWD_DRESIDUAL_OUT},
    {.op = TNL_SRMSNORM_GATE_FORWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 2048, 24576)},
    {.op = TNL_SRMSNORM_GATE_BACKWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 2048, 24576)},

    {.op = TNL_QKVU_ACTIVATION_FORWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 8192),
     .lrpe = 1u << ACT_THETA},
    {.op = TNL_QKVU_ACTIVATION_BACKWARD, HELD(HEADS(4, 32)), ALONG(DIM_N, 8192),
     .lrpe = 1u << ACT_BWD_THETA | 1u << ACT_BWD_DTHETA},

#define SGLU_SWEEPS(operator, given)                                                               \
    {.op = operator, HELD([DIM_M] = 8192), ALONG(DIM_HIDDEN, 1024, 2048, 4096), GATED, BFLOAT16,   \
     .present = given},                                                                            \
    {.op = operator, HELD([DIM_M] = 8192, [DIM_G] = 22016), ALONG(DIM_HIDDEN, 8192), BFLOAT16,     \
     .present = given},                                                                            \
    {.op = operator, HELD([DIM_HIDDEN] = 4096, [DIM_G] = 11264), ALONG(DIM_M, 1, 16, 64), BFLOAT16, \
     .present = given},                                                                            \
    {.op = operator, HELD([DIM_M] = 8192), ALONG(DIM_HIDDEN, 2048), GATED, OTHERS, .present = given}
    SGLU_SWEEPS(TNL_SGLU_GATE, 0),
    SGLU_SWEEPS(TNL_SGLU_DOWN, 0),
    SGLU_SWEEPS(TNL_SGLU_FORWARD, 0),
    SGLU_SWEEPS(TNL_SGLU_BACKWARD, 1u << SGLU_BWD_V | 1u << SGLU_BWD_U),

    {.op = TNL_QKVU_PROJECTION_FORWARD, HELD([DIM_M] = 8192), ALONG(DIM_HIDDEN, 4096), PACKED,
     .lrpe = 1u << PROJ_THETA},
    {.op = TNL_QKVU_PROJECTION_FORWARD, HELD([DIM_M] = 8192), ALONG(DIM_HIDDEN, 1024, 2048), PACKED,
     BFLOAT16, .lrpe = 1u << PROJ_THETA},
    {.op = TNL_QKVU_PROJECTION_FORWARD, HELD([DIM_HIDDEN] = 4096, [DIM_K] = 16384),
     ALONG(DIM_M, 1, 16, 64), BFLOAT16, .lrpe = 1u << PROJ_THETA},
    {.op = TNL_QKVU_PROJECTION_BACKWARD, HELD([DIM_M] = 8192), ALONG(DIM_HIDDEN, 4096), PACKED,
     .present = 1u << PROJ_BWD_PREACTIVATION},

    {.op = TNL_DECODE, HELD([DIM_H] = 32, [DIM_D] = 128, [DIM_E] = 128),
     ALONG(DIM_B, 1, 4, 16, 64, 256), WARM},

    {.varies = DIM_NONE},
};
/* clang-format on */
