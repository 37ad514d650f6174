/*
 * Bad contents: slopes, positions, sequence offsets and slots that hold what their row of the
 * table does not allow; eps; and optional tensors that need, or exclude, each other.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "verify/trial.h"

enum { MOST = 16 }; /* elements of an index tensor here */

/* A copy of an index tensor or of slopes, to be spoilt. */
typedef union contents {
    float f32[MOST];
    int32_t i32[MOST];
    int64_t i64[MOST];
} contents;

/* The call with tensor i holding these, element `at` of which is `value`. */
static void try_contents(trial *t, int i, contents *held, int64_t at, const char *value) {
    const char *name = t->row->argument[i].name;
    t->tensor[i].data = held;
    t->run_only = true;
    trial_judge(t, TNL_INVALID_ARGUMENT, name, value, "%s[%lld] %s", name, (long long)at, value);
}

static contents copy(const trial *t, int i) {
    contents held = {0};
    memcpy(&held, t->tensor[i].data, (size_t)tnl_tensor_bytes(&t->tensor[i]));
    return held;
}

static void try_slopes(trial *t, int i) {
    const float bad[] = {-1, -1e-30f, NAN, INFINITY, -INFINITY};
    int64_t at[] = {0, t->tensor[i].shape[0] - 1};
    for (size_t k = 0; k < sizeof bad / sizeof *bad * 2; k++) {
        contents held = copy(t, i);
        held.f32[at[k % 2]] = bad[k / 2];
        try_contents(t, i, &held, at[k % 2], trial_text("%g", bad[k / 2]));
    }
}

static void try_positions(trial *t, int i) {
    const int64_t bad[] = {-1, INT64_MIN, TNL_MAX_POSITION + 1, INT64_MAX};
    int64_t at[] = {0, t->tensor[i].shape[0] - 1};
    for (size_t k = 0; k < sizeof bad / sizeof *bad * 2; k++) {
        contents held = copy(t, i);
        held.i64[at[k % 2]] = bad[k / 2];
        try_contents(t, i, &held, at[k % 2], trial_text("%lld", (long long)bad[k / 2]));
    }
}

static void try_slots(trial *t, int i) {
    int64_t last = t->tensor[i].shape[0] - 1;
    const int32_t bad[] = {-2, (int32_t)t->good->spec.dim[DIM_SLOTS], INT32_MAX, INT32_MIN};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        contents held = copy(t, i);
        held.i32[k % 2 ? 0 : last] = bad[k];
        try_contents(t, i, &held, k % 2 ? 0 : last, trial_text("%d", bad[k]));
    }
    contents held = copy(t, i);
    held.i32[0] = held.i32[last] = 1; /* one slot for two tokens */
    try_contents(t, i, &held, last, "1");
}

/* Offsets that do not start at 0, run backwards, or do not end at the number of tokens. */
static void try_cu_seqlens(trial *t, int i) {
    int64_t last = t->tensor[i].shape[0] - 1;
    int32_t tokens = t->good->spec.cu_seqlens[last];
    const struct {
        int64_t at;      /* this offset */
        int32_t becomes; /* gets this value, and then */
        int64_t blamed;  /* this one is wrong */
    } bad[] = {{0, 1, 0},         {0, -1, 0},
               {1, -2, 1},        {1, tokens, 2},
               {1, INT32_MAX, 2}, {last, tokens + 1, last},
               {last, 0, last},   {last, tokens - 1, last},
               {last, -1, last}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        contents held = copy(t, i);
        held.i32[bad[k].at] = bad[k].becomes;
        try_contents(t, i, &held, bad[k].blamed, trial_text("%d", held.i32[bad[k].blamed]));
    }
}

static void try_eps(trial *t) {
    const double bad[] = {-1, -1e-300, NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        t->eps = bad[k];
        trial_judge(t, TNL_INVALID_ARGUMENT, "eps", trial_text("%g", bad[k]), "eps %g", bad[k]);
    }
}

/* Optional tensor `needed` away where `by` is given. */
static void try_needed(trial *t, const char *needed, const char *by) {
    int at = tnl_find_argument(t->good->spec.op, needed);
    int other = tnl_find_argument(t->good->spec.op, by);
    if (at < 0 || other < 0 || !t->row->argument[at].optional || !t->tensor[at].data ||
        !t->tensor[other].data)
        return;
    t->tensor[at].data = NULL;
    trial_judge(t, TNL_INVALID_ARGUMENT, needed, "NULL", "%s without %s", by, needed);
}

/* Packed sequences in a batch of two. */
static void try_packed_batch(trial *t) {
    bool packed = false, batched = false;
    for (int i = 0; i < t->row->argument_count; i++) {
        packed |= t->row->argument[i].content == CONTENT_CU_SEQLENS && t->tensor[i].data;
        for (int j = 0; j < t->row->argument[i].rank; j++)
            batched |= t->row->argument[i].shape[j] == DIM_B;
    }
    if (!packed || !batched)
        return;
    for (int i = 0; i < t->row->argument_count; i++)
        for (int j = 0; j < t->row->argument[i].rank; j++)
            if (t->row->argument[i].shape[j] == DIM_B)
                t->tensor[i].shape[j] = 2;
    trial_judge(t, TNL_INVALID_ARGUMENT, "cu_seqlens", "2", "cu_seqlens and b = 2");
}

void trial_contents(trial *t) {
    static void (*const try[])(trial *, int) = {
        [CONTENT_SLOPES] = try_slopes,
        [CONTENT_POSITIONS] = try_positions,
        [CONTENT_CU_SEQLENS] = try_cu_seqlens,
        [CONTENT_SLOTS] = try_slots,
    };
    /* On a CUDA device contents are the caller's word. */
    for (int i = 0; t->context->device == TNL_CPU && i < t->row->argument_count; i++)
        if (t->row->argument[i].content != CONTENT_ANY && t->tensor[i].data)
            try[t->row->argument[i].content](t, i);
    if (t->row->has_eps)
        try_eps(t);
    try_needed(t, "theta", "dtheta");
    try_needed(t, "u", "v");
    try_needed(t, "v", "u");
    try_packed_batch(t);
}
