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

CPU(srmsnorm_backward, unfused, TNL_F32, "a pass over memory for each elementary step")
CPU(srmsnorm_backward, fused, TNL_F32, "both sums of a row in one pass, the result in the next")

CPU(srmsnorm_residual_forward, fused, TNL_F32, "sum, square and scale while the row is in cache")
CPU(srmsnorm_residual_backward, fused, TNL_F32, "the norm's gradient and the residual's in one pass")

CPU(srmsnorm_gate_forward, fused, TNL_F32, "norm and gate while the row is in cache")
CPU(srmsnorm_gate_backward, fused, TNL_F32, "both gradients while the row is in cache")

CPU(qkvu_activation_forward, fused, TNL_F32, "swish and LRPE in one pass; an angle serves Q and K")
CPU(qkvu_activation_backward, fused, TNL_F32, "all gradients in one pass, theta's summed task by task")

CPU(attention_forward, left_product, TNL_F32, "(Q K^T * M) V with the whole n x n matrix in memory")
CPU(attention_forward, chunked, TNL_F32, "left product inside a chunk, a K^T V state between chunks")

CPU(attention_backward, left_product, TNL_F32, "the n x n matrix in memory, then its gradient in its place")
CPU(attention_backward, chunked, TNL_F32, "a sweep forwards for dQ, one backwards for dK and dV")

CPU(attention_forward_backward, left_product, TNL_F32, "keeps the n x n matrix of the forward pass")
CPU(attention_forward_backward, chunked, TNL_F32, "forward and backward, nothing kept between them")

CPU(sglu_gate, blas, TNL_F32, "two GEMMs and a product")
CPU(sglu_down, blas, TNL_F32, "a GEMM")
CPU(sglu_forward, blas, TNL_F32, "three GEMMs and a product")
CPU(sglu_backward, blas, TNL_F32, "GEMMs, with the products between them elementwise")

CPU(qkvu_projection_forward, blas, TNL_F32, "GEMMs, then the activation on Q and K")
CPU(qkvu_projection_backward, blas, TNL_F32, "the activation's gradient, then GEMMs")

CPU_NAMED(decode, origin, TNL_F32, "Algorithm 1: states that grow as lambda^-t, and overflow")
CPU(decode, recurrent, TNL_F32, "Algorithm 2: a head at a time, its state read and written once")
