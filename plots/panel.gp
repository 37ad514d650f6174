# One panel: the curves of a sweep on logarithmic axes.
#
#   call 'plots/panel.gp' SWEEP WHAT TITLE XLABEL
#
# The folder `data` has the curves in SWEEP.dat; SWEEP_variants, SWEEP_styles and so on describe
# them (plots/tables.c). WHAT is time or memory. Where `axis` names x, the legend says which power
# of it a curve tends to, fitted to the larger half of its points.

variants = value(ARG1.'_variants')
styles = value(ARG1.'_styles')
exponents = value(ARG1.'_'.ARG2.'_exponents')
table = data.'/'.ARG1.'.dat'
field = ARG2 eq 'time' ? 2 : 3
unit = ARG2 eq 'time' ? 1.0 : 2.0 ** 20

# The legend is enhanced text, for the exponents; an underscore in a name is none of its marks.
plain(s) = (at = strstrt(s, '_')) ? s[1:at-1].'\_'.plain(s[at+1:*]) : s
entry(i) = plain(word(variants, i)) \
    .(axis eq '' || word(exponents, i) eq '-' ? '' : '  ∝ '.axis.'^{'.word(exponents, i).'}')

set title ARG3 noenhanced
set xlabel ARG4
set ylabel ARG2 eq 'time' ? 'time (ms)' : 'memory (MiB)'
set format x '%.0f'
set format y '%.10g'
set xtics font ',9'
unset label
set label 1 value(ARG1.'_note') noenhanced at graph 0.99, 0.1 right textcolor rgb '#666666' \
    font ',9'

unset logscale
if (words(variants) > 0) {
    # Room above the highest point, so that no curve runs into the legend; every decade has its
    # number, and where there are few of them 2 and 5 have theirs.
    set xrange [*:*]
    set yrange [*:*]
    stats table using 1 name 'X' nooutput
    stats table using (column(field) / unit) name 'Y' nooutput
    margin = 1.1 * (X_max / X_min) ** 0.03
    set xrange [X_min / margin:X_max * margin]
    decades = Y_max < 3 * Y_min ? 0.5 : log10(Y_max / Y_min)
    legend = 0.05 + 0.07 * words(variants)
    bottom = Y_min / 10 ** (0.1 * decades)
    top = bottom * 10 ** (1.15 * decades / (1 - legend))
    set yrange [bottom:top]
    set ytics auto
    if (top / bottom < 1000) {
        set for [k = -6:8] ytics add (2.0 * 10**k, 5.0 * 10**k)
    }
    set logscale x 2
    set logscale y
    plot for [i = 1:words(variants)] table index i - 1 using 1:(column(field) / unit) \
        with linespoints linetype int(word(styles, i)) linewidth 1.2 title entry(i)
} else {
    set label 2 'no rows measured' at graph 0.5, 0.5 center textcolor rgb '#666666'
    set format ''
    plot [0:1] [0:1] NaN notitle
}
