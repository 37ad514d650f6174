/*
 * The sizes of the benchmark: for each operator, the dimensions held and the one that varies. The
 * shapes are the paper's, of its figures and of its models, and those that rows are commonly
 * compared at.
 */
#ifndef TNL_BENCH_SIZES_H
#define TNL_BENCH_SIZES_H

#include "verify/problem.h"

enum { SIZES = 8 };

typedef struct size_sweep {
    tnl_operator op;
    int64_t dim[DIM_COUNT]; /* held */
    enum tnl_dim varies;
    int64_t size[SIZES];       /* what it takes, growing; ends with 0 where there are fewer */
    int64_t factor[DIM_COUNT]; /* dimensions that follow: factor / 4 times what varies */
    unsigned present;          /* optional tensors that are given */
    unsigned lrpe;             /* those given besides in rows lrpe:1, beside rows lrpe:0 */
    unsigned decays;           /* bit i: rows with slopes of kind i, named by it */
    unsigned types;            /* bits of the types that are measured; 0: every type */
    bool warm;                 /* rows called warm besides, from the same sizes */
    layout layout;             /* rows of packed slices are called packed */
} size_sweep;

#define HELD(...) .dim = {__VA_ARGS__}
#define ALONG(dimension, ...) .varies = dimension, .size = {__VA_ARGS__}
#define LENGTHS 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536
#define FEATURES 1024, 2048, 4096, 8192, 16384
#define HEADS(b, h) [DIM_B] = b, [DIM_H] = h, [DIM_D] = 128, [DIM_E] = 128
/* SGLU's g is 11/4 D, and the packed projection's k is 4 D. */
#define GATED .factor = {[DIM_G] = 11}
#define PACKED .factor = {[DIM_K] = 16}
#define WARM .warm = true
#define RELEASED .decays = 1u << SLOPES_RELEASED
#define NO_DECAY .decays = 1u << SLOPES_NONE
#define BOTH_DECAYS .decays = 1u << SLOPES_RELEASED | 1u << SLOPES_NONE

/* A sweep that ends the list varies nothing. */
extern const size_sweep bench_sizes_cpu[], bench_sizes_cuda[];

#endif
