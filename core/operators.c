/*
 * The operators, as data: a row each with its tensors, its reference and what is expected of it.
 * The order of the tensors is that of the args structs in tnl.h and of the enums in core/call.h.
 */
#include "core/relate.h"
#include "core/table.h"
#include "reference/reference.h"

/* A tensor: role, name, type, shape. OPT before a role's macro marks what may be absent; outputs
 * also say how many leading dimensions number their slices and which input they may be. */
#define DATA TNL_NO_TYPE
#define F32 TNL_FLOAT32
#define I32 TNL_INT32
#define I64 TNL_INT64
#define RANK(...) (int)(sizeof((enum tnl_dim[]){__VA_ARGS__}) / sizeof(enum tnl_dim))
#define IN(name, type, ...)                                                                        \
    { name, TNL_INPUT, false, type, RANK(__VA_ARGS__), {__VA_ARGS__}, 0, 0, CONTENT_ANY, false }
#define IN_OPT(name, type, ...)                                                                    \
    { name, TNL_INPUT, true, type, RANK(__VA_ARGS__), {__VA_ARGS__}, 0, 0, CONTENT_ANY, false }
#define OUT(name, slices, type, ...)                                                               \
    {                                                                                              \
        name, TNL_OUTPUT, false, type, RANK(__VA_ARGS__), {__VA_ARGS__}, slices, 0, CONTENT_ANY,   \
            false                                                                                  \
    }
#define OUT_OPT(name, slices, type, ...)                                                           \
    {                                                                                              \
        name, TNL_OUTPUT, true, type, RANK(__VA_ARGS__), {__VA_ARGS__}, slices, 0, CONTENT_ANY,    \
            false                                                                                  \
    }
#define OUT_AT(name, input, slices, type, ...)                                                     \
    {                                                                                              \
        name, TNL_OUTPUT, false, type, RANK(__VA_ARGS__), {__VA_ARGS__}, slices, 1 + (input),      \
            CONTENT_ANY, false                                                                     \
    }
#define OUT_OPT_AT(name, input, slices, type, ...)                                                 \
    {                                                                                              \
        name, TNL_OUTPUT, true, type, RANK(__VA_ARGS__), {__VA_ARGS__}, slices, 1 + (input),       \
            CONTENT_ANY, false                                                                     \
    }
/* Data or float32, as what is added to the residual stream; and the stream itself, which is written
 * in place of input `input`. */
#define IN_OR_F32(name, ...)                                                                       \
    { name, TNL_INPUT, false, DATA, RANK(__VA_ARGS__), {__VA_ARGS__}, 0, 0, CONTENT_ANY, true }
#define OUT_OR_F32(name, slices, ...)                                                              \
    {                                                                                              \
        name, TNL_OUTPUT, false, DATA, RANK(__VA_ARGS__), {__VA_ARGS__}, slices, 0, CONTENT_ANY,   \
            true                                                                                   \
    }
#define OUT_OR_F32_AT(name, input, slices, ...)                                                    \
    {                                                                                              \
        name, TNL_OUTPUT, false, DATA, RANK(__VA_ARGS__), {__VA_ARGS__}, slices, 1 + (input),      \
            CONTENT_ANY, true                                                                      \
    }
#define IN_OUT(name, slices, type, ...)                                                            \
    {                                                                                              \
        name, TNL_IN_OUT, false, type, RANK(__VA_ARGS__), {__VA_ARGS__}, slices, 0, CONTENT_ANY,   \
            false                                                                                  \
    }

#define SLOPE                                                                                      \
    { "slope", TNL_INPUT, false, F32, 1, {DIM_H}, 0, 0, CONTENT_SLOPES, false }
#define THETA IN_OPT("theta", F32, DIM_H, DIM_D)
#define POSITIONS(dim)                                                                             \
    { "positions", TNL_INPUT, true, I64, 1, {dim}, 0, 0, CONTENT_POSITIONS, false }
#define CU_SEQLENS                                                                                 \
    { "cu_seqlens", TNL_INPUT, true, I32, 1, {DIM_S1}, 0, 0, CONTENT_CU_SEQLENS, false }
#define SLOTS                                                                                      \
    { "slots", TNL_INPUT, true, I32, 1, {DIM_B}, 0, 0, CONTENT_SLOTS, false }

#define ROWS DIM_M, DIM_HIDDEN
#define HEADS_D DIM_B, DIM_H, DIM_N, DIM_D
#define HEADS_E DIM_B, DIM_H, DIM_N, DIM_E
#define HEADS_F DIM_B, DIM_H, DIM_N, DIM_F
#define STATE DIM_S, DIM_H, DIM_D, DIM_E

#define ARGUMENTS(...)                                                                             \
    .argument_count = (int)(sizeof((tnl_argument[]){__VA_ARGS__}) / sizeof(tnl_argument)),         \
    .argument = {__VA_ARGS__}
#define REFERENCES(name) .reference = tnl_reference_##name, .naive = tnl_naive_##name
#define USUAL_BOUNDS .bound = {[TNL_FLOAT32] = 1e-5, [TNL_FLOAT16] = 5e-4, [TNL_BFLOAT16] = 3.5e-3}

/* Operations: a multiplication and an addition count as two. Attention's are the linear form's
 * own, whatever a variant spends. */
static double attention_forward_flops(const int64_t *dim) {
    return 4.0 * dim[DIM_B] * dim[DIM_H] * dim[DIM_N] * dim[DIM_D] * dim[DIM_E];
}
static double attention_backward_flops(const int64_t *dim) {
    return 2.5 * attention_forward_flops(dim);
}
static double attention_forward_backward_flops(const int64_t *dim) {
    return 3.5 * attention_forward_flops(dim);
}
static double sglu_gemm_flops(const int64_t *dim) {
    return 2.0 * dim[DIM_M] * dim[DIM_HIDDEN] * dim[DIM_G];
}
static double sglu_gate_flops(const int64_t *dim) {
    return 2 * sglu_gemm_flops(dim);
}
static double sglu_forward_flops(const int64_t *dim) {
    return 3 * sglu_gemm_flops(dim);
}
static double sglu_backward_flops(const int64_t *dim) {
    return 6 * sglu_gemm_flops(dim);
}
static double projection_forward_flops(const int64_t *dim) {
    return 2.0 * dim[DIM_M] * dim[DIM_HIDDEN] * dim[DIM_K];
}
static double projection_backward_flops(const int64_t *dim) {
    return 2 * projection_forward_flops(dim);
}
static double decode_flops(const int64_t *dim) {
    return 4.0 * dim[DIM_B] * dim[DIM_H] * dim[DIM_F] * dim[DIM_E];
}

const tnl_operator_row tnl_operators[TNL_OPERATOR_COUNT] = {
    [TNL_SRMSNORM_FORWARD] = {.name = "srmsnorm_forward",
                              .definition = "y = x / sqrt(mean(x^2) + eps)",
                              ARGUMENTS(IN("x", DATA, ROWS), OUT_AT("y", NORM_X, 1, DATA, ROWS)),
                              .has_eps = true,
                              REFERENCES(srmsnorm_forward),
                              USUAL_BOUNDS,
                              .named = {DIM_M, DIM_HIDDEN}},
    [TNL_SRMSNORM_BACKWARD] = {.name = "srmsnorm_backward",
                               .definition = "dx = r dy - x r^3 mean(x dy)",
                               ARGUMENTS(IN("x", DATA, ROWS), IN("dy", DATA, ROWS),
                                         OUT_AT("dx", NORM_BWD_DY, 1, DATA, ROWS)),
                               .has_eps = true,
                               REFERENCES(srmsnorm_backward),
                               USUAL_BOUNDS,
                               .named = {DIM_M, DIM_HIDDEN}},
    [TNL_SRMSNORM_RESIDUAL_FORWARD] =
        {.name = "srmsnorm_residual_forward",
         .definition = "residual_out = residual + x; y = SRMSNorm(residual_out)",
         ARGUMENTS(IN_OR_F32("residual", ROWS), IN_OR_F32("x", ROWS),
                   OUT_OR_F32_AT("residual_out", RES_RESIDUAL, 1, ROWS),
                   OUT_AT("y", RES_X, 1, DATA, ROWS)),
         .has_eps = true,
         .relate = tnl_relate_residual,
         REFERENCES(srmsnorm_residual_forward),
         USUAL_BOUNDS,
         .named = {DIM_M, DIM_HIDDEN}},
    [TNL_SRMSNORM_RESIDUAL_BACKWARD] = {.name = "srmsnorm_residual_backward",
                                        .definition =
                                            "dx = SRMSNorm'(residual_out) dy + dresidual_out",
                                        ARGUMENTS(
                                            IN("residual_out", DATA, ROWS), IN("dy", DATA, ROWS),
                                            IN_OPT("dresidual_out", DATA, ROWS),
                                            OUT_AT("dx", RES_BWD_DRESIDUAL_OUT, 1, DATA, ROWS)),
                                        .has_eps = true,
                                        REFERENCES(srmsnorm_residual_backward),
                                        USUAL_BOUNDS,
                                        .named = {DIM_M, DIM_HIDDEN}},
    [TNL_SRMSNORM_GATE_FORWARD] = {.name = "srmsnorm_gate_forward",
                                   .definition = "y = SRMSNorm(x) * u",
                                   ARGUMENTS(IN("x", DATA, ROWS), IN("u", DATA, ROWS),
                                             OUT_AT("y", GATE_X, 1, DATA, ROWS)),
                                   .has_eps = true,
                                   REFERENCES(srmsnorm_gate_forward),
                                   USUAL_BOUNDS,
                                   .named = {DIM_M, DIM_HIDDEN}},
    [TNL_SRMSNORM_GATE_BACKWARD] = {.name = "srmsnorm_gate_backward",
                                    .definition =
                                        "du = SRMSNorm(x) * dy; dx = SRMSNorm'(x) (u * dy)",
                                    ARGUMENTS(IN("x", DATA, ROWS), IN("u", DATA, ROWS),
                                              IN("dy", DATA, ROWS), OUT("dx", 1, DATA, ROWS),
                                              OUT("du", 1, DATA, ROWS)),
                                    .has_eps = true,
                                    REFERENCES(srmsnorm_gate_backward),
                                    USUAL_BOUNDS,
                                    .named = {DIM_M, DIM_HIDDEN}},
    [TNL_QKVU_ACTIVATION_FORWARD] =
        {.name = "qkvu_activation_forward",
         .definition = "swish on Q and K, then LRPE: x -> [x cos(theta t) | x sin(theta t)]",
         ARGUMENTS(IN("q", DATA, HEADS_D), IN("k", DATA, HEADS_D), THETA, POSITIONS(DIM_S),
                   CU_SEQLENS, OUT_AT("q_out", ACT_Q, 2, DATA, HEADS_F),
                   OUT_AT("k_out", ACT_K, 2, DATA, HEADS_F)),
         .relate = tnl_relate_activation,
         REFERENCES(qkvu_activation_forward),
         USUAL_BOUNDS,
         .named = {DIM_B, DIM_H, DIM_N, DIM_D}},
    [TNL_QKVU_ACTIVATION_BACKWARD] = {.name = "qkvu_activation_backward",
                                      .definition = "the gradients of Q, K and theta",
                                      ARGUMENTS(IN("q", DATA, HEADS_D), IN("k", DATA, HEADS_D),
                                                THETA, POSITIONS(DIM_S), CU_SEQLENS,
                                                IN("dq_out", DATA, HEADS_F),
                                                IN("dk_out", DATA, HEADS_F),
                                                OUT_AT("dq", ACT_BWD_DQ_OUT, 2, DATA, HEADS_D),
                                                OUT_AT("dk", ACT_BWD_DK_OUT, 2, DATA, HEADS_D),
                                                OUT_OPT("dtheta", 1, F32, DIM_H, DIM_D)),
                                      .relate = tnl_relate_activation,
                                      REFERENCES(qkvu_activation_backward),
                                      USUAL_BOUNDS,
                                      .named = {DIM_B, DIM_H, DIM_N, DIM_D}},
    [TNL_ATTENTION_FORWARD] = {.name = "attention_forward",
                               .definition =
                                   "O = (Q K^T * M) V, M[s,t] = lambda^(s-t) for s >= t, else 0",
                               ARGUMENTS(
                                   IN("q", DATA, HEADS_D), IN("k", DATA, HEADS_D),
                                   IN("v", DATA, HEADS_E), SLOPE, CU_SEQLENS,
                                   IN_OPT("initial_state", F32, STATE), OUT("o", 2, DATA, HEADS_E),
                                   OUT_OPT_AT("final_state", ATT_INITIAL_STATE, 2, F32, STATE)),
                               .relate = tnl_relate_attention,
                               REFERENCES(attention_forward),
                               .flops = attention_forward_flops,
                               USUAL_BOUNDS,
                               .named = {DIM_B, DIM_H, DIM_N, DIM_D, DIM_E}},
    [TNL_ATTENTION_BACKWARD] =
        {.name = "attention_backward",
         .definition = "the gradients of Q, K, V and the initial state",
         ARGUMENTS(IN("q", DATA, HEADS_D), IN("k", DATA, HEADS_D), IN("v", DATA, HEADS_E),
                   SLOPE, CU_SEQLENS, IN_OPT("initial_state", F32, STATE),
                   IN("dout", DATA, HEADS_E), IN_OPT("dfinal_state", F32, STATE),
                   OUT("dq", 2, DATA, HEADS_D), OUT("dk", 2, DATA, HEADS_D),
                   OUT("dv", 2, DATA, HEADS_E),
                   OUT_OPT_AT("dinitial_state", ATT_BWD_DFINAL_STATE, 2, F32, STATE)),
         .relate = tnl_relate_attention,
         REFERENCES(attention_backward),
         .flops = attention_backward_flops,
         USUAL_BOUNDS,
         .named = {DIM_B, DIM_H, DIM_N, DIM_D, DIM_E}},
    [TNL_ATTENTION_FORWARD_BACKWARD] =
        {.name = "attention_forward_backward",
         .definition = "O and the gradients of Q, K and V in one call",
         ARGUMENTS(IN("q", DATA, HEADS_D), IN("k", DATA, HEADS_D), IN("v", DATA, HEADS_E),
                   SLOPE, CU_SEQLENS, IN("dout", DATA, HEADS_E), OUT("o", 2, DATA, HEADS_E),
                   OUT("dq", 2, DATA, HEADS_D), OUT("dk", 2, DATA, HEADS_D),
                   OUT("dv", 2, DATA, HEADS_E)),
         .relate = tnl_relate_attention,
         REFERENCES(attention_forward_backward),
         .flops = attention_forward_backward_flops,
         USUAL_BOUNDS,
         .named = {DIM_B, DIM_H, DIM_N, DIM_D, DIM_E}},
    [TNL_SGLU_GATE] = {.name = "sglu_gate",
                       .definition = "P = (X Wv) * (X Wu)",
                       ARGUMENTS(IN("x", DATA, ROWS), IN("wv", DATA, DIM_G, DIM_HIDDEN),
                                 IN("wu", DATA, DIM_G, DIM_HIDDEN), OUT("p", 1, DATA, DIM_M, DIM_G),
                                 OUT_OPT("v", 1, DATA, DIM_M, DIM_G),
                                 OUT_OPT("u", 1, DATA, DIM_M, DIM_G)),
                       .relate = tnl_relate_sglu,
                       REFERENCES(sglu_gate),
                       .flops = sglu_gate_flops,
                       USUAL_BOUNDS,
                       .named = {DIM_M, DIM_HIDDEN, DIM_G}},
    [TNL_SGLU_DOWN] = {.name = "sglu_down",
                       .definition = "Y = P Wo",
                       ARGUMENTS(IN("p", DATA, DIM_M, DIM_G), IN("wo", DATA, DIM_HIDDEN, DIM_G),
                                 OUT_OR_F32("y", 1, ROWS)),
                       REFERENCES(sglu_down),
                       .flops = sglu_gemm_flops,
                       USUAL_BOUNDS,
                       .named = {DIM_M, DIM_HIDDEN, DIM_G}},
    [TNL_SGLU_FORWARD] = {.name = "sglu_forward",
                          .definition = "Y = ((X Wv) * (X Wu)) Wo",
                          ARGUMENTS(IN("x", DATA, ROWS), IN("wv", DATA, DIM_G, DIM_HIDDEN),
                                    IN("wu", DATA, DIM_G, DIM_HIDDEN),
                                    IN("wo", DATA, DIM_HIDDEN, DIM_G), OUT("y", 1, DATA, ROWS),
                                    OUT_OPT("v", 1, DATA, DIM_M, DIM_G),
                                    OUT_OPT("u", 1, DATA, DIM_M, DIM_G)),
                          .relate = tnl_relate_sglu,
                          REFERENCES(sglu_forward),
                          .flops = sglu_forward_flops,
                          USUAL_BOUNDS,
                          .named = {DIM_M, DIM_HIDDEN, DIM_G}},
    [TNL_SGLU_BACKWARD] = {.name = "sglu_backward",
                           .definition = "the gradients of X, Wv, Wu and Wo",
                           ARGUMENTS(
                               IN("x", DATA, ROWS), IN("wv", DATA, DIM_G, DIM_HIDDEN),
                               IN("wu", DATA, DIM_G, DIM_HIDDEN), IN("wo", DATA, DIM_HIDDEN, DIM_G),
                               IN_OPT("v", DATA, DIM_M, DIM_G), IN_OPT("u", DATA, DIM_M, DIM_G),
                               IN("dy", DATA, ROWS), OUT("dx", 1, DATA, ROWS),
                               OUT("dwv", 1, DATA, DIM_G, DIM_HIDDEN),
                               OUT("dwu", 1, DATA, DIM_G, DIM_HIDDEN),
                               OUT("dwo", 1, DATA, DIM_HIDDEN, DIM_G)),
                           .relate = tnl_relate_sglu,
                           REFERENCES(sglu_backward),
                           .flops = sglu_backward_flops,
                           USUAL_BOUNDS,
                           .named = {DIM_M, DIM_HIDDEN, DIM_G}},
    [TNL_QKVU_PROJECTION_FORWARD] =
        {.name = "qkvu_projection_forward",
         .definition = "Q, K, V, U = X W, packed; swish and LRPE on Q and K",
         ARGUMENTS(IN("x", DATA, ROWS), IN("w", DATA, DIM_K, DIM_HIDDEN), THETA, POSITIONS(DIM_S),
                   CU_SEQLENS, OUT("y", 1, DATA, DIM_M, DIM_C),
                   OUT_OPT("preactivation", 1, DATA, DIM_M, DIM_QK)),
         .relate = tnl_relate_projection,
         REFERENCES(qkvu_projection_forward),
         .flops = projection_forward_flops,
         USUAL_BOUNDS,
         .named = {DIM_M, DIM_HIDDEN, DIM_K}},
    [TNL_QKVU_PROJECTION_BACKWARD] =
        {.name = "qkvu_projection_backward",
         .definition = "the gradients of X, W and theta",
         ARGUMENTS(IN("x", DATA, ROWS), IN("w", DATA, DIM_K, DIM_HIDDEN), THETA, POSITIONS(DIM_S),
                   CU_SEQLENS, IN_OPT("preactivation", DATA, DIM_M, DIM_QK),
                   IN("dy", DATA, DIM_M, DIM_C), OUT("dx", 1, DATA, ROWS),
                   OUT("dw", 1, DATA, DIM_K, DIM_HIDDEN), OUT_OPT("dtheta", 1, F32, DIM_H, DIM_D)),
         .relate = tnl_relate_projection,
         REFERENCES(qkvu_projection_backward),
         .flops = projection_backward_flops,
         USUAL_BOUNDS,
         .named = {DIM_M, DIM_HIDDEN, DIM_K}},
    [TNL_DECODE] = {.name = "decode",
                    .definition =
                        "state <- lambda state + k^T v; o = q state, for one token of each slot",
                    ARGUMENTS(IN("q", DATA, DIM_B, DIM_H, DIM_D),
                              IN("k", DATA, DIM_B, DIM_H, DIM_D),
                              IN("v", DATA, DIM_B, DIM_H, DIM_E), SLOPE, THETA, POSITIONS(DIM_B),
                              SLOTS, IN_OUT("state", 2, F32, DIM_SLOTS, DIM_H, DIM_F, DIM_E),
                              OUT("o", 2, DATA, DIM_B, DIM_H, DIM_E)),
                    .relate = tnl_relate_decode,
                    REFERENCES(decode),
                    .flops = decode_flops,
                    USUAL_BOUNDS,
                    .named = {DIM_B, DIM_H, DIM_D, DIM_E}},
};
