/* A problem in words. */
#include "verify/describe.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct line {
    char *text;
    size_t size, length;
} line;

__attribute__((format(printf, 2, 3))) static void append(line *l, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int added = vsnprintf(l->text + l->length, l->size - l->length, format, list);
    va_end(list);
    l->length += (size_t)added;
    if (l->length >= l->size)
        l->length = l->size - 1;
}

void describe_problem(const problem_spec *spec, char *text, size_t size) {
    static const char *const layout_name[] = {"contiguous", "swapped", "packed", "padded"};
    static const char *const slopes_name[] = {"released", "none",  "middle",
                                              "last",     "paper", "steep"};
    static const char *const values_name[] = {"normal", "positive", "large", "zero_rows",
                                              "overflow"};
    const tnl_operator_row *row = &tnl_operators[spec->op];
    line l = {text, size, 0};
    for (int i = 0; i < 6 && row->named[i] != DIM_NONE; i++)
        append(&l, "%s%s:%lld", i ? "/" : "", tnl_dim_letter(row->named[i]),
               (long long)spec->dim[row->named[i]]);
    append(&l, " layout:%s values:%s slopes:%s", layout_name[spec->layout],
           values_name[spec->values], slopes_name[spec->slopes]);
    for (int i = 0; i < row->argument_count; i++)
        if (row->argument[i].optional && spec->present >> i & 1)
            append(&l, " +%s", row->argument[i].name);
    for (int64_t i = 0; spec->cu_seqlens && i <= spec->dim[DIM_S]; i++)
        append(&l, "%s%d", i ? "," : " cu_seqlens:", (int)spec->cu_seqlens[i]);
    if (spec->position)
        append(&l, " position:%lld", (long long)spec->position);
    for (int i = 0; i < row->argument_count; i++)
        if (spec->float32 >> i & 1)
            append(&l, " %s:f32", row->argument[i].name);
    append(&l, "%s seed:%llu", spec->in_place ? " in_place" : "", (unsigned long long)spec->seed);
}
