/* What the model path is held to on an H200: times of single rows, beside the paper's claims. */
#ifndef TNL_PLOTS_TARGETS_H
#define TNL_PLOTS_TARGETS_H

#include <stdio.h>

#include "plots/rows.h"

/* A section of claims.md; nothing where the results have no such row. */
void write_targets(FILE *file, const struct results *results);

#endif
