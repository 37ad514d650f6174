/* initcheck does not see a bulk store: `sum` reads what `fill` has written, and is reported. */
#include <stdio.h>

enum { COUNT = 4096, THREADS = 128 };

__global__ void fill(float *to) {
    __shared__ alignas(16) float tile[COUNT];
    for (int i = threadIdx.x; i < COUNT; i += THREADS)
        tile[i] = 1;
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (threadIdx.x == 0)
        asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\n\t"
                     "cp.async.bulk.commit_group;\n\t"
                     "cp.async.bulk.wait_group 0;" ::"l"(to),
                     "r"((unsigned)__cvta_generic_to_shared(tile)), "n"(sizeof tile)
                     : "memory");
}

__global__ void sum(const float *from, float *to) {
    atomicAdd(to, from[blockIdx.x * THREADS + threadIdx.x]);
}

int main() {
    float *data, *total, result;
    cudaMalloc(&data, COUNT * sizeof *data);
    cudaMalloc(&total, sizeof *total);
    cudaMemset(total, 0, sizeof *total);
    fill<<<1, THREADS>>>(data);
    sum<<<COUNT / THREADS, THREADS>>>(data, total);
    cudaMemcpy(&result, total, sizeof result, cudaMemcpyDeviceToHost);
    printf("%g, expected %d: %s\n", result, COUNT, cudaGetErrorString(cudaGetLastError()));
}
