# The paper's figure 4: decoding a token at batch 1, by the position of the token: time on the left,
# memory on the right; TransNormerLLM, and a Transformer of the same size. Run at the top of the
# repository:
#
#   gnuplot -e "data = 'FOLDER OF TABLES'; out = 'FOLDER OF RESULTS'" plots/figure4.gp

load 'plots/style.gp'
load data.'/figure4.gp'

# A curve is drawn in its size's colour, the Transformer's dashed.
sizes = '385M 1B 7B small'
colours = '#0072b2 #009e73 #d55e00 #0072b2'
sweep(s) = 'decode_'.word(sizes, s)
variants(s) = value(sweep(s).'_variants')
table(s) = data.'/'.sweep(s).'.dat'
is_tnl(s, i) = word(variants(s), i) eq 'tnl'
dash(s, i) = is_tnl(s, i) ? 1 : 2
mark(s, i) = is_tnl(s, i) ? 7 : 4
name(s, i) = word(sizes, s).(is_tnl(s, i) ? ' TransNormerLLM' : ' Transformer')
shown(s) = words(variants(s))
note = ''
curves = '' # "size curve" of each
do for [s = 1:words(sizes)] {
    skipped = value(sweep(s).'_note')
    if (skipped ne '') { note = note.word(sizes, s).' '.skipped }
    do for [i = 1:shown(s)] { curves = curves.sprintf('%d %d ', s, i) }
}
drawn = words(curves) / 2
s_of(c) = int(word(curves, 2 * c - 1))
i_of(c) = int(word(curves, 2 * c))

set xlabel 'position of the token (tokens before it)'
set format x '%.0f'
set format y '%.10g'
set xtics font ',9'
set logscale x 2
set logscale y
set key font ',10'
set label 1 note noenhanced at graph 0.99, 0.1 right textcolor rgb '#666666' font ',9'

panel_title(f) = f == 2 ? 'Time a token' : 'Memory: weights, state or cache, workspace'
do for [format in 'svg png'] {
    eval terminal(format, 900, 440)
    set output out.'/figure4.'.format
    set multiplot layout 1,2 title 'Decoding, batch 1, '.type.', on '.device noenhanced
    do for [field = 2:3] {
        unit = field == 2 ? 1.0 : 2.0 ** 30
        set title panel_title(field) noenhanced
        set ylabel field == 2 ? 'time (ms)' : 'memory (GiB)'
        # Room above the highest point for the legend; 2 and 5 of a decade have their number.
        lowest = 1e300
        highest = 0
        set yrange [*:*]
        do for [c = 1:drawn] {
            stats table(s_of(c)) index i_of(c) - 1 using (column(field) / unit) name 'Y' nooutput
            lowest = Y_min < lowest ? Y_min : lowest
            highest = Y_max > highest ? Y_max : highest
        }
        decades = highest < 3 * lowest ? 0.5 : log10(highest / lowest)
        bottom = lowest / 10 ** (0.1 * decades)
        top = bottom * 10 ** (1.15 * decades / (0.95 - 0.06 * drawn))
        set yrange [bottom:top]
        set ytics auto
        set for [k = -6:8] ytics add (2.0 * 10**k, 5.0 * 10**k)
        plot for [c = 1:drawn] table(s_of(c)) index i_of(c) - 1 using 1:(column(field) / unit) \
            with linespoints lw 1.2 lc rgb word(colours, s_of(c)) dt dash(s_of(c), i_of(c)) \
            pt mark(s_of(c), i_of(c)) ps 0.7 title name(s_of(c), i_of(c)) noenhanced
    }
    unset multiplot
    unset output
}
