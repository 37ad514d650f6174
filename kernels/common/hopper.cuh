/*
 * Thin wrappers of what compute capability 9.0 alone has: barriers in shared memory that count
 * bytes, the tensor memory accelerator (TMA), clusters of blocks, and launches that overlap the
 * kernel before; wgmma.cuh has the matrix products of a warpgroup. See the PTX manual under the
 * instructions' names.
 *
 * Tiles in shared memory are made of panels: rows of 64 16-bit elements, 128 bytes each, aligned
 * to 1024 bytes, in the pattern "128-byte swizzle": the 16-byte chunk c of row r lies in the place
 * c ^ r % 8 of that row. A wider tile is several panels, one after another. wgmma reads a panel
 * along its rows (K-major: the products sum over the elements of a row) or across them (MN-major:
 * they sum over the rows).
 *
 * All of this is machine code of sm_90a; elsewhere a kernel that uses it is empty, and its row
 * rejects the device (rejects_device).
 */
#ifndef TNL_KERNELS_COMMON_HOPPER_CUH
#define TNL_KERNELS_COMMON_HOPPER_CUH

#include <cuda.h>
#include <type_traits>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/common/mma.cuh"

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define TNL_HOPPER_CODE 1
#endif

/* The number of blocks of a kernel's clusters, among its attributes. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define TNL_CLUSTER(blocks)
#else
#define TNL_CLUSTER(blocks) __cluster_dims__(blocks, 1, 1)
#endif

constexpr int PANEL_COLUMNS = 64;
constexpr int PANEL_ROW_BYTES = 128;

/* NULL on a device of compute capability 9.0 in a build for sm_90a, which runs on no other; else
 * why not. */
static inline const char *rejects_device(const tnl_call *call) {
#ifdef TNL_BUILT_FOR_90A
    return call->context->compute_capability == 90 ? NULL : "runs on compute capability 9.0 alone";
#else
    (void)call;
    return "is not in a library built without sm_90a";
#endif
}

/* ---- tensor maps -------------------------------------------------------------------------- */

/* A box of a tensor as TMA copies it: rank up to 4, the last dimension first. */
struct tensor_box {
    uint32_t size[4];
};

/* What TMA asks of a tensor with 16-bit elements: 16-byte accesses and strides below 2^39 bytes
 * (TMA takes 2^40). */
static inline bool tnl_allows_tensor_map(const tnl_tensor *t) {
    bool allows = tnl_allows_16_bytes(t);
    for (int i = 0; i + 1 < t->rank; i++)
        allows = allows && t->stride[i] < (int64_t)1 << 38;
    return allows;
}

/* The map of a 16-bit tensor of rank 2 to 4 whose boxes lie in shared memory as panels. Elements
 * outside are read as zero and not written. `promotion`: how much at least L2 reads from memory. */
static inline tnl_status
tnl_make_tensor_map(const tnl_call *call, const tnl_tensor *t, tensor_box box, CUtensorMap *map,
                    CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_L2_256B) {
    void *found = NULL; /* the driver's function that makes tensor maps */
    cudaDriverEntryPointQueryResult result;
    const tnl_status status =
        tnl_cuda_status(call, cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                               12000, cudaEnableDefault, &result));
    if (status != TNL_OK)
        return status;
    const auto encode = (decltype(&cuTensorMapEncodeTiled))found;
    cuuint64_t size[4], stride[4]; /* stride[i] is that of dimension i + 1 */
    const cuuint32_t step[4] = {1, 1, 1, 1};
    const int last = t->rank - 1;
    for (int i = 0; i <= last; i++) {
        size[i] = (cuuint64_t)t->shape[last - i];
        if (i > 0)
            stride[i - 1] = (cuuint64_t)t->stride[last - i] * 2;
    }
    const CUresult made = encode
                              ? encode(map,
                                       t->type == TNL_FLOAT16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                              : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                       (cuuint32_t)t->rank, t->data, size, stride, box.size, step,
                                       CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                       promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
                              : CUDA_ERROR_NOT_FOUND;
    return made == CUDA_SUCCESS
               ? TNL_OK
               : tnl_fail(call->context, TNL_DEVICE_ERROR,
                          "%s: the driver makes no tensor map (CUresult %d), expected success",
                          tnl_operators[call->op].name, (int)made);
}

/* ---- launching ---------------------------------------------------------------------------- */

/* Launch a kernel of one argument. `overlaps`: it may begin before the kernel ahead of it in the
 * stream has ended, and calls wait_for_kernel_before(). */
template <typename A>
static tnl_status tnl_launch_overlapping(const tnl_call *call, void (*kernel)(const A), dim3 grid,
                                         int threads, size_t shared_bytes, bool overlaps,
                                         const A &argument) {
    tnl_status status = tnl_cuda_status(
        call, cudaFuncSetAttribute((const void *)kernel,
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes));
    if (status != TNL_OK)
        return status;
    return tnl_launch_as(call, kernel, grid, dim3((unsigned)threads), shared_bytes, overlaps, 1,
                         argument);
}

/* A barrier in shared memory. Its phase ends when `count` threads have arrived and all bytes that
 * they announced have come; phases are told apart by their parity, 0 for the first. */
using barrier = uint64_t;

/* ---- device code -------------------------------------------------------------------------- */

#ifdef TNL_HOPPER_CODE

/* ---- barriers ------------------------------------------------------------------------------ */

static __device__ __forceinline__ void barrier_init(barrier *b, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count)
                 : "memory");
}

/* Let TMA and the cluster see barriers that this thread has initialised. */
static __device__ __forceinline__ void barrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

static __device__ __forceinline__ void barrier_arrive(barrier *b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}

/* Arrive, and announce so many bytes. */
static __device__ __forceinline__ void barrier_expect(barrier *b, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
                 "r"(bytes)
                 : "memory");
}

/* Wait for the end of a phase of this parity. */
static __device__ __forceinline__ void barrier_wait(barrier *b, int parity) {
    uint32_t ended;
    do {
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}"
                     : "=r"(ended)
                     : "r"(shared_address(b)), "r"(parity)
                     : "memory");
    } while (!ended);
}

/* The warp's number, so that the compiler knows it to be the warp's and not the thread's. */
static __device__ __forceinline__ int warp_number() {
    return __shfl_sync(0xffffffff, (int)threadIdx.x / 32, 0);
}

/* Whether this is the one thread of a whole warp that acts for it, in a way that the compiler
 * knows: it then keeps what TMA is asked for in uniform registers, without a loop over the threads.
 */
static __device__ __forceinline__ bool elect_one() {
    uint32_t mine;
    asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(mine));
    return mine != 0;
}

/* A barrier among `threads` threads of the block, by number; __syncthreads() is number 0. */
static __device__ __forceinline__ void sync_threads(int number, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/* Arrive at it without waiting. */
static __device__ __forceinline__ void signal_threads(int number, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/* Change how many registers each thread of this warpgroup may use, a multiple of 8; what it takes
 * others of the block must give. */
template <int REGISTERS> static __device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS> static __device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/* Let TMA and wgmma see what this thread has written to shared memory. */
static __device__ __forceinline__ void fence_async_proxy() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Four 8 x 8 matrices of 16-bit elements to shared memory: the inverse of load_matrices(). */
static __device__ __forceinline__ void store_matrices(void *row, const uint32_t (&m)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                     shared_address(row)),
                 "r"(m[0]), "r"(m[1]), "r"(m[2]), "r"(m[3])
                 : "memory");
}

/* ---- clusters ------------------------------------------------------------------------------- */

static __device__ __forceinline__ int cluster_rank() {
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return (int)rank;
}

/* A barrier among all threads of the cluster. */
static __device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}

/* The same in two halves, for knowing that all blocks of the cluster have begun, before their
 * shared memory is written: it orders no memory. */
static __device__ __forceinline__ void cluster_announce() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;");
}
static __device__ __forceinline__ void cluster_await_all() {
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}

/* Arrive at this barrier's counterpart in the block of that rank. It orders no writes of this
 * thread for that block: a release at the cluster's scope would wait for all memory, and reads by
 * wgmma and TMA, which have ended, need none. */
static __device__ __forceinline__ void barrier_arrive_at(barrier *b, int rank) {
    asm volatile("{\n"
                 ".reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
                 "}" ::"r"(shared_address(b)),
                 "r"(rank)
                 : "memory");
}

/* Write four numbers into this place, of 16 bytes, of the shared memory of the block of that rank;
 * their bytes count on that block's own barrier. */
static __device__ __forceinline__ void store_async_at(float4 *shared, int rank, barrier *b,
                                                      const float (&value)[4]) {
    asm volatile("{\n"
                 ".reg .b32 there, barrier;\n"
                 "mapa.shared::cluster.u32 there, %0, %2;\n"
                 "mapa.shared::cluster.u32 barrier, %1, %2;\n"
                 "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 "
                 "[there], {%3, %4, %5, %6}, [barrier];\n"
                 "}" ::"r"(shared_address(shared)),
                 "r"(shared_address(b)), "r"(rank), "f"(value[0]), "f"(value[1]), "f"(value[2]),
                 "f"(value[3])
                 : "memory");
}

/* Copy a box into the same place of each block whose bit is set in `ranks`; its bytes count on that
 * block's own barrier. */
static __device__ __forceinline__ void tma_load_to(int ranks, void *shared, const CUtensorMap *map,
                                                   barrier *b, int c0, int c1) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(shared)),
        "l"(map), "r"(shared_address(b)), "r"(c0), "r"(c1), "h"((uint16_t)ranks)
        : "memory");
}

/* ---- TMA ----------------------------------------------------------------------------------- */

/* Have the map, a kernel's argument, read ahead of the first copy. */
static __device__ __forceinline__ void prefetch_map(const CUtensorMap *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* Copy a box into shared memory; its bytes count on the barrier. Coordinates as in the map, the
 * last dimension first. */
static __device__ __forceinline__ void tma_load(void *shared, const CUtensorMap *map, barrier *b,
                                                int c0, int c1) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(shared)),
                 "l"(map), "r"(shared_address(b)), "r"(c0), "r"(c1)
                 : "memory");
}

static __device__ __forceinline__ void tma_load(void *shared, const CUtensorMap *map, barrier *b,
                                                int c0, int c1, int c2, int c3) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared_address(shared)),
                 "l"(map), "r"(shared_address(b)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                 : "memory");
}

/* Copy a box out of shared memory, as part of this thread's next group. */
static __device__ __forceinline__ void tma_store(const CUtensorMap *map, const void *shared, int c0,
                                                 int c1) {
    asm volatile(
        "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(
            map),
        "r"(shared_address(shared)), "r"(c0), "r"(c1)
        : "memory");
}

static __device__ __forceinline__ void tma_store(const CUtensorMap *map, const void *shared, int c0,
                                                 int c1, int c2, int c3) {
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group "
                 "[%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
                 "r"(shared_address(shared)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                 : "memory");
}

static __device__ __forceinline__ void tma_commit() {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* Wait until all but the last LEFT of this thread's groups have read their shared memory. */
template <int LEFT> static __device__ __forceinline__ void tma_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(LEFT) : "memory");
}

#endif

#endif
