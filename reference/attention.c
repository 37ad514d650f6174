/*
 * Linear attention with decay (eq. 10): O = (Q K^T * M) V, M[s,t] = lambda^(s-t) for s >= t and 0
 * above the diagonal, with a state handed in at the start of a sequence and out at its end.
 *
 * Forward and backward are four products of one shape,
 *     out_r = sum over c of (x_r . y_c) lambda^|r-c| z_c,
 * over the past of r (c <= r) or over its future (c >= r), as eq. 10 and its gradients give them:
 *              x    y    z    out   c
 *              q    k    v    o     past
 *              do   v    k    dq    past        dA = (dO V^T) * M,  dQ = dA K
 *              v    do   q    dk    future      dK = dA^T Q
 *              k    q    do   dv    future      dV = (Q K^T * M)^T dO
 * Algorithm 4 prints dA_ij = [dO_i V_i^T] * M for dO_i V_j^T, dK_j = dk_j + dA_ij^T V_j for
 * dK_j + dA_ij^T Q_i, dQ_i = dK_i + dA_ij K_j for dQ_i + dA_ij K_j, and sets dK and dV to zero
 * inside its inner loop; Algorithms 3 and 4 load M_ij as B_c x B_c, which is B_r x B_c. The table
 * above is what the mathematics says.
 *
 * A product also sees a state S, which stands for all tokens beyond its end of the sequence: the
 * initial state lies before the past (lambda^(r+1) x_r S), the final state's gradient behind the
 * future (lambda^(n-1-r) x_r S). And it can hand out the state beyond its other end.
 *
 * Each product can be had in two forms: the left product, as above, n^2 work; and the recurrence
 * S <- lambda S + y^T z, out = x S, n work, which the left product is there to check.
 */
#include <math.h>

#include "reference/sums.h"

typedef struct product {
    const tnl_call *call;
    const double *x, *y, *z; /* [n,inner], [n,inner], [n,outer] */
    double *out;             /* [n,outer] */
    int64_t n, inner, outer;
    double slope;
    bool future;
    const double *state; /* [inner,outer] by the strides below, or NULL: zero */
    int64_t inner_stride, outer_stride;
    double *state_out; /* [inner,outer], contiguous, or NULL: not asked for */
} product;

typedef void product_form(const product *p);

static real decay(const product *p, int64_t steps) {
    return (real)exp(-p->slope * (double)steps);
}

/* ---- the left product ------------------------------------------------------------------- */

/* out_r += lambda^steps x_r S */
static void add_state(const product *p, int64_t r) {
    const real power = decay(p, p->future ? p->n - 1 - r : r + 1);
    double *out = p->out + r * p->outer;
    for (int64_t i = 0; i < p->inner; i++) {
        const real x = rounded(p->call, power * (real)p->x[r * p->inner + i]);
        const double *state = p->state + i * p->inner_stride;
        for (int64_t j = 0; j < p->outer; j++)
            out[j] = (real)out[j] + x * (real)state[j * p->outer_stride];
    }
}

/* out_r += sum over c of (x_r . y_c) lambda^|r-c| z_c. The naive computation rounds the scores,
 * M, and their product. */
static void add_tokens(const product *p, int64_t r) {
    const int64_t begin = p->future ? r : 0, end = p->future ? p->n : r + 1;
    for (int64_t first = begin; first < end; first += TNL_LANES) {
        const int lanes = tnl_lanes(first, end);
        real score[TNL_LANES];
        tnl_dots(p->x + r * p->inner, p->y + first * p->inner, p->inner, lanes, score);
        for (int j = 0; j < lanes; j++) {
            const int64_t c = first + j;
            const real mask = rounded(p->call, decay(p, p->future ? c - r : r - c));
            const real masked = rounded(p->call, rounded(p->call, score[j]) * mask);
            tnl_add_scaled(p->out + r * p->outer, masked, p->z + c * p->outer, p->outer);
        }
    }
}

/* Row i of lambda^n S + sum over c of lambda^steps y_c^T z_c, steps being those from c to the
 * far end. */
static void far_state(const product *p, int64_t i) {
    double *out = p->state_out + i * p->outer;
    const real power = decay(p, p->n);
    for (int64_t j = 0; j < p->outer; j++)
        out[j] =
            p->state ? power * (real)p->state[i * p->inner_stride + j * p->outer_stride] : (real)0;
    for (int64_t c = 0; c < p->n; c++) {
        const real y = (real)p->y[c * p->inner + i] * decay(p, p->future ? c + 1 : p->n - 1 - c);
        tnl_add_scaled(out, rounded(p->call, y), p->z + c * p->outer, p->outer);
    }
}

static void left_product(const product *p) {
#pragma omp parallel
    {
#pragma omp for schedule(dynamic, 8)
        for (int64_t r = 0; r < p->n; r++) {
            tnl_zero(p->out + r * p->outer, p->outer);
            if (p->state)
                add_state(p, r);
            add_tokens(p, r);
        }
        if (p->state_out) {
#pragma omp for
            for (int64_t i = 0; i < p->inner; i++)
                far_state(p, i);
        }
    }
}

/* ---- the recurrence --------------------------------------------------------------------- */

enum { TILE = 16 };

/* n numbers from a double array, the rest of the tile zero. */
static void load_tile(const double *from, int64_t n, real to[TILE]) {
    for (int64_t i = 0; i < TILE; i++)
        to[i] = i < n ? (real)from[i] : 0;
}

/* The recurrence for the part [i0 ..][j0 ..] of the state, one tile of it, through all tokens; its
 * part of every output is added to what is there. Elements of a state never meet one another, so
 * that tiles can go one by one and need no more than this memory. */
static void sweep_tile(const product *p, int64_t i0, int64_t j0) {
    const int64_t rows = tnl_min(TILE, p->inner - i0), columns = tnl_min(TILE, p->outer - j0);
    const real lambda = decay(p, 1);
    real state[TILE][TILE] = {{0}};
    for (int64_t i = 0; p->state && i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            state[i][j] = (real)p->state[(i0 + i) * p->inner_stride + (j0 + j) * p->outer_stride];

    for (int64_t step = 0; step < p->n; step++) {
        const int64_t r = p->future ? p->n - 1 - step : step;
        const double *x = p->x + r * p->inner + i0, *y = p->y + r * p->inner + i0;
        double *out = p->out + r * p->outer + j0;
        /* The state handed to the last token is that of its own time: no decay yet. */
        const real factor = p->future && step == 0 ? 1 : lambda;
        real z[TILE], sum[TILE];
        load_tile(p->z + r * p->outer + j0, columns, z);
        load_tile(out, columns, sum);
        for (int64_t i = 0; i < rows; i++) {
            for (int j = 0; j < TILE; j++) {
                state[i][j] = factor * state[i][j] + (real)y[i] * z[j];
                sum[j] += (real)x[i] * state[i][j];
            }
        }
        for (int64_t j = 0; j < columns; j++)
            out[j] = sum[j];
    }

    const real last = p->future && p->n > 0 ? lambda : 1;
    for (int64_t i = 0; p->state_out && i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            p->state_out[(i0 + i) * p->outer + j0 + j] = last * state[i][j];
}

static void recurrence(const product *p) {
#pragma omp parallel for
    for (int64_t j = 0; j < p->outer; j += TILE) {
        for (int64_t r = 0; r < p->n; r++)
            tnl_zero(p->out + r * p->outer + j, tnl_min(TILE, p->outer - j));
        for (int64_t i = 0; i < p->inner; i += TILE)
            sweep_tile(p, i, j);
    }
}

static void by_length(const product *p) {
    if (p->n <= TNL_LEFT_PRODUCT_MAX)
        left_product(p);
    else
        recurrence(p);
}

/* ---- the products of a call ------------------------------------------------------------- */

/* One sequence of one head: where its tokens and its state are. */
typedef struct slice {
    int64_t n, token, state;
    double slope;
} slice;

static slice find_slice(const tnl_call *call, int slope, int cu_seqlens, int64_t i, int64_t head) {
    const int64_t h = call->dim[DIM_H], n = call->dim[DIM_N];
    const tnl_sequence sequence = tnl_get_sequence(call, cu_seqlens, n, i);
    return (slice){sequence.end - sequence.begin, (sequence.batch * h + head) * n + sequence.begin,
                   (i * h + head) * call->dim[DIM_D] * call->dim[DIM_E],
                   tnl_values(call, slope)[head]};
}

static double *tokens(const tnl_call *call, int tensor, const slice *at, int64_t width) {
    return tnl_values(call, tensor) + at->token * width;
}

static double *state_of(const tnl_call *call, int tensor, const slice *at) {
    double *states = tnl_values(call, tensor);
    return states ? states + at->state : NULL;
}

static void forward(const tnl_call *call, product_form *form) {
    const int64_t h = call->dim[DIM_H], d = call->dim[DIM_D], e = call->dim[DIM_E];
    for (int64_t i = 0; i < call->dim[DIM_S] * h; i++) {
        const slice at = find_slice(call, ATT_SLOPE, ATT_CU_SEQLENS, i / h, i % h);
        const product o = {.call = call,
                           .x = tokens(call, ATT_Q, &at, d),
                           .y = tokens(call, ATT_K, &at, d),
                           .z = tokens(call, ATT_V, &at, e),
                           .out = tokens(call, ATT_O, &at, e),
                           .n = at.n,
                           .inner = d,
                           .outer = e,
                           .slope = at.slope,
                           .state = state_of(call, ATT_INITIAL_STATE, &at),
                           .inner_stride = e,
                           .outer_stride = 1,
                           .state_out = state_of(call, ATT_FINAL_STATE, &at)};
        form(&o);
    }
}

static void backward_slice(const tnl_call *call, const slice *at, product_form *form) {
    const int64_t d = call->dim[DIM_D], e = call->dim[DIM_E];
    const double *q = tokens(call, ATT_BWD_Q, at, d), *k = tokens(call, ATT_BWD_K, at, d);
    const double *v = tokens(call, ATT_BWD_V, at, e), *dout = tokens(call, ATT_BWD_DOUT, at, e);

    product p = {.call = call, .n = at->n, .slope = at->slope};

    /* dQ and dK see the states transposed, [e,d]. */
    p.inner = e, p.outer = d;
    p.inner_stride = 1, p.outer_stride = e;
    p.x = dout, p.y = v, p.z = k;
    p.out = tokens(call, ATT_BWD_DQ, at, d);
    p.state = state_of(call, ATT_BWD_INITIAL_STATE, at);
    form(&p);

    p.future = true;
    p.x = v, p.y = dout, p.z = q;
    p.out = tokens(call, ATT_BWD_DK, at, d);
    p.state = state_of(call, ATT_BWD_DFINAL_STATE, at);
    form(&p);

    p.inner = d, p.outer = e;
    p.inner_stride = e, p.outer_stride = 1;
    p.x = k, p.y = q, p.z = dout;
    p.out = tokens(call, ATT_BWD_DV, at, e);
    p.state_out = state_of(call, ATT_BWD_DINITIAL_STATE, at);
    form(&p);
}

static void backward(const tnl_call *call, product_form *form) {
    const int64_t h = call->dim[DIM_H];
    for (int64_t i = 0; i < call->dim[DIM_S] * h; i++) {
        const slice at = find_slice(call, ATT_BWD_SLOPE, ATT_BWD_CU_SEQLENS, i / h, i % h);
        backward_slice(call, &at, form);
    }
}

/* ---- the operators ---------------------------------------------------------------------- */

void REFERENCE(attention_forward)(const tnl_call *call) {
    forward(call, by_length);
}

void REFERENCE(attention_forward_left_product)(const tnl_call *call) {
    forward(call, left_product);
}

void REFERENCE(attention_forward_recurrence)(const tnl_call *call) {
    forward(call, recurrence);
}

void REFERENCE(attention_backward)(const tnl_call *call) {
    backward(call, by_length);
}

void REFERENCE(attention_backward_left_product)(const tnl_call *call) {
    backward(call, left_product);
}

void REFERENCE(attention_backward_recurrence)(const tnl_call *call) {
    backward(call, recurrence);
}

_Static_assert((int)ATT_FB_Q == ATT_Q && (int)ATT_FB_Q == ATT_BWD_Q &&
                   (int)ATT_FB_CU_SEQLENS == ATT_CU_SEQLENS &&
                   (int)ATT_FB_CU_SEQLENS == ATT_BWD_CU_SEQLENS,
               "q, k, v, slope and cu_seqlens have the same places in all three");

void REFERENCE(attention_forward_backward)(const tnl_call *call) {
    tnl_call part = *call;
    part.tensor[ATT_INITIAL_STATE] = part.tensor[ATT_FINAL_STATE] = (tnl_tensor){0};
    part.tensor[ATT_O] = call->tensor[ATT_FB_O];
    forward(&part, by_length);

    part.tensor[ATT_BWD_INITIAL_STATE] = part.tensor[ATT_BWD_DFINAL_STATE] =
        part.tensor[ATT_BWD_DINITIAL_STATE] = (tnl_tensor){0};
    part.tensor[ATT_BWD_DOUT] = call->tensor[ATT_FB_DOUT];
    part.tensor[ATT_BWD_DQ] = call->tensor[ATT_FB_DQ];
    part.tensor[ATT_BWD_DK] = call->tensor[ATT_FB_DK];
    part.tensor[ATT_BWD_DV] = call->tensor[ATT_FB_DV];
    backward(&part, by_length);
}
