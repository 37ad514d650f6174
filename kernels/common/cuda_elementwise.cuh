/*
 * How kernels that treat every element of a matrix alike share it out: a thread has `width`
 * consecutive elements of a row, a block at most ELEMENT_THREADS such packs of one row.
 */
#ifndef TNL_KERNELS_COMMON_CUDA_ELEMENTWISE_CUH
#define TNL_KERNELS_COMMON_CUDA_ELEMENTWISE_CUH

#include "kernels/common/cuda.cuh"

enum { ELEMENT_THREADS = 256 };

struct element_grid {
    int64_t columns;
    unsigned threads, blocks_per_row, blocks;
};

static inline element_grid grid_of(int64_t rows, int64_t columns, int width) {
    const unsigned packs = (unsigned)(columns / width), most = ELEMENT_THREADS;
    const unsigned threads = packs < most ? packs : most;
    const unsigned blocks_per_row = (unsigned)ceil_div(packs, threads);
    return {columns, threads, blocks_per_row, (unsigned)rows * blocks_per_row};
}

/* The first element of a thread; beyond the row's end there may be none. */
struct element {
    int64_t row, column;

    __device__ element(const element_grid &grid, int width)
        : row(blockIdx.x / grid.blocks_per_row),
          column(((int64_t)(blockIdx.x % grid.blocks_per_row) * blockDim.x + threadIdx.x) * width) {
    }
};

#endif
