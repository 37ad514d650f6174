/* claims.md: what the paper claims of figures 2 to 4, what was measured, and whether it holds. */
#ifndef TNL_PLOTS_CLAIMS_H
#define TNL_PLOTS_CLAIMS_H

#include "plots/rows.h"

/* Into the directory of the results. */
void write_claims(const struct results *results);

#endif
