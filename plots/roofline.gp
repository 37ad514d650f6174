# How near each operator's rows come to the hardware's limit: the time that the limit allows over
# the time taken, each variant at the largest shape that it was measured at. A table with a bar in
# every line. Run at the top of the repository:
#
#   gnuplot -e "data = 'FOLDER OF TABLES'; out = 'FOLDER OF RESULTS'" plots/roofline.gp

load 'plots/style.gp'
load data.'/roofline.gp'

# Lines of roofline.dat: place from the top, share in percent, 1 (copy) or 2 (GEMM) for the limit,
# operator, variant and type, share, time, shape.
bars = data.'/roofline.dat'
colour(limit) = limit == 1 ? '#7fc4ee' : '#0b4f7d'
name(limit) = limit == 1 ? 'limit: bytes at the copy rate, '.copy_rate \
                         : 'limit: operations at the GEMM rate, '.gemm_rate

# The columns, in units of the bars' axis.
longest = longest > 100 ? longest : 100
operator_at = -1.35 * longest
variant_at = -0.04 * longest
share_at = 1.22 * longest
time_at = 1.55 * longest
shape_at = 1.63 * longest

lines = places > 0 ? places : 4
head = 60.0
foot = 60.0
height = head + foot + 20 * lines

set lmargin at screen 0.01
set rmargin at screen 0.99
set tmargin at screen 1 - head / height
set bmargin at screen foot / height
set xrange [operator_at:2.95 * longest]
set yrange [lines - 0.4:-0.6]
unset border
unset ytics
set grid noytics
set xtics 0, longest > 300 ? 100 : 20, longest font ',9'
set arrow 1 from 0, graph 0 to 0, graph 1 nohead lc rgb '#444444' lw 0.8 front
set arrow 2 from 100, graph 0 to 100, graph 1 nohead dt 2 lc rgb '#000000' lw 0.8 front
set label 1 'operator' at operator_at, -1 left
set label 2 'variant, type' at variant_at, -1 right
set label 3 'share of the limit (%)' at longest / 2, -1 center
set label 4 'time' at time_at, -1 right
set label 5 'shape' at shape_at, -1 left
set key at screen 0.5, screen 8 / height center bottom horizontal

do for [format in 'svg png'] {
    eval terminal(format, 1150, height)
    set output out.'/roofline.'.format
    set multiplot layout 1,1 title \
        'Share of the hardware limit, each variant at its largest shape, on '.device noenhanced
    if (places > 0) {
        plot for [limit = 1:2] \
                bars using (0):1:(0):($3 == limit ? $2 : 0):($1 - 0.38):($1 + 0.38) \
                with boxxyerror fill solid 1.0 noborder lc rgb colour(limit) \
                title name(limit), \
            bars using (operator_at):1:4 with labels left noenhanced notitle, \
            bars using (variant_at):1:5 with labels right noenhanced notitle, \
            bars using (share_at):1:6 with labels right noenhanced notitle, \
            bars using (time_at):1:7 with labels right noenhanced notitle, \
            bars using (shape_at):1:8 with labels left noenhanced notitle
    } else {
        set label 6 'no rows measured' at longest / 2, lines / 2.0 - 0.5 center \
            textcolor rgb '#666666'
        plot NaN notitle
    }
    unset multiplot
    unset output
}
