/* racecheck reports a kernel of cuBLAS, in a program that does nothing else. */
#include <cublas_v2.h>
#include <stdio.h>

int main() {
    const int m = 32, n = 4, k = 4096;
    const float one = 1, zero = 0;
    cublasHandle_t handle;
    void *a, *b, *c;
    cublasCreate(&handle);
    cudaMalloc(&a, 2 * m * k);
    cudaMalloc(&b, 2 * n * k);
    cudaMalloc(&c, 4 * m * n);
    cudaMemset(a, 0, 2 * m * k);
    cudaMemset(b, 0, 2 * n * k);
    cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_N, m, n, k, &one, a, CUDA_R_16BF, m, b, CUDA_R_16BF,
                 k, &zero, c, CUDA_R_32F, m, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    printf("%s\n", cudaGetErrorString(cudaDeviceSynchronize()));
}
