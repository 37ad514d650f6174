/*
 * A call, checked and ready: what every launch function and every reference gets.
 *
 * By the time a launch function sees a tnl_call, core/check.c has found every argument good, so
 * kernels check nothing: shapes agree with `dim`, optional tensors that are absent have data
 * NULL, strides are filled in (contiguous ones too; a dimension of size 1 gets a stride that a
 * BLAS accepts as its leading dimension), and the workspace is large enough.
 */
#ifndef TNL_CORE_CALL_H
#define TNL_CORE_CALL_H

#include <stdbool.h>

#include "tnl.h"

#define TNL_MAX_TENSORS 12

/* The dimensions of all operators. core/operators.c gives each its letter. */
enum tnl_dim {
    DIM_NONE = 0,
    DIM_B,      /* b: batch */
    DIM_H,      /* h: heads */
    DIM_N,      /* n: sequence length; of a packed batch: all tokens */
    DIM_D,      /* d: head dimension of Q and K */
    DIM_E,      /* e: head dimension of V */
    DIM_F,      /* f: d after LRPE, d or 2d */
    DIM_S,      /* s: sequences */
    DIM_S1,     /* s+1 */
    DIM_SLOTS,  /* slots: states that decode can address */
    DIM_M,      /* m: rows */
    DIM_HIDDEN, /* D: hidden dimension */
    DIM_G,      /* g: gated dimension */
    DIM_K,      /* k: features of the packed projection */
    DIM_QK,     /* k/2: those of Q and K */
    DIM_C,      /* c: features after the activation, k or 3k/2 */
    DIM_COUNT
};

/* The tensors of each operator, in the order of its args struct in tnl.h. */
enum { NORM_X, NORM_Y };
enum { NORM_BWD_X, NORM_BWD_DY, NORM_BWD_DX };
enum { RES_RESIDUAL, RES_X, RES_RESIDUAL_OUT, RES_Y };
enum { RES_BWD_RESIDUAL_OUT, RES_BWD_DY, RES_BWD_DRESIDUAL_OUT, RES_BWD_DX };
enum { GATE_X, GATE_U, GATE_Y };
enum { GATE_BWD_X, GATE_BWD_U, GATE_BWD_DY, GATE_BWD_DX, GATE_BWD_DU };
enum { ACT_Q, ACT_K, ACT_THETA, ACT_POSITIONS, ACT_CU_SEQLENS, ACT_Q_OUT, ACT_K_OUT };
enum {
    ACT_BWD_Q,
    ACT_BWD_K,
    ACT_BWD_THETA,
    ACT_BWD_POSITIONS,
    ACT_BWD_CU_SEQLENS,
    ACT_BWD_DQ_OUT,
    ACT_BWD_DK_OUT,
    ACT_BWD_DQ,
    ACT_BWD_DK,
    ACT_BWD_DTHETA
};
enum { ATT_Q, ATT_K, ATT_V, ATT_SLOPE, ATT_CU_SEQLENS, ATT_INITIAL_STATE, ATT_O, ATT_FINAL_STATE };
enum {
    ATT_BWD_Q,
    ATT_BWD_K,
    ATT_BWD_V,
    ATT_BWD_SLOPE,
    ATT_BWD_CU_SEQLENS,
    ATT_BWD_INITIAL_STATE,
    ATT_BWD_DOUT,
    ATT_BWD_DFINAL_STATE,
    ATT_BWD_DQ,
    ATT_BWD_DK,
    ATT_BWD_DV,
    ATT_BWD_DINITIAL_STATE
};
enum {
    ATT_FB_Q,
    ATT_FB_K,
    ATT_FB_V,
    ATT_FB_SLOPE,
    ATT_FB_CU_SEQLENS,
    ATT_FB_DOUT,
    ATT_FB_O,
    ATT_FB_DQ,
    ATT_FB_DK,
    ATT_FB_DV
};
enum { SGLU_GATE_X, SGLU_GATE_WV, SGLU_GATE_WU, SGLU_GATE_P, SGLU_GATE_V, SGLU_GATE_U };
enum { SGLU_DOWN_P, SGLU_DOWN_WO, SGLU_DOWN_Y };
enum { SGLU_X, SGLU_WV, SGLU_WU, SGLU_WO, SGLU_Y, SGLU_V, SGLU_U };
enum {
    SGLU_BWD_X,
    SGLU_BWD_WV,
    SGLU_BWD_WU,
    SGLU_BWD_WO,
    SGLU_BWD_V,
    SGLU_BWD_U,
    SGLU_BWD_DY,
    SGLU_BWD_DX,
    SGLU_BWD_DWV,
    SGLU_BWD_DWU,
    SGLU_BWD_DWO
};
enum { PROJ_X, PROJ_W, PROJ_THETA, PROJ_POSITIONS, PROJ_CU_SEQLENS, PROJ_Y, PROJ_PREACTIVATION };
enum {
    PROJ_BWD_X,
    PROJ_BWD_W,
    PROJ_BWD_THETA,
    PROJ_BWD_POSITIONS,
    PROJ_BWD_CU_SEQLENS,
    PROJ_BWD_PREACTIVATION,
    PROJ_BWD_DY,
    PROJ_BWD_DX,
    PROJ_BWD_DW,
    PROJ_BWD_DTHETA
};
enum {
    DECODE_Q,
    DECODE_K,
    DECODE_V,
    DECODE_SLOPE,
    DECODE_THETA,
    DECODE_POSITIONS,
    DECODE_SLOTS,
    DECODE_STATE,
    DECODE_O
};

typedef struct tnl_call {
    tnl_context *context; /* NULL for a reference */
    tnl_operator op;
    tnl_type type; /* of the data tensors */
    int64_t dim[DIM_COUNT];
    tnl_tensor tensor[TNL_MAX_TENSORS];
    double eps;
    void *workspace;
    size_t workspace_bytes;
    bool settled; /* no kernel ahead writes to weights, states and slots: core/dispatch.h */
} tnl_call;

/* Sequence i of a call that may be packed: tokens [begin, end) of batch entry `batch`. */
typedef struct tnl_sequence {
    int64_t batch, begin, end;
} tnl_sequence;

/* cu_seqlens: the index of that tensor. Host memory. n: the tokens of a batch entry. */
static inline tnl_sequence tnl_get_sequence(const tnl_call *call, int cu_seqlens, int64_t n,
                                            int64_t i) {
    const int32_t *offset = (const int32_t *)call->tensor[cu_seqlens].data;
    tnl_sequence sequence = {i, 0, n};
    if (offset) {
        sequence.batch = 0;
        sequence.begin = offset[i];
        sequence.end = offset[i + 1];
    }
    return sequence;
}

#endif
