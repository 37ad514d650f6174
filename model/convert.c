/*
 * Converting arrays between the floating-point types. core/types.h converts a number at a time,
 * with care for every case. Between bfloat16 and float32 it takes little more than a shift; any
 * other 16-bit type has only 65536 numbers, so where there are many to convert each of those is
 * converted once, into a table.
 */
#include "model/convert.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/types.h"

enum { NUMBERS = 1 << 16 };

/* A bfloat16 is the upper half of the float32 that it stands for. */
static void widen_bfloat16(uint32_t *to, const char *from, size_t count) {
#pragma omp parallel for if (count > NUMBERS)
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        to[i] = (uint32_t)bits << 16;
    }
}

/* And the nearest one to a float32 is found by adding half a unit of its last place to the bits,
 * less a little where it is even. */
static void narrow_to_bfloat16(uint16_t *to, const char *from, size_t count) {
#pragma omp parallel for if (count > NUMBERS)
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
        to[i] = is_nan ? 0x7fc0 : (uint16_t)rounded;
    }
}

/* An element of `from`, which may not be aligned. */
static double load(const void *from, tnl_type type, size_t i) {
    const size_t size = tnl_type_size(type);
    uint32_t element;
    memcpy(&element, (const char *)from + i * size, size);
    return tnl_load(&element, type, 0);
}

static void convert_each(void *to, tnl_type to_type, const void *from, tnl_type from_type,
                         size_t count) {
#pragma omp parallel for if (count > NUMBERS)
    for (size_t i = 0; i < count; i++)
        tnl_store(to, to_type, (int64_t)i, load(from, from_type, i));
}

static void look_up_words(uint32_t *to, const uint32_t *table, const char *from, size_t count) {
#pragma omp parallel for
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        to[i] = table[bits];
    }
}

static void look_up_halves(uint16_t *to, const uint16_t *table, const char *from, size_t count) {
#pragma omp parallel for
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        to[i] = table[bits];
    }
}

/* false: there was no memory for the table. */
static bool convert_by_table(void *to, tnl_type to_type, const void *from, tnl_type from_type,
                             size_t count) {
    void *table = malloc(NUMBERS * tnl_type_size(to_type));
    if (!table)
        return false;
    for (uint32_t i = 0; i < NUMBERS; i++) {
        const uint16_t bits = (uint16_t)i;
        tnl_store(table, to_type, i, tnl_load(&bits, from_type, 0));
    }
    if (tnl_type_size(to_type) == sizeof(uint32_t))
        look_up_words(to, table, from, count);
    else
        look_up_halves(to, table, from, count);
    free(table);
    return true;
}

void tnl_convert(void *to, tnl_type to_type, const void *from, tnl_type from_type, size_t count) {
    if (to_type == from_type)
        memcpy(to, from, count * tnl_type_size(to_type));
    else if (from_type == TNL_BFLOAT16 && to_type == TNL_FLOAT32)
        widen_bfloat16(to, from, count);
    else if (from_type == TNL_FLOAT32 && to_type == TNL_BFLOAT16)
        narrow_to_bfloat16(to, from, count);
    else if (count < NUMBERS || tnl_type_size(from_type) != sizeof(uint16_t) ||
             !convert_by_table(to, to_type, from, from_type, count))
        convert_each(to, to_type, from, from_type, count);
}
