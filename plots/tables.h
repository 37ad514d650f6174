/* What gnuplot reads: a table a sweep, one of the limits, and their variables. */
#ifndef TNL_PLOTS_TABLES_H
#define TNL_PLOTS_TABLES_H

#include <stdio.h>

#include "plots/sweep.h"

/* figure2.gp, figure3.gp or figure4.gp, which gnuplot loads, and a table for each of their sweeps.
 */
void write_figure(const struct results *results, const struct figure *figure, const char *out);
/* roofline.gp and roofline.dat, with a line for each bar. */
void write_roofline(const struct results *results, const char *out);

/* name = 'value' for gnuplot, a quote in the value doubled. */
void write_variable(FILE *file, const char *name, const char *value);

/* The type that an operator's rows are shown in where there is room for one: bf16, else f32. */
const char *operator_type(const struct results *results, const char *operator_name);
/* The measured row that moves the most bytes (of equal ones the first) of an operator, in a type,
 * of one variant or, for NULL, of all that the table may choose; NULL for none. */
const struct row *largest_row(const struct results *results, const char *operator_name,
                              const char *variant, const char *type);
/* Whether results->row[index] is the first row of its operator, and no yardstick. */
bool opens_operator(const struct results *results, size_t index);

#endif
