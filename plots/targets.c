/* Judges single rows (plots/targets.h): a step of decoding by its time, a prefill by its operations
 * a second or by cuBLAS's time for the same GEMMs. */
#include "plots/targets.h"

#include <string.h>

#include "plots/text.h"

static const struct target {
    const char *name;
    double milliseconds; /* at most; 0: a prefill */
    double flops;        /* a second, at least */
    double gemms_share;  /* or so much of cuBLAS's rate; 0: no such choice */
} targets[] = {
    {"model_decode/tnl/bf16/size:385M/g:2816/b:1/pos:1024", .milliseconds = 0.34},
    {"model_decode/tnl/bf16/size:1B/g:5632/b:1/pos:1024", .milliseconds = 0.62},
    {"model_decode/tnl/bf16/size:7B/g:11264/b:1/pos:1024", .milliseconds = 3.95},
    {"model_decode/tnl/bf16/size:7B/g:11264/b:64/pos:1024", .milliseconds = 6.2},
    {"model_prefill/tnl/bf16/size:385M/g:2816/b:1/n:8192", .flops = 480e12},
    {"model_prefill/tnl/bf16/size:1B/g:5632/b:1/n:8192", .flops = 600e12},
    {"model_prefill/tnl/bf16/size:7B/g:11264/b:1/n:8192", .flops = 630e12, .gemms_share = 0.93},
};
enum { TARGETS = sizeof targets / sizeof *targets };

static const struct row *find(const struct results *results, const char *name) {
    for (size_t i = 0; i < results->count; i++)
        if (!strcmp(results->row[i].name, name))
            return &results->row[i];
    return NULL;
}

static void write_wanted(FILE *file, const struct target *target) {
    if (target->milliseconds > 0)
        fprintf(file, "at most %s", format_time(target->milliseconds).s);
    else
        fprintf(file, "at least %s", format_rate(target->flops, "flop/s").s);
    if (target->gemms_share > 0)
        fprintf(file, ", or %.2f of cuBLAS's GEMMs alone", target->gemms_share);
}

static bool is_met(const struct target *target, const struct row *row) {
    if (target->milliseconds > 0)
        return row->time <= target->milliseconds;
    return row->flops / (1e-3 * row->time) >= target->flops ||
           (target->gemms_share > 0 && row->bare_gemms_share >= target->gemms_share);
}

static void write_target(FILE *file, const struct target *target, const struct row *row) {
    fprintf(file, "| `%s` | ", target->name);
    write_wanted(file, target);
    if (!row || !is_measured(row)) {
        fprintf(file, " | **not measured** | %s |\n", row ? row->error : "no such row");
        return;
    }
    fprintf(file, " | **%s** | %s", is_met(target, row) ? "met" : "missed",
            format_time(row->time).s);
    if (!target->milliseconds)
        fprintf(file, ", %s", format_rate(row->flops / (1e-3 * row->time), "flop/s").s);
    if (row->bare_gemms_share > 0)
        fprintf(file, ", %.3f of cuBLAS's GEMMs alone", row->bare_gemms_share);
    fputs(" |\n", file);
}

void write_targets(FILE *file, const struct results *results) {
    int found = 0;
    for (int i = 0; i < TARGETS; i++)
        found += find(results, targets[i].name) != NULL;
    if (!found)
        return;
    fputs("\n## What whole models are held to\n\n"
          "Times that this project sets itself on an H200, for models with random weights. A "
          "prefill is held against cuBLAS's time for its layers' GEMMs and nothing else, both by "
          "turns, sample by sample.\n\n"
          "| row | wanted | verdict | measured |\n|---|---|---|---|\n",
          file);
    for (int i = 0; i < TARGETS; i++)
        write_target(file, &targets[i], find(results, targets[i].name));
}
