/*
 * Which rows are timed. A sweep is one operator with all dimensions but one held (bench/sizes.h);
 * every variant of the table that is built for the device runs at each of its sizes, so a new
 * variant needs no line here. A size that is too large for the device's memory or one's patience
 * is recorded as skipped when its turn comes.
 */
#include "bench/sweeps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/device.h"
#include "bench/models.h"
#include "core/context.h"

/* A quick run takes the first sizes of each sweep, and of them those that move so little. */
enum { QUICK_SIZES = 3, QUICK_MIB = 128 };

/* ---- a row -------------------------------------------------------------------------------- */

bench_row *rows_add(row_list *list) {
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 256;
        bench_row *grown = realloc(list->row, (size_t)capacity * sizeof *grown);
        if (!grown)
            return NULL;
        list->row = grown;
        list->capacity = capacity;
    }
    bench_row *row = &list->row[list->count++];
    memset(row, 0, sizeof *row);
    return row;
}

/* What a row moves and computes, from its shapes alone: no tensor is made for it. */
static void count_work(bench_row *row) {
    static char present;
    const tnl_operator_row *operator_ = &tnl_operators[row->spec.op];
    tnl_call call = {.op = row->spec.op, .type = row->spec.type};
    memcpy(call.dim, row->spec.dim, sizeof call.dim);
    for (int i = 0; i < operator_->argument_count; i++) {
        const tnl_argument *argument = &operator_->argument[i];
        if (argument->optional && !(row->spec.present >> i & 1))
            continue;
        tnl_tensor *tensor = &call.tensor[i];
        tensor->data = &present;
        tensor->type = argument->type ? argument->type : row->spec.type;
        tensor->rank = argument->rank;
        for (int j = 0; j < tensor->rank; j++)
            tensor->shape[j] = call.dim[argument->shape[j]];
        if (argument->role == TNL_OUTPUT)
            row->output_bytes += tnl_tensor_bytes(tensor);
    }
    row->bytes = tnl_call_bytes(&call);
    row->flops = operator_->flops ? operator_->flops(call.dim) : 0;
}

/* The GEMMs that an operator is made of; backward, with what is saved for it. */
static bare_gemms bare_gemms_of(const problem_spec *spec) {
    const int64_t m = spec->dim[DIM_M], width = spec->dim[DIM_HIDDEN], g = spec->dim[DIM_G];
    const gemm_size up = {spec->type, m, g, width}, down = {spec->type, m, width, g};
    const gemm_size dwo = {spec->type, width, g, m}, dwvu = {spec->type, g, width, m};
    const int64_t k = spec->dim[DIM_K];
    switch (spec->op) {
    case TNL_SGLU_GATE:
        return (bare_gemms){.gemm = {up, up}, .count = 2};
    case TNL_SGLU_DOWN:
        return (bare_gemms){.gemm = {down}, .count = 1};
    case TNL_SGLU_FORWARD:
        return (bare_gemms){.gemm = {up, up, down}, .count = 3, .product = true};
    case TNL_QKVU_PROJECTION_FORWARD:
        return (bare_gemms){.gemm = {{spec->type, m, k, width}}, .count = 1};
    case TNL_SGLU_BACKWARD:
        return (bare_gemms){.gemm = {up, down, down, dwvu, dwvu, dwo}, .count = 6};
    case TNL_QKVU_PROJECTION_BACKWARD:
        return (bare_gemms){.gemm = {{spec->type, m, width, k}, {spec->type, k, width, m}},
                            .count = 2};
    default:
        return (bare_gemms){.count = 0};
    }
}

/* What the rows of a sweep are made from; the last three make several curves of one sweep. */
typedef struct row_maker {
    row_list *list;
    const size_sweep *sweep;
    tnl_device device;
    bool quick;
    uint64_t seed;
    tnl_type type;
    slopes decay;
    bool lrpe;
} row_maker;

/* operator/variant/type/b:1/h:16/n:8192/d:128/e:128/decay:released */
static void name_row(const row_maker *maker, bench_row *row) {
    const tnl_operator_row *operator_ = &tnl_operators[row->spec.op];
    size_t size = sizeof row->name;
    int length = snprintf(row->name, size, "%s/%s/%s", operator_->name, row->variant->name,
                          tnl_type_name(row->spec.type));
    for (int i = 0; i < (int)(sizeof operator_->named / sizeof *operator_->named); i++)
        if (operator_->named[i] != DIM_NONE)
            length += snprintf(row->name + length, size - (size_t)length, "/%s:%lld",
                               tnl_dim_letter(operator_->named[i]),
                               (long long)row->spec.dim[operator_->named[i]]);
    if (maker->sweep->lrpe)
        length += snprintf(row->name + length, size - (size_t)length, "/lrpe:%d", maker->lrpe);
    if (maker->sweep->decays)
        length += snprintf(row->name + length, size - (size_t)length, "/decay:%s",
                           row->spec.slopes == SLOPES_NONE ? "none" : "released");
    if (maker->sweep->layout == LAYOUT_PACKED)
        length += snprintf(row->name + length, size - (size_t)length, "/packed");
    if (row->warm)
        snprintf(row->name + length, size - (size_t)length, "/warm");
}

/* ---- the rows of a sweep ------------------------------------------------------------------ */

static problem_spec make_spec(const row_maker *maker, int64_t size) {
    const size_sweep *sweep = maker->sweep;
    problem_spec spec = {.op = sweep->op,
                         .type = maker->type,
                         .layout = sweep->layout,
                         .slopes = maker->decay,
                         .seed = maker->seed,
                         .timed = true};
    memcpy(spec.dim, sweep->dim, sizeof spec.dim);
    spec.dim[sweep->varies] = size;
    for (int i = 0; i < DIM_COUNT; i++)
        if (sweep->factor[i])
            spec.dim[i] = size * sweep->factor[i] / 4;
    spec.present = sweep->present | (maker->lrpe ? sweep->lrpe : 0);
    problem_complete(&spec);
    return spec;
}

/* A row at this size for every variant of the operator that takes the type on the device. Variant
 * v's curve is the v-th from the first. */
static bool add_variants(const row_maker *maker, int64_t size, int first_curve, int number,
                         bool warm) {
    problem_spec spec = make_spec(maker, size);
    for (int v = 0; v < tnl_variants_count; v++) {
        const tnl_variant_row *variant = &tnl_variants[v];
        if (variant->op != spec.op || variant->device != maker->device || !variant->kernel ||
            !(variant->types >> spec.type & 1))
            continue;
        bench_row *row = rows_add(maker->list);
        if (!row)
            return false;
        row->kind = ROW_OPERATOR;
        row->spec = spec;
        row->variant = variant;
        row->problem = number;
        row->warm = warm;
        row->curve = first_curve + v;
        row->size = (double)size;
        row->bare = bare_gemms_of(&spec);
        count_work(row);
        name_row(maker, row);
        if (maker->quick && row->bytes > QUICK_MIB * 1048576.0)
            maker->list->count--;
    }
    return true;
}

static bool add_curves(const row_maker *maker) {
    int first_curve = maker->list->curves;
    maker->list->curves += tnl_variants_count;
    int sizes = maker->quick ? QUICK_SIZES : SIZES;
    for (int i = 0; i < sizes && maker->sweep->size[i]; i++) {
        const int number = maker->list->problems++;
        for (int warm = 0; warm < (maker->sweep->warm ? 2 : 1); warm++)
            if (!add_variants(maker, maker->sweep->size[i], first_curve, number, warm))
                return false;
    }
    return true;
}

static bool add_sweep(row_maker *maker) {
    const size_sweep *sweep = maker->sweep;
    unsigned decays = sweep->decays ? sweep->decays : 1u << SLOPES_RELEASED;
    const unsigned types = sweep->types ? sweep->types : TNL_ALL_FLOATS;
    for (tnl_type type = TNL_FLOAT32; type <= TNL_BFLOAT16; type++)
        for (slopes decay = SLOPES_RELEASED; decay <= SLOPES_NONE; decay++)
            for (int lrpe = 0; lrpe < (sweep->lrpe ? 2 : 1); lrpe++) {
                maker->type = type;
                maker->decay = decay;
                maker->lrpe = lrpe;
                if (types >> type & 1 && decays >> decay & 1 && !add_curves(maker))
                    return false;
            }
    return true;
}

/* ---- yardsticks --------------------------------------------------------------------------- */

double copy_size(double bytes) {
    const double page = 4096;
    return fmax(round(bytes / page), 1) * page;
}

static bool add_copy(row_list *list, double bytes) {
    for (int i = 0; i < list->count; i++)
        if (list->row[i].kind == ROW_COPY && list->row[i].bytes == bytes)
            return true;
    bench_row *row = rows_add(list);
    if (!row)
        return false;
    row->kind = ROW_COPY;
    row->bytes = bytes;
    snprintf(row->name, sizeof row->name, "copy/best/bytes:%.0f", bytes);
    return true;
}

static bool add_gemm(row_list *list, const bench_standards *standards, tnl_type type, int64_t m,
                     int64_t n, int64_t k) {
    for (int i = 0; i < list->count; i++) {
        const bench_row *old = &list->row[i];
        if (old->kind == ROW_GEMM && old->type == type && old->m == m && old->n == n && old->k == k)
            return true;
    }
    bench_row *row = rows_add(list);
    if (!row)
        return false;
    row->kind = ROW_GEMM;
    row->type = type;
    row->m = m;
    row->n = n;
    row->k = k;
    row->flops = 2.0 * (double)m * (double)n * (double)k;
    row->bytes = (double)tnl_type_size(type) *
                 ((double)m * (double)k + (double)n * (double)k + (double)m * (double)n);
    snprintf(row->name, sizeof row->name, "gemm/%s/%s/m:%lld/n:%lld/k:%lld", standards->gemm_name,
             tnl_type_name(type), (long long)m, (long long)n, (long long)k);
    return true;
}

/* The GEMMs that an operator is made of: into the gated or the packed dimension, and back. */
static bool add_gemms(row_list *list, const bench_standards *standards, const problem_spec *spec) {
    const int64_t *dim = spec->dim;
    int64_t wide = dim[DIM_G] ? dim[DIM_G] : dim[DIM_K];
    if (!wide)
        return true;
    return add_gemm(list, standards, spec->type, dim[DIM_M], wide, dim[DIM_HIDDEN]) &&
           (!dim[DIM_G] ||
            add_gemm(list, standards, spec->type, dim[DIM_M], dim[DIM_HIDDEN], wide));
}

static bool add_empty(row_list *list, const bench_standards *standards) {
    bench_row *row = standards->empty ? rows_add(list) : NULL;
    if (row) {
        row->kind = ROW_EMPTY;
        snprintf(row->name, sizeof row->name, "empty/kernel");
    }
    return row || !standards->empty;
}

/* The rates first, then copies and GEMMs of the sizes of what is held against them. */
static bool add_yardsticks(row_list *list, const bench_standards *standards,
                           const row_list *operators) {
    const int64_t size = standards->gemm_rate_size;
    bool made = add_copy(list, standards->copy_rate_bytes);
    for (tnl_type type = TNL_FLOAT32; made && type <= TNL_BFLOAT16; type++)
        if (standards->gemm_types >> type & 1)
            made = add_gemm(list, standards, type, size, size, size);
    made = made && add_empty(list, standards);
    for (int i = 0; made && i < operators->count; i++)
        made = add_copy(list, copy_size(operators->row[i].bytes));
    for (int i = 0; made && i < operators->count; i++)
        made = add_gemms(list, standards, &operators->row[i].spec);
    return made;
}

bool rows_make(const tnl_context *context, bool quick, uint64_t seed, row_list *list) {
    const bench_device *device = bench_device_of(context);
    row_list operators = {0};
    row_maker maker = {.list = &operators, .device = context->device, .quick = quick, .seed = seed};
    *list = (row_list){0};
    bool made = true;
    for (maker.sweep = device->sweeps; made && maker.sweep->varies != DIM_NONE; maker.sweep++)
        made = add_sweep(&maker);
    made = made && add_yardsticks(list, device->standards, &operators);
    made = made && models_add(&operators, context->device, quick);
    for (int i = 0; made && i < operators.count; i++) {
        bench_row *row = rows_add(list);
        made = row != NULL;
        if (row)
            *row = operators.row[i];
    }
    list->problems = operators.problems;
    list->curves = operators.curves;
    rows_free(&operators);
    if (!made)
        rows_free(list);
    return made;
}

void rows_free(row_list *list) {
    free(list->row);
    *list = (row_list){0};
}
