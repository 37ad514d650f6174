/*
 * What becomes of a tile of hopper_gemm.cuh's: rounded, in panels of 64 columns of a warp's 16
 * rows, kept in registers, and written to memory through shared memory.
 */
#ifndef TNL_KERNELS_COMMON_HOPPER_WRITER_CUH
#define TNL_KERNELS_COMMON_HOPPER_WRITER_CUH

#include "kernels/common/wgmma.cuh"

namespace hopper_gemm {

constexpr int HALF = 128; /* columns of a half of a tile */
constexpr int TILE_PANELS = 2 * HALF / PANEL_COLUMNS;
constexpr int WARP_ROWS = 16;
constexpr int WRITER_PANELS = 2, WRITER_PANEL_BYTES = WARP_ROWS * PANEL_ROW_BYTES;

#ifdef TNL_HOPPER_CODE

/* 64 columns of a warp's 16 rows, rounded: fragment j of 8 columns, row g or g + 8 of it. */
using panel_pairs = uint32_t[8][2];

template <typename T>
static __device__ __forceinline__ void pack_fragment(uint32_t (&to)[2], const float (&v)[4]) {
    to[0] = pack_pair<T>(v[0], v[1]);
    to[1] = pack_pair<T>(v[2], v[3]);
}

/* Fragments of c from `first` on, as they are. */
template <typename T>
static __device__ __forceinline__ void pack_panel(panel_pairs &to, const float (&c)[32][4],
                                                  int first) {
#pragma unroll
    for (int j = 0; j < 8; j++)
        pack_fragment<T>(to[j], c[first + j]);
}

/* Writes panels of a warp's 16 rows: through shared memory, two of them by turns. A panel may be
 * put together from pieces, two of them side by side. */
struct writer {
    unsigned char *panels;
    int turn = 0;

    __device__ explicit writer(unsigned char *of_the_warp) : panels(of_the_warp) {}
    /* Wait until the next COUNT panels may be put together. */
    template <int COUNT> __device__ __forceinline__ void open() const {
        if (threadIdx.x % 32 == 0)
            tma_wait_read<WRITER_PANELS - COUNT>();
        __syncwarp();
    }
    /* Where a lane has its row of fragments j and j + 1 in the next panel, or the one after it. */
    __device__ __forceinline__ unsigned char *place(int ahead, int j) const {
        const int lane = threadIdx.x % 32, panel_row = lane % 16;
        const int chunk = (j + lane / 16) ^ panel_row % 8;
        return panels + (turn ^ ahead) * WRITER_PANEL_BYTES + panel_row * PANEL_ROW_BYTES +
               chunk * 16;
    }
    /* All fragments of the next panel. */
    __device__ __forceinline__ void put(const panel_pairs &from) const {
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            const uint32_t m[4] = {from[j][0], from[j][1], from[j + 1][0], from[j + 1][1]};
            store_matrices(place(0, j), m);
        }
    }
    /* The next panel is complete. The map's boxes have 16 rows. */
    __device__ __forceinline__ void send(const CUtensorMap *map, int row, int column) {
        fence_async_proxy();
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            tma_store(map, panels + turn * WRITER_PANEL_BYTES, column, row);
            tma_commit();
        }
        turn ^= 1;
    }
    __device__ __forceinline__ void write(const CUtensorMap *map, int row, int column,
                                          const panel_pairs &from) {
        open<1>();
        put(from);
        send(map, row, column);
    }
};

#endif

/* An output that keeps a tile as it is until it is written: what such outputs have in common. */
struct kept_tile {
    static constexpr int PANELS = TILE_PANELS, LOADS = 0;

#ifdef TNL_HOPPER_CODE
    template <typename T>
    __device__ __forceinline__ void take(const float (&c)[32][4], panel_pairs *kept, writer &, int,
                                         int) const {
#pragma unroll
        for (int panel = 0; panel < PANELS; panel++)
            pack_panel<T>(kept[panel], c, panel * 8);
    }
#endif
};

} // namespace hopper_gemm

#endif
