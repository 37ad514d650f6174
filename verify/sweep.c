/*
 * The sweep. Sizes are powers of two, primes, 1, and one more and one less than what a tile may
 * be; every other choice (layout, slopes, optional tensors, ...) has a kind of case that goes
 * through all of it at a moderate size, and is drawn at random in the others.
 */
#include "verify/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"

enum { MAX_NAMED = 5, RANDOM_CASES = 32, LAYOUTS = 4, SLOPES = 6 };

typedef enum kind {
    KIND_SIZE,
    KIND_LONG,
    KIND_PROMISED,
    KIND_OPTIONAL,
    KIND_LAYOUT,
    KIND_SLOPES,
    KIND_LARGE,
    KIND_ZERO_ROWS,
    KIND_OVERFLOW,
    KIND_PACKED,
    KIND_POSITION,
    KIND_FLOAT32,
    KIND_RANDOM
} kind;

/* Sizes by family, the operator's named dimensions in their order; the first is the one that the
 * other kinds of case are tried at. The largest products have more tiles than a device takes at a
 * time. */
typedef int64_t sizes[MAX_NAMED];

static const sizes rows_sizes[] = {
    {5, 96},    {1, 1},     {3, 2},    {2, 3},    {7, 5},    {1, 7},    {17, 8},    {2, 15},
    {64, 16},   {5, 17},    {3, 31},   {2, 32},   {1, 33},   {65, 63},  {4, 64},    {3, 65},
    {2, 97},    {128, 100}, {1, 127},  {2, 128},  {3, 129},  {5, 191},  {2, 255},   {3, 256},
    {1, 257},   {7, 384},   {2, 511},  {3, 512},  {2, 513},  {4, 768},  {16, 999},  {2, 1021},
    {3, 1023},  {5, 1024},  {1, 1025}, {2, 1536}, {3, 2047}, {2, 2048}, {1, 2049},  {2, 3072},
    {300, 512}, {1, 4095},  {3, 4096}, {2, 4097}, {1, 5120}, {2, 8192}, {1, 16384},
};
static const sizes sglu_sizes[] = {
    {5, 24, 40},      {1, 1, 1},     {2, 3, 5},     {3, 7, 2},      {1, 64, 128},   {17, 8, 16},
    {16, 16, 16},     {7, 31, 33},   {32, 32, 32},  {33, 33, 65},   {31, 63, 64},   {64, 64, 64},
    {65, 65, 63},     {1, 256, 352}, {2, 127, 129}, {63, 96, 160},  {128, 64, 32},  {129, 32, 48},
    {3, 128, 257},    {100, 99, 98}, {127, 61, 67}, {4, 512, 128},  {1, 1024, 96},  {5, 96, 1024},
    {256, 64, 64},    {255, 48, 80}, {257, 16, 24}, {64, 256, 256}, {11, 320, 200}, {300, 24, 8968},
    {300, 17160, 24}, {2, 4616, 24}, {4, 24, 4616}, {1, 2056, 40},  {1, 40, 6152},
};
static const sizes projection_sizes[] = {
    {5, 24, 48},     {1, 1, 4},      {2, 3, 8},      {3, 7, 12},       {1, 64, 64},
    {17, 8, 20},     {16, 16, 32},   {7, 31, 36},    {32, 32, 64},     {33, 33, 68},
    {64, 64, 128},   {65, 65, 132},  {1, 256, 512},  {2, 127, 260},    {63, 96, 192},
    {128, 64, 64},   {129, 32, 96},  {3, 128, 1024}, {100, 99, 100},   {127, 61, 124},
    {4, 512, 256},   {1, 1024, 192}, {256, 64, 64},  {255, 48, 240},   {257, 16, 48},
    {64, 128, 512},  {11, 320, 400}, {33, 64, 2048}, {300, 24, 17408}, {257, 40, 1024},
    {130, 72, 3072}, {1, 4616, 32},
};
static const sizes activation_sizes[] = {
    {2, 3, 33, 16}, {1, 1, 1, 1},     {2, 3, 1, 64},   {3, 2, 2, 3},    {1, 4, 7, 8},
    {2, 2, 16, 32}, {1, 2, 17, 33},   {1, 3, 64, 128}, {2, 2, 65, 96},  {1, 1, 127, 256},
    {2, 2, 128, 8}, {1, 2, 129, 1},   {1, 8, 255, 31}, {1, 2, 256, 64}, {1, 2, 257, 127},
    {2, 2, 999, 5}, {1, 1, 2048, 32}, {1, 17, 3, 65},  {5, 1, 63, 17},  {1, 1, 4097, 16},
};
static const sizes attention_sizes[] = {
    {2, 3, 33, 16, 24},    {1, 1, 1, 1, 1},       {2, 3, 1, 64, 64},     {3, 2, 2, 16, 16},
    {1, 2, 3, 3, 5},       {2, 2, 7, 8, 24},      {1, 3, 8, 32, 16},     {1, 2, 15, 17, 33},
    {2, 1, 16, 16, 16},    {1, 4, 17, 128, 64},   {2, 2, 31, 32, 32},    {1, 3, 32, 48, 80},
    {2, 2, 33, 64, 32},    {1, 2, 47, 32, 33},    {2, 2, 63, 64, 64},    {1, 2, 64, 128, 128},
    {2, 2, 65, 32, 96},    {1, 1, 66, 256, 16},   {1, 2, 96, 96, 96},    {1, 3, 97, 16, 128},
    {1, 2, 127, 16, 64},   {2, 2, 127, 32, 64},   {1, 2, 128, 64, 128},  {1, 2, 129, 128, 64},
    {1, 1, 130, 256, 256}, {1, 2, 191, 64, 64},   {1, 2, 192, 32, 16},   {1, 2, 193, 24, 40},
    {1, 1, 255, 128, 32},  {2, 1, 256, 64, 64},   {1, 1, 257, 16, 16},   {1, 1, 319, 32, 48},
    {1, 1, 320, 33, 31},   {1, 2, 383, 16, 32},   {1, 1, 384, 64, 16},   {1, 2, 385, 16, 17},
    {1, 1, 511, 64, 64},   {1, 2, 512, 32, 32},   {1, 1, 513, 64, 64},   {1, 1, 521, 7, 128},
    {1, 1, 640, 16, 16},   {1, 1, 769, 32, 32},   {1, 1, 1000, 16, 32},  {1, 2, 1023, 32, 32},
    {1, 1, 1024, 64, 64},  {1, 1, 1025, 32, 32},  {1, 1, 1537, 16, 16},  {1, 1, 2047, 16, 16},
    {1, 1, 2049, 16, 32},  {1, 16, 40, 16, 16},   {5, 7, 19, 16, 16},    {1, 2, 67, 32, 256},
    {1, 1, 129, 256, 32},  {1, 1, 200, 192, 224}, {1, 16, 1033, 16, 24}, {1, 8, 1100, 40, 16},
};
static const sizes decode_sizes[] = {
    {3, 2, 16, 24}, {1, 1, 1, 1},     {2, 3, 3, 5},    {1, 4, 8, 8},     {7, 2, 16, 16},
    {4, 1, 32, 16}, {2, 2, 33, 17},   {5, 2, 64, 64},  {1, 8, 128, 128}, {3, 3, 96, 48},
    {2, 1, 48, 32}, {1, 2, 31, 65},   {16, 2, 32, 32}, {33, 1, 16, 8},   {2, 16, 24, 24},
    {64, 1, 8, 8},  {1, 2, 127, 129}, {2, 2, 64, 256}, {1, 1, 256, 256},
};

#define SIZES(array)                                                                               \
    { array, sizeof(array) / sizeof *(array) }
static const struct {
    const sizes *sizes;
    int count;
} family_sizes[FAMILY_COUNT] = {
    [FAMILY_ROWS] = SIZES(rows_sizes),
    [FAMILY_SGLU] = SIZES(sglu_sizes),
    [FAMILY_PROJECTION] = SIZES(projection_sizes),
    [FAMILY_ACTIVATION] = SIZES(activation_sizes),
    [FAMILY_ATTENTION] = SIZES(attention_sizes),
    [FAMILY_DECODE] = SIZES(decode_sizes),
};

/* Packed batches, as cu_seqlens has them: with empty sequences in every place, with sequences of
 * one token, and with lengths on both sides of a tile. */
static const struct {
    int sequences;
    int32_t offset[9];
} packing[] = {
    {4, {0, 1, 1, 34, 65}},  {1, {0, 17}},
    {3, {0, 0, 130, 130}},   {5, {0, 1, 2, 3, 4, 5}},
    {2, {0, 64, 128}},       {4, {0, 63, 127, 192, 193}},
    {3, {0, 127, 255, 384}}, {8, {0, 2, 2, 2, 9, 31, 33, 98, 211}},
};

family sweep_family(tnl_operator op) {
    unsigned named = 0;
    for (int i = 0; i < MAX_NAMED; i++)
        named |= 1u << tnl_operators[op].named[i];
    if (named >> DIM_N & 1)
        return named >> DIM_E & 1 ? FAMILY_ATTENTION : FAMILY_ACTIVATION;
    if (named >> DIM_E & 1)
        return FAMILY_DECODE;
    if (named >> DIM_K & 1)
        return FAMILY_PROJECTION;
    return named >> DIM_G & 1 ? FAMILY_SGLU : FAMILY_ROWS;
}

unsigned sweep_bit(tnl_operator op, const char *name) {
    for (int i = 0; i < tnl_operators[op].argument_count; i++)
        if (strcmp(tnl_operators[op].argument[i].name, name) == 0)
            return 1u << i;
    return 0;
}

static unsigned optional_bits(tnl_operator op) {
    unsigned bits = 0;
    for (int i = 0; i < tnl_operators[op].argument_count; i++)
        bits |= (unsigned)tnl_operators[op].argument[i].optional << i;
    return bits;
}

bool sweep_may_have(tnl_operator op, unsigned present) {
    if (present & ~optional_bits(op))
        return false;
    if (present & sweep_bit(op, "dtheta") && !(present & sweep_bit(op, "theta")))
        return false;
    return sweep_family(op) != FAMILY_SGLU ||
           !(present & sweep_bit(op, "v")) == !(present & sweep_bit(op, "u"));
}

/* ---- adding ------------------------------------------------------------------------------- */

/* The shortest of what numbers a slice's elements: tokens of a sequence, and features. */
static int64_t shortest(const problem_spec *spec) {
    int64_t least = INT64_MAX;
    for (int i = 0; i < MAX_NAMED; i++) {
        enum tnl_dim dim = tnl_operators[spec->op].named[i];
        if (dim != DIM_NONE && dim != DIM_B && dim != DIM_H && spec->dim[dim] < least)
            least = spec->dim[dim];
    }
    for (int64_t i = 0; spec->cu_seqlens && i < spec->dim[DIM_S]; i++) {
        int64_t length = spec->cu_seqlens[i + 1] - spec->cu_seqlens[i];
        if (length > 0 && length < least)
            least = length;
    }
    return least;
}

static bool add(sweep *s, kind of, const problem_spec *spec) {
    if (s->of_kind[of]++ % 10 != 0 && s->quick)
        return true;
    if (s->count == s->capacity) {
        int capacity = 2 * s->capacity + 64;
        problem_spec *grown = realloc(s->spec, (size_t)capacity * sizeof *grown);
        if (!grown)
            return false;
        s->spec = grown;
        s->capacity = capacity;
    }
    problem_spec *added = &s->spec[s->count++];
    *added = *spec;
    problem_complete(added);
    /* A slice of a few numbers, or a token that sees none but itself, may happen to be the small
     * remains of large sums, and then no computation in the type holds a relative bound. */
    family members = sweep_family(spec->op);
    bool forgets =
        members == FAMILY_DECODE && (spec->slopes == SLOPES_STEEP || spec->slopes == SLOPES_PAPER);
    if (spec->values == VALUES_NORMAL && members != FAMILY_ROWS && (shortest(spec) < 4 || forgets))
        added->values = VALUES_POSITIVE;
    return true;
}

static void set_sizes(problem_spec *spec, const int64_t *size) {
    memset(spec->dim, 0, sizeof spec->dim);
    for (int i = 0; i < MAX_NAMED; i++)
        if (tnl_operators[spec->op].named[i] != DIM_NONE)
            spec->dim[tnl_operators[spec->op].named[i]] = size[i];
    int64_t features = spec->dim[DIM_K] / 4;
    if (features)
        spec->dim[DIM_H] = features % 4 == 0 ? 4 : features % 2 == 0 ? 2 : 1;
}

/* Choices are tried at a second size besides the first where some rows do not take that: those for
 * many rows of SGLU, and of the packed projection those whose LRPE wants heads of a multiple of 64.
 * false: there is none. */
static bool set_second_size(problem_spec *spec) {
    static const sizes second[FAMILY_COUNT] = {
        [FAMILY_SGLU] = {130, 24, 40}, [FAMILY_PROJECTION] = {131, 24, 1024}};
    const int64_t *size = second[sweep_family(spec->op)];
    if (size[0])
        set_sizes(spec, size);
    return size[0];
}

/* Make a packed batch of it. */
static void set_packing(problem_spec *spec, int i) {
    int sequences = packing[i].sequences;
    spec->present |= sweep_bit(spec->op, "cu_seqlens");
    spec->cu_seqlens = packing[i].offset;
    spec->dim[DIM_S] = sequences;
    spec->dim[spec->dim[DIM_K] ? DIM_M : DIM_N] = packing[i].offset[sequences];
    if (!spec->dim[DIM_K])
        spec->dim[DIM_B] = 1;
}

/* A random one of the allowed combinations of optional tensors, cu_seqlens aside. */
static unsigned random_present(tnl_operator op, uint64_t seed) {
    unsigned allowed = optional_bits(op) & ~sweep_bit(op, "cu_seqlens");
    for (uint64_t i = 0;; i++) {
        unsigned present = (unsigned)random_bits(seed, 1, i) & allowed;
        if (sweep_may_have(op, present))
            return present;
    }
}

/* Which tensors are float32 beside data of the problem's type, as the bits of `choice` have it for
 * those that may be; an output that may take the place of such an input is as that is. */
static unsigned choose_float32(const problem_spec *spec, uint64_t choice) {
    const tnl_operator_row *row = &tnl_operators[spec->op];
    unsigned chosen = 0;
    for (int i = 0; i < row->argument_count && spec->type != TNL_FLOAT32; i++) {
        const int input = row->argument[i].in_place - 1;
        if (!row->argument[i].or_float32)
            continue;
        if (input >= 0 && row->argument[input].or_float32) {
            chosen |= (chosen >> input & 1) << i;
        } else {
            chosen |= (unsigned)(choice & 1) << i;
            choice >>= 1;
        }
    }
    return chosen;
}

/* What is not the matter of a case, drawn by its seed. */
static void draw_the_rest(problem_spec *spec) {
    static const int64_t position[] = {0, 1, 1000, 1000000};
    uint64_t bits = random_bits(spec->seed, 2, 0);
    spec->present = random_present(spec->op, spec->seed);
    spec->layout = (layout)(bits % LAYOUTS);
    spec->slopes = (slopes)(bits / LAYOUTS % SLOPES);
    spec->position = position[bits >> 16 & 3];
    spec->in_place = bits >> 20 & 1;
    spec->float32 = choose_float32(spec, bits >> 21);
}

/* ---- kinds of case ------------------------------------------------------------------------ */

static bool add_sizes(sweep *s, problem_spec spec) {
    family members = sweep_family(spec.op);
    bool added = true;
    for (int i = 0; i < family_sizes[members].count; i++) {
        set_sizes(&spec, family_sizes[members].sizes[i]);
        spec.seed++;
        draw_the_rest(&spec);
        added &= add(s, KIND_SIZE, &spec);
    }
    static const sizes lengths[] = {
        {1, 1, 4097, 16, 16}, {1, 1, 4096, 16, 32}, {1, 2, 5000, 16, 8}};
    static const sizes quick_length = {1, 1, 2049, 16, 16}; /* in segments, too */
    for (int i = 0; members == FAMILY_ATTENTION && i < 3; i++) {
        set_sizes(&spec, s->quick ? quick_length : lengths[i]);
        spec.seed++;
        draw_the_rest(&spec);
        spec.slopes = i == 1 ? SLOPES_RELEASED : SLOPES_LAST;
        added &= add(s, KIND_LONG, &spec);
    }
    return added;
}

/* Where attention's error in bfloat16 is promised: 8 heads of 2,048 tokens, standard normal values,
 * the released slopes of the first, a middle and the last layer. */
static bool add_promised(sweep *s, problem_spec spec) {
    static const slopes layers[] = {SLOPES_RELEASED, SLOPES_MIDDLE, SLOPES_LAST};
    bool added = true;
    const bool promised =
        spec.op == TNL_ATTENTION_FORWARD || spec.op == TNL_ATTENTION_BACKWARD; /* and so both */
    if (!promised || spec.type != TNL_BFLOAT16 || s->quick)
        return true;
    set_sizes(&spec, (sizes){1, 8, 2048, 128, 128});
    for (int i = 0; i < 3; i++) {
        spec.slopes = layers[i];
        added &= add(s, KIND_PROMISED, &spec);
    }
    return added;
}

static bool add_choices(sweep *s, const problem_spec *base) {
    bool added = true;
    for (unsigned present = 0; present < 1u << TNL_MAX_TENSORS; present++) {
        problem_spec spec = *base;
        spec.present = present;
        spec.seed += present;
        spec.layout = (layout)(present % LAYOUTS);
        if (!sweep_may_have(spec.op, present) || present & sweep_bit(spec.op, "cu_seqlens"))
            continue;
        added &= add(s, KIND_OPTIONAL, &spec);
        if (set_second_size(&spec))
            added &= add(s, KIND_OPTIONAL, &spec);
    }
    for (int i = 0; i < 2 * LAYOUTS; i++) {
        problem_spec spec = *base;
        spec.present = random_present(spec.op, spec.seed + (uint64_t)i);
        spec.layout = (layout)(i % LAYOUTS);
        spec.in_place = i >= LAYOUTS;
        added &= add(s, KIND_LAYOUT, &spec);
        spec.float32 = choose_float32(&spec, (uint64_t)i);
        added &= !spec.float32 || add(s, KIND_FLOAT32, &spec);
    }
    for (int i = 0; sweep_bit(base->op, "slope") && i < SLOPES; i++) {
        problem_spec spec = *base;
        spec.slopes = (slopes)i;
        added &= add(s, KIND_SLOPES, &spec);
    }
    static const int64_t position[] = {1000000, 0, 1, 4095, 5000000000};
    for (int i = 0; sweep_bit(base->op, "positions") && i < 5; i++) {
        problem_spec spec = *base;
        spec.present |= sweep_bit(spec.op, "positions") | sweep_bit(spec.op, "theta");
        spec.position = position[i];
        added &= add(s, KIND_POSITION, &spec);
        if (set_second_size(&spec))
            added &= add(s, KIND_POSITION, &spec);
    }
    return added;
}

static bool add_values(sweep *s, const problem_spec *base) {
    bool added = true;
    for (uint64_t i = 0; i < 4; i++) {
        problem_spec spec = *base;
        spec.seed += i;
        spec.present = random_present(spec.op, spec.seed);
        spec.layout = (layout)(i % LAYOUTS);
        spec.float32 = choose_float32(&spec, i);
        spec.values = VALUES_LARGE;
        added &= add(s, KIND_LARGE, &spec);
        spec.values = VALUES_ZERO_ROWS;
        added &= add(s, KIND_ZERO_ROWS, &spec);
        /* Where the mean of squares overflows, the naive computation is 0 and so is finite; the
         * activation has no products that could overflow. */
        family members = sweep_family(spec.op);
        if (members == FAMILY_ROWS || members == FAMILY_ACTIVATION)
            continue;
        spec.values = VALUES_OVERFLOW;
        spec.slopes = SLOPES_NONE;
        spec.present &= ~(sweep_bit(spec.op, "theta") | sweep_bit(spec.op, "dtheta"));
        added &= add(s, KIND_OVERFLOW, &spec);
    }
    return added;
}

static bool add_packed(sweep *s, const problem_spec *base) {
    bool added = true;
    int count = sizeof packing / sizeof *packing;
    for (int i = 0; sweep_bit(base->op, "cu_seqlens") && i < 2 * count; i++) {
        problem_spec spec = *base;
        spec.seed += (uint64_t)i;
        draw_the_rest(&spec);
        if (i >= count)
            set_second_size(&spec);
        set_packing(&spec, i % count);
        added &= add(s, KIND_PACKED, &spec);
    }
    return added;
}

static bool add_random(sweep *s, problem_spec spec) {
    static const int64_t most[DIM_COUNT] = {
        [DIM_B] = 3,   [DIM_H] = 5,        [DIM_N] = 300, [DIM_D] = 130, [DIM_E] = 130,
        [DIM_M] = 150, [DIM_HIDDEN] = 250, [DIM_G] = 250, [DIM_K] = 64};
    bool added = true;
    for (int i = 0; i < RANDOM_CASES; i++) {
        int64_t size[MAX_NAMED];
        spec.seed++;
        for (int j = 0; j < MAX_NAMED; j++) {
            enum tnl_dim dim = tnl_operators[spec.op].named[j];
            double u = random_uniform(spec.seed, 3, (uint64_t)j);
            size[j] = 1 + (int64_t)(u * (double)most[dim]);
            if (dim == DIM_K)
                size[j] *= 4;
        }
        set_sizes(&spec, size);
        draw_the_rest(&spec);
        added &= add(s, KIND_RANDOM, &spec);
    }
    return added;
}

bool sweep_make(tnl_operator op, tnl_type type, bool quick, uint64_t seed, sweep *s) {
    *s = (sweep){.quick = quick};
    problem_spec base = {.op = op, .type = type, .seed = random_bits(seed, 4, op) >> 16};
    set_sizes(&base, family_sizes[sweep_family(op)].sizes[0]);
    bool made = add_sizes(s, base) && add_promised(s, base) && add_choices(s, &base) &&
                add_values(s, &base) && add_packed(s, &base) && add_random(s, base);
    if (!made)
        sweep_free(s);
    return made;
}

void sweep_free(sweep *s) {
    free(s->spec);
    *s = (sweep){0};
}
