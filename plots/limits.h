/* How near the operators come to what the hardware allows, beside the paper's claims. */
#ifndef TNL_PLOTS_LIMITS_H
#define TNL_PLOTS_LIMITS_H

#include <stdio.h>

#include "plots/rows.h"

/* A section of claims.md; nothing where the results have none of its rows. */
void write_limits(FILE *file, const struct results *results);

#endif
