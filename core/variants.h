/*
 * The rows of the table of variants, under their operators, in rising order of preference: of the
 * rows that take a call, the last is chosen. This file is included twice by core/table.c, once to
 * declare the kernels and once to make the rows.
 *
 *   CPU(operator, variant, types, "how it works")
 *   CUDA(operator, variant, compute capability, types, "how it works")
 *
 * The kernel is tnl_cpu_<operator>_<variant> or tnl_cuda_<operator>_<variant>, a tnl_kernel that
 * the variant's own file defines. CPU_NAMED and CUDA_NAMED are for rows that run only when named.
 */
/* clang-format off */

CPU(srmsnorm_forward, unfused, TNL_F32, "a pass over memory for each elementary step")
CPU(srmsnorm_forward, fused, TNL_F32, "one row at a time, read once, in cache until written")
CUDA(srmsnorm_forward, unfused, 80, TNL_ALL_FLOATS, "a kernel for each elementary step")
CUDA(srmsnorm_forward, fused, 80, TNL_ALL_FLOATS, "one pass, a row in the registers of a warp or a block")

CPU(srmsnorm_backward, unfused, TNL_F32, "a pass over memory for each elementary step")
CPU(srmsnorm_backward, fused, TNL_F32, "both sums of a row in one pass, the result in the next")
CUDA(srmsnorm_backward, unfused, 80, TNL_ALL_FLOATS, "a kernel for each elementary step")
CUDA(srmsnorm_backward, fused, 80, TNL_ALL_FLOATS, "one pass, a row in the registers of a warp or a block")

CPU(srmsnorm_residual_forward, fused, TNL_F32, "sum, square and scale while the row is in cache")
CUDA(srmsnorm_residual_forward, fused, 80, TNL_ALL_FLOATS, "sum, square and scale in one pass")
CUDA(srmsnorm_residual_forward, wide, 80, TNL_16_BIT, "sum, square and scale in one pass, a float32 residual or x")
CPU(srmsnorm_residual_backward, fused, TNL_F32, "the norm's gradient and the residual's in one pass")
CUDA(srmsnorm_residual_backward, fused, 80, TNL_ALL_FLOATS, "the norm's gradient and the residual's in one pass")

CPU(srmsnorm_gate_forward, fused, TNL_F32, "norm and gate while the row is in cache")
CUDA(srmsnorm_gate_forward, fused, 80, TNL_ALL_FLOATS, "norm and gate in one pass")
CPU(srmsnorm_gate_backward, fused, TNL_F32, "both gradients while the row is in cache")
CUDA(srmsnorm_gate_backward, fused, 80, TNL_ALL_FLOATS, "both gradients in one pass")

CPU(qkvu_activation_forward, fused, TNL_F32, "swish and LRPE in one pass; an angle serves Q and K")
CUDA(qkvu_activation_forward, fused, 80, TNL_ALL_FLOATS, "swish and LRPE in one pass; an angle serves Q and K")
CPU(qkvu_activation_backward, fused, TNL_F32, "all gradients in one pass, theta's summed task by task")
CUDA(qkvu_activation_backward, fused, 80, TNL_ALL_FLOATS, "all gradients in one pass, theta's summed block by block")

CPU(attention_forward, left_product, TNL_F32, "(Q K^T * M) V with the whole n x n matrix in memory")
CPU(attention_forward, chunked, TNL_F32, "left product inside a chunk, a K^T V state between chunks")
CUDA(attention_forward, left_product, 80, TNL_ALL_FLOATS, "(Q K^T * M) V by cuBLAS, the n x n matrices in memory")
CUDA(attention_forward, tiled, 80, TNL_ALL_FLOATS, "Algorithm 3: the left product tile by tile on chip, n^2 work")
CUDA(attention_forward, chunked, 80, TNL_ALL_FLOATS, "left product inside a chunk, a K^T V state between chunks")
CUDA(attention_forward, hopper, 90, TNL_16_BIT, "the chunked sweep with TMA, wgmma and a role for every warp")

CPU(attention_backward, left_product, TNL_F32, "the n x n matrix in memory, then its gradient in its place")
CPU(attention_backward, chunked, TNL_F32, "a sweep forwards for dQ, one backwards for dK and dV")
CUDA(attention_backward, left_product, 80, TNL_ALL_FLOATS, "by cuBLAS, the n x n matrices and then their gradients in memory")
CUDA(attention_backward, tiled, 80, TNL_ALL_FLOATS, "Algorithm 4: the left product tile by tile on chip, n^2 work")
CUDA(attention_backward, chunked, 80, TNL_ALL_FLOATS, "left products inside a chunk, states and their gradients between chunks")
CUDA(attention_backward, hopper, 90, TNL_16_BIT, "the chunked sweep with TMA, wgmma and a role for every warp")

CPU(attention_forward_backward, left_product, TNL_F32, "keeps the n x n matrix of the forward pass")
CPU(attention_forward_backward, chunked, TNL_F32, "forward and backward, nothing kept between them")
CUDA(attention_forward_backward, left_product, 80, TNL_ALL_FLOATS, "keeps the n x n matrices of the forward pass")
CUDA(attention_forward_backward, tiled, 80, TNL_ALL_FLOATS, "Algorithms 3 and 4")
CUDA(attention_forward_backward, chunked, 80, TNL_ALL_FLOATS, "forward and backward, nothing kept between them")
CUDA(attention_forward_backward, hopper, 90, TNL_16_BIT, "the chunked sweep with TMA, wgmma and a role for every warp")

CPU(sglu_gate, blas, TNL_F32, "two GEMMs and a product")
CUDA(sglu_gate, cublas, 80, TNL_ALL_FLOATS, "two GEMMs and a product")
CUDA(sglu_gate, hopper, 90, TNL_16_BIT, "one GEMM with both weights by TMA and wgmma, the product in registers")
CUDA(sglu_gate, streaming, 80, TNL_16_BIT, "a few rows: the weights read once, at the memory's rate")
CPU(sglu_down, blas, TNL_F32, "a GEMM")
CUDA(sglu_down, cublas, 80, TNL_ALL_FLOATS, "a GEMM")
CUDA(sglu_down, hopper, 90, TNL_16_BIT, "a GEMM by TMA and wgmma")
CUDA(sglu_down, streaming, 80, TNL_16_BIT, "a few rows: the weights read once, at the memory's rate")
CPU(sglu_forward, blas, TNL_F32, "three GEMMs and a product")
CUDA(sglu_forward, cublas, 80, TNL_ALL_FLOATS, "three GEMMs and a product")
CUDA(sglu_forward, hopper, 90, TNL_16_BIT, "the gate's GEMM with its product in registers, then a GEMM")
CUDA(sglu_forward, streaming, 80, TNL_16_BIT, "a few rows: the weights read once, at the memory's rate")
CPU(sglu_backward, blas, TNL_F32, "GEMMs, with the products between them elementwise")
CUDA(sglu_backward, cublas, 80, TNL_ALL_FLOATS, "GEMMs, with the products between them elementwise")
CUDA(sglu_backward, hopper, 90, TNL_16_BIT, "products between the GEMMs in their epilogues, dX in one GEMM")

CPU(qkvu_projection_forward, blas, TNL_F32, "GEMMs, then the activation on Q and K")
CUDA(qkvu_projection_forward, cublas, 80, TNL_ALL_FLOATS, "a GEMM, then the activation on Q and K")
CUDA(qkvu_projection_forward, hopper, 90, TNL_16_BIT, "a GEMM by TMA and wgmma, swish and LRPE in its epilogue")
CUDA(qkvu_projection_forward, streaming, 80, TNL_16_BIT, "a few rows: the weights read once, at the memory's rate")
CPU(qkvu_projection_backward, blas, TNL_F32, "the activation's gradient, then GEMMs")
CUDA(qkvu_projection_backward, cublas, 80, TNL_ALL_FLOATS, "the activation's gradient, then GEMMs")

CPU_NAMED(decode, origin, TNL_F32, "Algorithm 1: states that grow as lambda^-t, and overflow")
CPU(decode, recurrent, TNL_F32, "Algorithm 2: a head at a time, its state read and written once")
CUDA_NAMED(decode, origin, 80, TNL_ALL_FLOATS, "Algorithm 1: states that grow as lambda^-t, and overflow")
CUDA(decode, hopper, 90, TNL_ALL_FLOATS, "Algorithm 2: the state comes into shared memory by bulk copies")
CUDA(decode, recurrent, 80, TNL_ALL_FLOATS, "Algorithm 2: a block a head, its state read and written once")
