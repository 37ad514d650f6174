# Robust inference (section 3.3): the error of Algorithm 1, for some heads and up to where it
# overflows, and of Algorithm 2, against the position. Run at the top of the repository:
#
#   gnuplot -e "data = 'FOLDER OF TABLES'; out = 'FOLDER OF RESULTS'" plots/robust_inference.gp

load 'plots/style.gp'
load data.'/robust_inference.gp'
table = data.'/robust_inference.dat'
shown = words(slopes)

set title sprintf('Recurrent inference in float32, %d heads of a first layer, on %s', heads, device) \
    noenhanced
set xlabel 'position'
set ylabel 'relative error of the output'
set logscale xy
set format x '10^{%T}'
set format y '10^{%T}'
set xrange [1:tokens]
set yrange [1e-8:3]
set key outside right top Left reverse samplen 2.5

# Where a head of Algorithm 1 is lost: a cross at the top of its line.
lost(i) = word(failed, i) > 0
do for [i = 1:shown] {
    if (lost(i)) {
        set arrow i from word(failed, i), graph 0 to word(failed, i), graph 1 nohead \
            lt (2 + (i - 1) % 5) lw 0.8
    }
}
entry(i) = sprintf('Algorithm 1, slope %s%s', word(slopes, i), \
    lost(i) ? sprintf(': overflows at %s', word(failed, i)) : '')

do for [format in 'svg png'] {
    eval terminal(format, 900, 420)
    set output out.'/robust_inference.'.format
    plot for [i = 1:shown] table index i - 1 using 1:2 with lines lt (2 + (i - 1) % 5) lw 1.2 \
             title entry(i), \
         table index shown using 1:2 with lines lc rgb '#000000' dt solid lw 2 \
             title 'Algorithm 2, worst of all heads'
    unset output
}
