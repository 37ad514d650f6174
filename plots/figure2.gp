# The paper's figure 2: SRMSNorm's runtime, forward on the left, backward on the right; by sequence
# length above, by feature dimension below. Run at the top of the repository:
#
#   gnuplot -e "data = 'FOLDER OF TABLES'; out = 'FOLDER OF RESULTS'" plots/figure2.gp

load 'plots/style.gp'
load data.'/figure2.gp'

axis = ''
do for [format in 'svg png'] {
    eval terminal(format, 900, 720)
    set output out.'/figure2.'.format
    set multiplot layout 2,2 title 'SRMSNorm, '.type.', on '.device noenhanced
    call 'plots/panel.gp' 'forward_by_n' 'time' \
        'Forward, feature dimension 3072' 'sequence length n'
    call 'plots/panel.gp' 'backward_by_n' 'time' \
        'Backward, feature dimension 3072' 'sequence length n'
    call 'plots/panel.gp' 'forward_by_d' 'time' \
        'Forward, sequence length 4096' 'feature dimension D'
    call 'plots/panel.gp' 'backward_by_d' 'time' \
        'Backward, sequence length 4096' 'feature dimension D'
    unset multiplot
    unset output
}
