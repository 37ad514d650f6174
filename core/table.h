/*
 * The table: operators and variants as data. core/operators.c holds the operators' rows,
 * core/variants.h the variants'. Nothing else keeps a list of either.
 */
#ifndef TNL_CORE_TABLE_H
#define TNL_CORE_TABLE_H

#include <stdbool.h>

#include "core/call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the elements of an input must satisfy, beyond its type. */
typedef enum tnl_content {
    CONTENT_ANY = 0,
    CONTENT_SLOPES,     /* finite, >= 0 */
    CONTENT_POSITIONS,  /* 0 .. TNL_MAX_POSITION */
    CONTENT_CU_SEQLENS, /* from 0, never decreasing, to the number of tokens */
    CONTENT_SLOTS       /* -1 .. slots-1, none twice but -1 */
} tnl_content;

/* A tensor of an operator. */
typedef struct tnl_argument {
    const char *name;
    tnl_role role;
    bool optional;
    tnl_type type; /* TNL_NO_TYPE: the call's data type */
    int rank;
    enum tnl_dim shape[TNL_MAX_RANK];
    int slice_rank; /* outputs: the leading dimensions that number the slices judged alone */
    int in_place;   /* outputs: 1 + the index of the input it may be; 0: none */
    tnl_content content;
    bool or_float32; /* float32 will do, too, where the call's data type is a smaller one */
} tnl_argument;

/*
 * A reference computes a call in which every floating-point tensor is contiguous and double;
 * index tensors are as they are, everything is in host memory. Each is compiled twice
 * (reference/reference.h): in double, the definition; and in float32 with every intermediate
 * tensor rounded to call->type, the naive computation.
 */
typedef void tnl_reference(const tnl_call *call);

typedef struct tnl_operator_row {
    const char *name;
    const char *definition;
    int argument_count;
    tnl_argument argument[TNL_MAX_TENSORS];
    bool has_eps;
    /* What the arguments must satisfy beyond their shapes (core/relate.h). NULL: nothing. */
    tnl_status (*relate)(tnl_call *call);
    tnl_reference *reference;
    tnl_reference *naive;
    double (*flops)(const int64_t *dim); /* NULL: elementwise work, not counted */
    double bound[TNL_BFLOAT16 + 1];      /* relative error allowed, by type */
    enum tnl_dim named[6];               /* the dimensions that a benchmark's name gives */
} tnl_operator_row;

/* What a variant's file defines: its code. */
typedef struct tnl_kernel {
    tnl_status (*launch)(const tnl_call *call);
    size_t (*workspace)(const tnl_call *call);    /* NULL: none */
    const char *(*rejects)(const tnl_call *call); /* NULL where it takes the call, else why not;
                                                     a NULL function takes every call */
    bool deterministic;                           /* two runs give the same bits */
    double bound[TNL_BFLOAT16 + 1];   /* a tighter promise than the operator's; 0: none */
    tnl_reference *reference, *naive; /* where its state means something else (Algorithm
                                         1); NULL: the operator's */
} tnl_kernel;

/* A row under an operator. */
typedef struct tnl_variant_row {
    tnl_operator op;
    const char *name;
    tnl_device device;
    int compute_capability; /* CUDA: the lowest, 90 for 9.0 */
    unsigned types;         /* 1u << tnl_type */
    bool chosen;            /* the table may choose it; otherwise it runs only when named */
    const char *summary;
    const tnl_kernel *kernel; /* NULL: not in this build */
} tnl_variant_row;

extern const tnl_operator_row tnl_operators[TNL_OPERATOR_COUNT];
extern const tnl_variant_row tnl_variants[];
extern const int tnl_variants_count;

/* The letter of a dimension as names and error texts give it: "b", "D", "s+1". */
const char *tnl_dim_letter(enum tnl_dim dim);
/* An argument's shape as text, "[b,h,n,d]". */
void tnl_shape_text(const tnl_argument *argument, char *text, size_t size);
/* The operator of that name, or TNL_OPERATOR_COUNT. */
tnl_operator tnl_find_operator(const char *name);
/* The index of an operator's argument of that name, or -1. */
int tnl_find_argument(tnl_operator op, const char *name);
/* Every tensor that the call has, each input once, each output once, in-out ones twice, in
 * bytes. Of decode's states only those of the call's b tokens are counted. */
double tnl_call_bytes(const tnl_call *call);
/* The bytes of a tensor's elements (not of the gaps between them). */
double tnl_tensor_bytes(const tnl_tensor *tensor);

#ifdef __cplusplus
}
#endif

#endif
