/*
 * Sweeps: an operator's rows along one dimension, by variant. Figures 2, 3 and 4 draw them, and the
 * claims are judged on them.
 */
#ifndef TNL_PLOTS_SWEEP_H
#define TNL_PLOTS_SWEEP_H

#include "plots/rows.h"

struct sweep {
    const char *name; /* of its table and of its variables in gnuplot */
    const char *operator_name;
    const char *shape; /* with * for the dimension swept */
    const char *axis;  /* that dimension as a reader knows it */
    const char *label; /* what is held in it, where sweeps of one kind differ in that; or NULL */
};

enum { FORWARD_BY_N, BACKWARD_BY_N, FORWARD_BY_D, BACKWARD_BY_D, FIGURE2_SWEEPS };
enum { DECODE_385M, DECODE_1B, DECODE_7B, DECODE_SMALL, FIGURE4_SWEEPS };
enum { MAX_SWEEPS = 4 };

/* Sweeps drawn together, in which a variant has the same colour throughout. */
struct figure {
    const char *name;
    const char *baseline; /* the variant that the others are held against */
    int sweep_count;
    struct sweep sweep[MAX_SWEEPS];
};

extern const struct figure figure2, figure3, figure4;

#define MAX_VARIANTS 16
#define MAX_POINTS 64

struct point {
    double x;
    const struct row *row;
};

/* A variant's rows of a sweep, in rising order of x. */
struct curve {
    const char *variant;
    int style;                 /* 1: the baseline's; 2, 3, ... by first appearance in the file */
    int count;                 /* points measured */
    double skipped_from;       /* the smallest x skipped, or 0 */
    const struct row *skipped; /* its row */
    struct point point[MAX_POINTS];
};

/* The curves of a sweep, the baseline first where it is there. */
typedef struct curve_set {
    int count;
    struct curve curve[MAX_VARIANTS];
} curve_set;

/* The type that a figure is drawn in: bf16 where it has been measured, else f32. */
const char *figure_type(const struct results *results, const struct figure *figure);
/* The curves of figure->sweep[index]. */
curve_set *read_curves(const struct results *results, const struct figure *figure, int index);

/* Whether there is a line to draw: two points of a curve. */
bool has_curves(const struct results *results, const struct figure *figure);

/* What is drawn or judged of a row. */
typedef double measure(const struct row *row);
double measure_time(const struct row *row);
double measure_memory(const struct row *row);

/* Where the larger half of a curve begins, but at least three points: index of a point. */
int larger_half(const struct curve *curve);
/* The exponent a of y = c x^a, least squares on logarithms, from point `first` on; NAN for fewer
 * than three points. */
double fit_exponent(const struct curve *curve, measure *y, int first);

#endif
