/*
 * Making problems and running them: memory as planned, with values in the inputs, NaN in the
 * outputs (all bits set is one in every floating-point type), a pattern in guards and gaps.
 */
#include "verify/problem.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "verify/plan.h"
#include "verify/values.h"

double problem_bytes(const problem_spec *spec) {
    problem_plan plan = plan_make(spec);
    double total = 0;
    for (int i = 0; i < plan.block_count; i++)
        total += (double)plan.block[i].bytes;
    return total;
}

static void fill_pattern(unsigned char *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(0xa5 ^ i * 29);
}

/* The tensor's first element in a copy of its block. */
static unsigned char *at(const problem *p, int tensor, unsigned char *copy) {
    const tensor_place *here = &p->plan->place[tensor];
    return copy + PLAN_GUARD + (size_t)here->offset * tnl_type_size(here->view.type);
}

static problem_block *block_of(const problem *p, int tensor) {
    return &p->plan->block[p->plan->place[tensor].block];
}

int64_t problem_count(const problem *p, int tensor) {
    const tnl_tensor *view = &p->tensor[tensor];
    int64_t count = view->data ? 1 : 0;
    for (int i = 0; i < view->rank; i++)
        count *= view->shape[i];
    return count;
}

/* Set all bytes of a tensor's elements in a copy of its block. */
static void set_bytes(const problem *p, int tensor, void *copy, int value) {
    const tnl_tensor *view = &p->tensor[tensor];
    size_t size = tnl_type_size(view->type);
    int64_t columns = view->shape[view->rank - 1], count = problem_count(p, tensor);
    unsigned char *data = at(p, tensor, copy);
    for (int64_t i = 0; i < count; i += columns)
        memset(data + (size_t)values_offset(view, i) * size, value, (size_t)columns * size);
}

static void fill_tensors(problem *p) {
    const tnl_operator_row *row = &tnl_operators[p->spec.op];
    for (int i = 0; i < row->argument_count; i++) {
        const tensor_place *here = &p->plan->place[i];
        if (here->block < 0 || here->shares)
            continue;
        unsigned char *host = block_of(p, i)->host;
        if (row->argument[i].role == TNL_OUTPUT)
            set_bytes(p, i, host, 0xff);
        else
            values_fill(&p->spec, i, &p->tensor[i], at(p, i, host));
    }
}

/* Send a tensor's values to the device, those of a large one as a piece that repeats. Rows of the
 * piece are of no size that a tensor's are, so that no two rows of a matrix are the same. */
static bool send_values(const problem *p, int tensor) {
    enum { PIECE_ROWS = 1024, PIECE_COLUMNS = 4093 };
    tnl_tensor shape = p->tensor[tensor];
    int64_t count = problem_count(p, tensor);
    if (count > PIECE_ROWS * PIECE_COLUMNS) {
        shape = tnl_2d(shape.data, shape.type, PIECE_ROWS, PIECE_COLUMNS);
        shape.stride[0] = PIECE_COLUMNS;
        shape.stride[1] = 1;
    }
    size_t bytes = (size_t)tnl_tensor_bytes(&shape);
    void *piece = malloc(bytes);
    if (!piece)
        return false;
    values_fill(&p->spec, tensor, &shape, piece);
    bool sent = tnl_memory_repeat(p->device, p->tensor[tensor].data,
                                  (size_t)count * tnl_type_size(shape.type), piece, bytes);
    free(piece);
    return sent;
}

static bool send_all_values(const problem *p) {
    const tnl_operator_row *row = &tnl_operators[p->spec.op];
    for (int i = 0; i < row->argument_count; i++)
        if (p->tensor[i].data && row->argument[i].role != TNL_OUTPUT && !send_values(p, i))
            return false;
    return true;
}

bool problem_make(const problem_spec *spec, const tnl_context *context, problem *p) {
    *p = (struct problem){.spec = *spec, .eps = TNL_DEFAULT_EPS};
    p->device = context ? context->device : TNL_CPU;
    const bool on_host = !spec->timed || p->device == TNL_CPU;
    problem_plan *plan = p->plan = malloc(sizeof *plan);
    if (!plan)
        return false;
    *plan = plan_make(spec);
    for (int i = 0; i < plan->block_count; i++) {
        problem_block *block = &plan->block[i];
        block->memory = tnl_memory_allocate(p->device, block->bytes);
        block->host = p->device == TNL_CPU ? block->memory : on_host ? malloc(block->bytes) : NULL;
        if (!block->memory || (on_host && !block->host)) {
            problem_free(p);
            return false;
        }
        if (on_host)
            fill_pattern(block->host, block->bytes);
    }
    for (int i = 0; i < tnl_operators[spec->op].argument_count; i++) {
        if (plan->place[i].block < 0)
            continue;
        p->tensor[i] = plan->place[i].view;
        p->tensor[i].data = at(p, i, block_of(p, i)->memory);
    }
    if (on_host)
        fill_tensors(p);
    if (on_host ? problem_send(p) : send_all_values(p))
        return true;
    problem_free(p);
    return false;
}

void problem_free(problem *p) {
    for (int i = 0; p->plan && i < p->plan->block_count; i++) {
        problem_block *block = &p->plan->block[i];
        if (block->host != block->memory)
            free(block->host);
        tnl_memory_free(p->device, block->memory);
        free(block->first);
        free(block->writable);
    }
    free(p->plan);
    *p = (struct problem){0};
}

bool problem_send(problem *p) {
    bool sent = true;
    for (int i = 0; i < p->plan->block_count; i++) {
        problem_block *block = &p->plan->block[i];
        sent &= tnl_memory_to_device(p->device, block->memory, block->host, block->bytes);
    }
    return sent;
}

bool problem_fetch(problem *p) {
    bool fetched = true;
    for (int i = 0; i < p->plan->block_count; i++) {
        problem_block *block = &p->plan->block[i];
        fetched &= tnl_memory_from_device(p->device, block->host, block->memory, block->bytes);
    }
    return fetched;
}

/* ---- judging ------------------------------------------------------------------------------ */

/* Copy what the blocks hold, and mark the bytes that are outputs'. */
static bool remember(problem *p) {
    problem_plan *plan = p->plan;
    for (int i = 0; i < plan->block_count; i++) {
        problem_block *block = &plan->block[i];
        block->first = malloc(block->bytes);
        block->writable = calloc(block->bytes, sizeof *block->writable);
        if (!block->first || !block->writable)
            return false;
        memcpy(block->first, block->host, block->bytes);
    }
    const tnl_operator_row *row = &tnl_operators[p->spec.op];
    for (int i = 0; i < row->argument_count; i++)
        if (plan->place[i].block >= 0 && row->argument[i].role != TNL_INPUT)
            set_bytes(p, i, block_of(p, i)->writable, true);
    return true;
}

bool problem_poison(problem *p) {
    problem_plan *plan = p->plan;
    if (!plan->block[plan->block_count - 1].writable && !remember(p))
        return false;
    for (int i = 0; i < plan->block_count; i++)
        memcpy(plan->block[i].host, plan->block[i].first, plan->block[i].bytes);
    return problem_send(p);
}

const char *problem_guard_broken(const problem *p) {
    for (int i = 0; i < p->plan->block_count; i++) {
        const problem_block *block = &p->plan->block[i];
        for (size_t j = 0; j < block->bytes; j++)
            if (block->host[j] != block->first[j] && !block->writable[j])
                return tnl_operators[p->spec.op].argument[block->owner].name;
    }
    return NULL;
}

double problem_get(const problem *p, int tensor, int64_t index) {
    const tnl_tensor *view = &p->tensor[tensor];
    return tnl_load(at(p, tensor, block_of(p, tensor)->host), view->type,
                    values_offset(view, index));
}

double problem_get_first(const problem *p, int tensor, int64_t index) {
    const tnl_tensor *view = &p->tensor[tensor];
    return tnl_load(at(p, tensor, block_of(p, tensor)->first), view->type,
                    values_offset(view, index));
}

void problem_read(const problem *p, int tensor, bool first, double *value) {
    const tnl_tensor *view = &p->tensor[tensor];
    const problem_block *block = block_of(p, tensor);
    const void *data = at(p, tensor, first ? block->first : block->host);
    int64_t columns = view->shape[view->rank - 1], count = problem_count(p, tensor);
    for (int64_t i = 0; i < count; i += columns) {
        int64_t start = values_offset(view, i);
        for (int64_t j = 0; j < columns; j++)
            value[i + j] = tnl_load(data, view->type, start + j);
    }
}

void *problem_host(const problem *p, int tensor) {
    return at(p, tensor, block_of(p, tensor)->host);
}

void *problem_first(const problem *p, int tensor) {
    return at(p, tensor, block_of(p, tensor)->first);
}

const int32_t *problem_sequences(const problem *p) {
    const tnl_operator_row *row = &tnl_operators[p->spec.op];
    for (int i = 0; i < row->argument_count; i++)
        if (row->argument[i].shape[0] == DIM_S1 && p->tensor[i].data)
            return p->spec.cu_seqlens;
    return NULL;
}

bool problem_untouched(const problem *p, int tensor, int64_t index) {
    const tnl_tensor *view = &p->tensor[tensor];
    const problem_block *block = block_of(p, tensor);
    size_t size = tnl_type_size(view->type), offset = (size_t)values_offset(view, index) * size;
    return memcmp(at(p, tensor, block->host) + offset, at(p, tensor, block->first) + offset,
                  size) == 0;
}

void problem_set(problem *p, int tensor, int64_t index, double value) {
    const tnl_tensor *view = &p->tensor[tensor];
    problem_block *block = block_of(p, tensor);
    int64_t offset = values_offset(view, index);
    tnl_store(at(p, tensor, block->host), view->type, offset, value);
    if (block->first)
        tnl_store(at(p, tensor, block->first), view->type, offset, value);
}

/* ---- running ------------------------------------------------------------------------------ */

/* The args struct; contiguous tensors go in without strides, as most callers would hand them. */
static tnl_any_args make_args(const problem *p) {
    tnl_tensor tensor[TNL_MAX_TENSORS];
    memcpy(tensor, p->tensor, sizeof tensor);
    if (p->spec.layout == LAYOUT_CONTIGUOUS)
        for (int i = 0; i < TNL_MAX_TENSORS; i++)
            memset(tensor[i].stride, 0, sizeof tensor[i].stride);
    return tnl_make_args(p->spec.op, tensor, p->eps);
}

tnl_status problem_run(const problem *p, tnl_context *context, const char *variant, void *workspace,
                       size_t bytes) {
    tnl_any_args args = make_args(p);
    tnl_options options = {variant, workspace, bytes};
    return tnl_typed_functions[p->spec.op].run(context, &args, &options);
}

tnl_status problem_workspace(const problem *p, tnl_context *context, const char *variant,
                             size_t *bytes) {
    tnl_any_args args = make_args(p);
    tnl_options options = {.variant = variant};
    return tnl_typed_functions[p->spec.op].workspace(context, &args, &options, bytes);
}
