/*
 * SRMSNorm's gradient in one pass over memory. With r = 1 / sqrt(mean(x^2) + eps), n = r x and the
 * gradient g that reaches the norm,
 *     dx = r (g - n mean(n g)),
 * g being dy, or behind a gate (eq. 3) u dy, when du = n dy besides; before the residual's sum
 * (eq. 9's pre-norm) the gradient of what the sum is used for elsewhere is added. Both sums over
 * the row, of x^2 and of x g, are made at once. How rows are shared out is told in cuda_row.cuh.
 */
#include "kernels/srmsnorm/cuda_row.cuh"

namespace {

/* third: dresidual_out or u. */
template <typename T> struct backward_tensors { matrix<T> x, dy, third, dx, du; };

/* Where a thread holds many packs, three rows of them leave room for half as many threads; so do
 * the edges of rows in 16-bit types. */
template <norm_kind KIND, typename T, int HELD, bool EDGES>
constexpr unsigned most_threads = HELD == 1 ? NORM_SINGLE_THREADS
                                  : HELD < NORM_MOST_HELD ||
                                          (KIND == NORM_PLAIN &&
                                           (!EDGES || sizeof(T) == sizeof(float)))
                                      ? NORM_MOST_THREADS
                                      : NORM_MOST_THREADS / 2;

template <norm_kind KIND, typename T, int W, int HELD, bool EDGES, int SPLIT, bool EVEN>
__global__ void __launch_bounds__(most_threads<KIND, T, HELD, EDGES>)
    backward_kernel(const backward_tensors<T> tensors, const norm_shape shape) {
    using elements = pack<T, W>;
    const norm_place<SPLIT> place(HELD == 1);
    const int64_t row = place.row;
    __shared__ norm_exchange<2, SPLIT> exchange;
    await_previous();
    constexpr bool HAS_THIRD = KIND != NORM_PLAIN;
    const T *x = tensors.x.row(row), *dy = tensors.dy.row(row), *third = tensors.third.row(row);
    T *dx = tensors.dx.row(row), *du = tensors.du.row(row);
    const norm_cut<T, W, EDGES> cut(x, place.exists(shape.m), shape.width);
    const int64_t edge = cut.edge(place.thread);

    float sum[2] = {0, 0}; /* of x^2, of x g */
    auto take = [&]<int N>(const pack<T, N> &xs, const pack<T, N> &dys, const pack<T, N> &thirds) {
        float value[N], g[N], gate[N], squares = 0, products = 0;
        widen(xs, value);
        widen(dys, g);
        widen(thirds, gate);
#pragma unroll
        for (int w = 0; w < N; w++) {
            if (KIND == NORM_GATE)
                g[w] *= gate[w];
            squares = fmaf(value[w], value[w], squares);
            products = fmaf(value[w], g[w], products);
        }
        sum[0] += squares;
        sum[1] += products;
    };

    elements held[HELD], held_dy[HELD], held_third[HELD];
    pack<T, 1> edge_x, edge_dy, edge_third;
#pragma unroll
    for (int j = 0; j < HELD; j++) {
        const unsigned i = place.thread + j * place.threads;
        if (EVEN || i < cut.packs) {
            held[j] = load_whole<W>(x + cut.at(i));
            held_dy[j] = load_whole<W>(dy + cut.at(i));
            if (HAS_THIRD)
                held_third[j] = load_whole<W>(third + cut.at(i));
        }
    }
    if (EVEN) {
        look_up_page(dx + cut.at(place.thread));
        if (KIND == NORM_GATE)
            look_up_page(du + cut.at(place.thread));
    }
    exchange.open(place);
    if (edge >= 0) {
        edge_x = load_whole<1>(x + edge);
        edge_dy = load_whole<1>(dy + edge);
        if (HAS_THIRD)
            edge_third = load_whole<1>(third + edge);
        take(edge_x, edge_dy, edge_third);
    }
#pragma unroll
    for (int j = 0; j < HELD; j++)
        if (EVEN || place.thread + j * place.threads < cut.packs)
            take(held[j], held_dy[j], held_third[j]);
    /* With fewer held than can be, rows with more are not shared out so. */
    const unsigned rest = HELD == NORM_MOST_HELD ? place.thread + HELD * place.threads : cut.packs;
    for (unsigned i = rest; i < cut.packs; i += place.threads)
        take(load_whole<W>(x + cut.at(i)), load_whole<W>(dy + cut.at(i)),
             KIND == NORM_GATE ? load_whole<W>(third + cut.at(i)) : elements{});

#pragma unroll
    for (int j = 0; j < HELD; j++) {
        stay_packed(held[j]);
        stay_packed(held_dy[j]);
        stay_packed(held_third[j]);
    }
    row_sums(sum, place, exchange);
    const norm_scale<T> r = norm_scale_of<T>(sum[0], shape);
    const float mean = r.high * (sum[1] * shape.inverse_width); /* of n g */
    auto give = [&]<int N>(int64_t at, const pack<T, N> &xs, const pack<T, N> &dys,
                           const pack<T, N> &thirds) {
        pack<T, N> dxs, dus;
        float value[N], gradient[N], given[N];
        widen(xs, value);
        widen(dys, gradient);
        widen(thirds, given);
#pragma unroll
        for (int w = 0; w < N; w++) {
            const float n = r.times(value[w]);
            const float g = KIND == NORM_GATE ? gradient[w] * given[w] : gradient[w];
            float out = r.times(fmaf(-n, mean, g));
            if (KIND == NORM_RESIDUAL)
                out += given[w];
            dxs.at[w] = from_float<T>(out);
            dus.at[w] = from_float<T>(n * gradient[w]);
        }
        store_whole(dx + at, dxs);
        if (KIND == NORM_GATE)
            store_whole(du + at, dus);
    };
    if (edge >= 0)
        give(edge, edge_x, edge_dy, edge_third);
#pragma unroll
    for (int j = 0; j < HELD; j++)
        if (EVEN || place.thread + j * place.threads < cut.packs)
            give(cut.at(place.thread + j * place.threads), held[j], held_dy[j], held_third[j]);
    for (unsigned i = rest; i < cut.packs; i += place.threads)
        give(cut.at(i), load_whole<W>(x + cut.at(i)), load_whole<W>(dy + cut.at(i)),
             HAS_THIRD ? load_whole<W>(third + cut.at(i)) : elements{});
}

/* The kernel for the tensors of that index; those that KIND does not have are not looked at. */
template <norm_kind KIND>
tnl_status launch(const tnl_call *call, int x, int dy, int third, int dx, int du) {
    const tnl_tensor *tensor = call->tensor;
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        const backward_tensors<T> tensors = {
            tnl_matrix_of<T>(&tensor[x]), tnl_matrix_of<T>(&tensor[dy]),
            tnl_matrix_of<T>(&tensor[third]), tnl_matrix_of<T>(&tensor[dx]),
            tnl_matrix_of<T>(&tensor[du])};
        const int all[] = {x, dy, third, dx, du};
        return norm_dispatch<T>(
            call, all, KIND == NORM_PLAIN ? 2 : 3, most_threads<KIND, T, NORM_MOST_HELD, false>,
            most_threads<KIND, T, NORM_MOST_HELD, true>, [&](auto form, norm_grid grid) {
                return tnl_launch_clusters(
                    call,
                    backward_kernel<KIND, T, form.W, form.HELD, form.EDGES, form.SPLIT, form.EVEN>,
                    form.SPLIT, grid.blocks, grid.block, 0, tensors, shape_of(call));
            });
    });
}

tnl_status backward(const tnl_call *call) {
    return launch<NORM_PLAIN>(call, NORM_BWD_X, NORM_BWD_DY, NORM_BWD_DY, NORM_BWD_DX, NORM_BWD_DX);
}

/* Without dresidual_out it is the plain one. */
tnl_status residual_backward(const tnl_call *call) {
    return call->tensor[RES_BWD_DRESIDUAL_OUT].data
               ? launch<NORM_RESIDUAL>(call, RES_BWD_RESIDUAL_OUT, RES_BWD_DY,
                                       RES_BWD_DRESIDUAL_OUT, RES_BWD_DX, RES_BWD_DX)
               : launch<NORM_PLAIN>(call, RES_BWD_RESIDUAL_OUT, RES_BWD_DY, RES_BWD_DY, RES_BWD_DX,
                                    RES_BWD_DX);
}

tnl_status gate_backward(const tnl_call *call) {
    return launch<NORM_GATE>(call, GATE_BWD_X, GATE_BWD_DY, GATE_BWD_U, GATE_BWD_DX, GATE_BWD_DU);
}

} // namespace

const tnl_kernel tnl_cuda_srmsnorm_backward_fused = {.launch = backward, .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_residual_backward_fused = {.launch = residual_backward,
                                                              .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_gate_backward_fused = {.launch = gate_backward,
                                                          .deterministic = true};
