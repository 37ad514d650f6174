/* The table of the main numbers, between two markers of the README. */
#ifndef TNL_PLOTS_README_H
#define TNL_PLOTS_README_H

/* Write the README again with a table for each of the results files. */
void write_readme(const char *readme, char *const *results_path, int count);

#endif
