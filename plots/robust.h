/* Robust inference: Algorithm 1 against Algorithm 2, error by position. */
#ifndef TNL_PLOTS_ROBUST_H
#define TNL_PLOTS_ROBUST_H

/* robust_inference.gp, which gnuplot loads, and robust_inference.dat with the curves, from a
 * robust_inference.json. */
void write_robust_inference(const char *path, const char *out);

#endif
