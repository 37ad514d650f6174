/*
 * SRMSNorm (eq. 8), y = r x with r = 1 / sqrt(mean(x^2) + eps), in one pass over memory: alone,
 * after the residual's sum (eq. 9's pre-norm: y from the sum as float32 has it, before it is
 * rounded to be kept) and before a gate (eq. 3, y = r x u). How rows are shared out is told in
 * cuda_row.cuh.
 */
#include "kernels/srmsnorm/cuda_row.cuh"

namespace {

/* other: the residual or u; sum: r'. */
template <typename T> struct forward_tensors { matrix<T> x, other, sum, y; };

/* The residual's rows with edges need more registers. */
template <norm_kind KIND, int HELD, bool EDGES>
constexpr unsigned most_threads = HELD == 1                       ? NORM_SINGLE_THREADS
                                  : KIND == NORM_RESIDUAL &&EDGES ? NORM_MOST_THREADS / 2
                                                                  : NORM_MOST_THREADS;

template <norm_kind KIND, typename T, int W, int HELD, bool EDGES, int SPLIT, bool EVEN>
__global__ void __launch_bounds__(most_threads<KIND, HELD, EDGES>)
    forward_kernel(const forward_tensors<T> tensors, const norm_shape shape) {
    using elements = pack<T, W>;
    const norm_place<SPLIT> place(HELD == 1);
    const int64_t row = place.row;
    __shared__ norm_exchange<1, SPLIT> exchange;
    allow_next_kernel();
    wait_for_kernel_before();
    const T *x = tensors.x.row(row), *other = tensors.other.row(row);
    T *sum = tensors.sum.row(row), *y = tensors.y.row(row);
    const norm_cut<T, W, EDGES> cut(x, place.exists(shape.m), shape.width);
    const int64_t edge = cut.edge(place.thread);

    float squares[1] = {0};
    /* What is normalised. */
    auto elements_of = []<int N>(const pack<T, N> &value, const pack<T, N> &second, float(&z)[N]) {
        widen(value, z);
        if constexpr (KIND == NORM_RESIDUAL) {
            float more[N];
            widen(second, more);
#pragma unroll
            for (int w = 0; w < N; w++)
                z[w] += more[w];
        }
    };
    /* What lies at an element comes in: its squares are summed, and the residual's sum written. */
    auto take = [&]<int N>(int64_t at, const pack<T, N> &value, const pack<T, N> &second) {
        pack<T, N> rounded;
        float z[N], part = 0;
        elements_of(value, second, z);
#pragma unroll
        for (int w = 0; w < N; w++) {
            rounded.at[w] = from_float<T>(z[w]);
            part = fmaf(z[w], z[w], part);
        }
        if (KIND == NORM_RESIDUAL)
            store_whole(sum + at, rounded);
        squares[0] += part;
    };

    elements held[HELD], second[HELD];
    pack<T, 1> held_edge, second_edge;
#pragma unroll
    for (int j = 0; j < HELD; j++) {
        const unsigned i = place.thread + j * place.threads;
        if (EVEN || i < cut.packs) {
            held[j] = load_whole<W>(x + cut.at(i));
            if (KIND != NORM_PLAIN)
                second[j] = load_whole<W>(other + cut.at(i));
        }
    }
    if (EVEN)
        look_up_page(y + cut.at(place.thread));
    exchange.open(place);
    if (edge >= 0) {
        held_edge = load_whole<1>(x + edge);
        second_edge = load_whole<1>(other + edge);
        take(edge, held_edge, second_edge);
    }
#pragma unroll
    for (int j = 0; j < HELD; j++)
        if (EVEN || place.thread + j * place.threads < cut.packs)
            take(cut.at(place.thread + j * place.threads), held[j], second[j]);
    /* With fewer held than can be, rows with more are not shared out so. */
    const unsigned rest = HELD == NORM_MOST_HELD ? place.thread + HELD * place.threads : cut.packs;
    for (unsigned i = rest; i < cut.packs; i += place.threads) {
        const elements value = load_whole<W>(x + cut.at(i));
        take(cut.at(i), value, KIND == NORM_RESIDUAL ? load_whole<W>(other + cut.at(i)) : value);
    }

#pragma unroll
    for (int j = 0; j < HELD; j++) {
        stay_packed(held[j]);
        stay_packed(second[j]);
    }
    row_sums(squares, place, exchange);
    const norm_scale<T> r = norm_scale_of<T>(squares[0], shape);
    auto give = [&]<int N>(int64_t at, const pack<T, N> &value, const pack<T, N> &second) {
        pack<T, N> out;
        float z[N], gate[N];
        elements_of(value, second, z);
        widen(second, gate);
#pragma unroll
        for (int w = 0; w < N; w++) {
            const float norm = r.times(z[w]);
            out.at[w] = from_float<T>(KIND == NORM_GATE ? norm * gate[w] : norm);
        }
        store_whole(y + at, out);
    };
    if (edge >= 0)
        give(edge, held_edge, second_edge);
#pragma unroll
    for (int j = 0; j < HELD; j++)
        if (EVEN || place.thread + j * place.threads < cut.packs)
            give(cut.at(place.thread + j * place.threads), held[j], second[j]);
    for (unsigned i = rest; i < cut.packs; i += place.threads) {
        if (KIND == NORM_RESIDUAL) /* what `other` held may have been overwritten */
            give(cut.at(i), load_whole<W>(sum + cut.at(i)), elements{});
        else
            give(cut.at(i), load_whole<W>(x + cut.at(i)),
                 KIND == NORM_GATE ? load_whole<W>(other + cut.at(i)) : elements{});
    }
}

/* The kernel for the tensors of that index; those that KIND does not have are not looked at. */
template <norm_kind KIND>
tnl_status launch(const tnl_call *call, int x, int other, int sum, int y) {
    const tnl_tensor *tensor = call->tensor;
    return tnl_with_type(call, [&](auto type) {
        using T = decltype(type);
        const forward_tensors<T> tensors = {
            tnl_matrix_of<T>(&tensor[x]), tnl_matrix_of<T>(&tensor[other]),
            tnl_matrix_of<T>(&tensor[sum]), tnl_matrix_of<T>(&tensor[y])};
        const int all[] = {x, other, sum, y};
        return norm_dispatch<T>(
            call, all, KIND == NORM_PLAIN ? 1 : 2, NORM_MOST_THREADS,
            most_threads<KIND, NORM_MOST_HELD, true>, [&](auto form, norm_grid grid) {
                return tnl_launch_clusters(
                    call,
                    forward_kernel<KIND, T, form.W, form.HELD, form.EDGES, form.SPLIT, form.EVEN>,
                    form.SPLIT, grid.blocks, grid.block, 0, tensors, shape_of(call));
            });
    });
}

tnl_status forward(const tnl_call *call) {
    return launch<NORM_PLAIN>(call, NORM_X, NORM_X, NORM_Y, NORM_Y);
}

tnl_status residual_forward(const tnl_call *call) {
    return launch<NORM_RESIDUAL>(call, RES_X, RES_RESIDUAL, RES_RESIDUAL_OUT, RES_Y);
}

tnl_status gate_forward(const tnl_call *call) {
    return launch<NORM_GATE>(call, GATE_X, GATE_U, GATE_Y, GATE_Y);
}

/* A residual or x of another type than y: cuda_residual_wide.cu. */
const char *rejects_wide(const tnl_call *call) {
    const tnl_tensor *tensor = call->tensor;
    return tensor[RES_RESIDUAL].type == call->type && tensor[RES_X].type == call->type
               ? NULL
               : "takes a residual and x of y's type";
}

} // namespace

const tnl_kernel tnl_cuda_srmsnorm_forward_fused = {.launch = forward, .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_residual_forward_fused = {
    .launch = residual_forward, .rejects = rejects_wide, .deterministic = true};
const tnl_kernel tnl_cuda_srmsnorm_gate_forward_fused = {.launch = gate_forward,
                                                         .deterministic = true};
