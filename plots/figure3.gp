# The paper's figure 3: forward and backward of attention at feature dimension 2048, time on the
# left, memory on the right. Run at the top of the repository:
#
#   gnuplot -e "data = 'FOLDER OF TABLES'; out = 'FOLDER OF RESULTS'" plots/figure3.gp

load 'plots/style.gp'
load data.'/figure3.gp'

axis = 'n'
do for [format in 'svg png'] {
    eval terminal(format, 900, 400)
    set output out.'/figure3.'.format
    set multiplot layout 1,2 title \
        'Attention, feature dimension 2048 (16 heads of 128), '.type.', on '.device noenhanced
    call 'plots/panel.gp' 'attention_by_n' 'time' 'Forward + backward, runtime' 'sequence length n'
    call 'plots/panel.gp' 'attention_by_n' 'memory' \
        'Forward + backward, memory above the inputs' 'sequence length n'
    unset multiplot
    unset output
}
