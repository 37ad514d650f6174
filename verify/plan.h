/*
 * Where the tensors of a problem lie, before there is memory. A block is guard | body | guard;
 * what no tensor of it covers is a gap. A block holds one tensor, and those that are in place of
 * it; or in LAYOUT_PACKED all data tensors of a role that number the same tokens, a token's values
 * side by side: [b, n, (heads of q | heads of k | heads of v | gap)].
 */
#ifndef TNL_VERIFY_PLAN_H
#define TNL_VERIFY_PLAN_H

#include "verify/problem.h"

enum { PLAN_GUARD = 4096, PLAN_TOKEN_GAP = 8 };

typedef struct problem_block {
    int owner; /* the first tensor in it */
    bool packed;
    int64_t width;         /* packed: elements of a token, without its gap */
    size_t bytes;          /* guards included */
    unsigned char *memory; /* on the device */
    unsigned char *host;   /* what the device holds; on the CPU the same memory */
    unsigned char *first;  /* what problem_poison remembers; NULL before */
    bool *writable;        /* byte by byte: an output's */
} problem_block;

typedef struct tensor_place {
    int block;       /* -1: absent */
    int64_t offset;  /* elements into the block's body */
    bool shares;     /* in place: these are the elements of an input */
    tnl_tensor view; /* without data */
} tensor_place;

typedef struct problem_plan {
    tensor_place place[TNL_MAX_TENSORS];
    problem_block block[TNL_MAX_TENSORS];
    int block_count;
} problem_plan;

problem_plan plan_make(const problem_spec *spec);

#endif
