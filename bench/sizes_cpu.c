/*
 * Sizes on the CPU: those of CUDA devices scaled down, in batch, heads and rows, to what two cores
 * do in minutes; a size that is still too large for the machine's memory or patience is recorded
 * as skipped when its turn comes.
 */
#include "bench/sizes.h"

/* clang-format off */
const size_sweep bench_sizes_cpu[] = {
    /* Figure 2: against sequence length, and against feature dimension. */
    {.op = TNL_SRMSNORM_FORWARD, HELD([DIM_HIDDEN] = 3072), ALONG(DIM_M, LENGTHS)},
    {.op = TNL_SRMSNORM_FORWARD, HELD([DIM_M] = 4096), ALONG(DIM_HIDDEN, FEATURES)},
    {.op = TNL_SRMSNORM_BACKWARD, HELD([DIM_HIDDEN] = 3072), ALONG(DIM_M, LENGTHS)},
    {.op = TNL_SRMSNORM_BACKWARD, HELD([DIM_M] = 4096), ALONG(DIM_HIDDEN, FEATURES)},

    /* Figure 3; and how much of it is due to heads that forget. */
    {.op = TNL_ATTENTION_FORWARD_BACKWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, LENGTHS), RELEASED},
    {.op = TNL_ATTENTION_FORWARD_BACKWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, 1024, 4096), NO_DECAY},

    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(1, 8)), ALONG(DIM_N, 2048), BOTH_DECAYS},
    {.op = TNL_ATTENTION_FORWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, 2048, 8192, 16384), RELEASED},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(1, 8)), ALONG(DIM_N, 2048), BOTH_DECAYS},
    {.op = TNL_ATTENTION_BACKWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, 2048, 8192, 16384), RELEASED},

    {.op = TNL_SRMSNORM_FORWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 24576)},
    {.op = TNL_SRMSNORM_BACKWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 24576)},
    {.op = TNL_SRMSNORM_RESIDUAL_FORWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 2048, 24576)},
    {.op = TNL_SRMSNORM_RESIDUAL_BACKWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 2048, 24576),
     .present = 1u << RES_BWD_DRESIDUAL_OUT},
    {.op = TNL_SRMSNORM_GATE_FORWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 2048, 24576)},
    {.op = TNL_SRMSNORM_GATE_BACKWARD, HELD([DIM_HIDDEN] = 2048), ALONG(DIM_M, 2048, 24576)},

    {.op = TNL_QKVU_ACTIVATION_FORWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, 2048, 8192),
     .lrpe = 1u << ACT_THETA},
    {.op = TNL_QKVU_ACTIVATION_BACKWARD, HELD(HEADS(1, 16)), ALONG(DIM_N, 2048, 8192),
     .lrpe = 1u << ACT_BWD_THETA | 1u << ACT_BWD_DTHETA},

    {.op = TNL_SGLU_GATE, HELD([DIM_M] = 256), ALONG(DIM_HIDDEN, 1024, 2048, 4096), GATED},
    {.op = TNL_SGLU_DOWN, HELD([DIM_M] = 256), ALONG(DIM_HIDDEN, 1024, 2048, 4096), GATED},
    {.op = TNL_SGLU_FORWARD, HELD([DIM_M] = 256), ALONG(DIM_HIDDEN, 1024, 2048, 4096), GATED},
    {.op = TNL_SGLU_BACKWARD, HELD([DIM_M] = 256), ALONG(DIM_HIDDEN, 1024, 2048, 4096), GATED,
     .present = 1u << SGLU_BWD_V | 1u << SGLU_BWD_U},

    {.op = TNL_QKVU_PROJECTION_FORWARD, HELD([DIM_M] = 256), ALONG(DIM_HIDDEN, 1024, 2048, 4096),
     PACKED},
    {.op = TNL_QKVU_PROJECTION_BACKWARD, HELD([DIM_M] = 256), ALONG(DIM_HIDDEN, 1024, 2048, 4096),
     PACKED, .present = 1u << PROJ_BWD_PREACTIVATION},

    {.op = TNL_DECODE, HELD([DIM_H] = 32, [DIM_D] = 128, [DIM_E] = 128),
     ALONG(DIM_B, 1, 16, 64, 256)},

    {.varies = DIM_NONE},
};
/* clang-format on */
