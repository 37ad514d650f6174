/*
 * The references: each operator's definition as plain loops, read next to the paper.
 *
 * Every file here is compiled twice. Plainly, `real` is double and rounded() does nothing: the
 * reference. With TNL_NAIVE, `real` is float and rounded() rounds to the call's type: the naive
 * computation in that type, which sums in float32 as every variant may and rounds each
 * intermediate tensor (rounded_to: one of a type of its own) as a program that runs operator by
 * operator would. Inputs and outputs are double in both; the caller rounds outputs to the type they
 * are stored in.
 */
#ifndef TNL_REFERENCE_H
#define TNL_REFERENCE_H

#include "core/table.h"
#include "core/types.h"

#ifdef TNL_NAIVE
typedef float real;
#define REFERENCE(name) tnl_naive_##name
#define rounded_to(type, x) ((real)tnl_round((type), (x)))
#else
typedef double real;
#define REFERENCE(name) tnl_reference_##name
#define rounded_to(type, x) ((void)(type), (real)(x))
#endif
#define rounded(call, x) rounded_to((call)->type, x)

#ifdef __cplusplus
extern "C" {
#endif

/* Both compilations of every operator's reference, by the operator's name. */
#define TNL_DECLARE_REFERENCE(name) tnl_reference tnl_reference_##name, tnl_naive_##name
TNL_DECLARE_REFERENCE(srmsnorm_forward);
TNL_DECLARE_REFERENCE(srmsnorm_backward);
TNL_DECLARE_REFERENCE(srmsnorm_residual_forward);
TNL_DECLARE_REFERENCE(srmsnorm_residual_backward);
TNL_DECLARE_REFERENCE(srmsnorm_gate_forward);
TNL_DECLARE_REFERENCE(srmsnorm_gate_backward);
TNL_DECLARE_REFERENCE(qkvu_activation_forward);
TNL_DECLARE_REFERENCE(qkvu_activation_backward);
TNL_DECLARE_REFERENCE(attention_forward);
TNL_DECLARE_REFERENCE(attention_backward);
TNL_DECLARE_REFERENCE(attention_forward_backward);
TNL_DECLARE_REFERENCE(sglu_gate);
TNL_DECLARE_REFERENCE(sglu_down);
TNL_DECLARE_REFERENCE(sglu_forward);
TNL_DECLARE_REFERENCE(sglu_backward);
TNL_DECLARE_REFERENCE(qkvu_projection_forward);
TNL_DECLARE_REFERENCE(qkvu_projection_backward);
TNL_DECLARE_REFERENCE(decode);
/* Algorithm 1, whose state is lambda^-t times Algorithm 2's. */
TNL_DECLARE_REFERENCE(decode_origin);
/* The two forms of attention that attention_forward and attention_backward choose from: the left
 * product up to TNL_LEFT_PRODUCT_MAX tokens a sequence, beyond it the recurrence. */
TNL_DECLARE_REFERENCE(attention_forward_left_product);
TNL_DECLARE_REFERENCE(attention_forward_recurrence);
TNL_DECLARE_REFERENCE(attention_backward_left_product);
TNL_DECLARE_REFERENCE(attention_backward_recurrence);

enum { TNL_LEFT_PRODUCT_MAX = 4096 };

#ifdef __cplusplus
}
#endif

#endif
