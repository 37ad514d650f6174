# What the figures share: terminals, lines, fonts.
#
# Lines differ in colour, dash and point, and the colours (Okabe and Ito's, safe for the
# colour-blind) in lightness too, so that a figure reads when printed in grey. Line type 1 is the
# baseline's.

set encoding utf8

# For eval; width and height in the SVG's pixels, of which the PNG has twice as many.
terminal(format, width, height) = format eq 'svg' \
    ? sprintf('set terminal svg size %d,%d font "Helvetica,Arial,sans-serif,12" dashlength 0.8 ' \
              .'linewidth 1.2 background "white"', width, height) \
    : sprintf('set terminal pngcairo size %d,%d font "Sans,10" fontscale 2 dashlength 0.8 ' \
              .'linewidth 2.4 pointscale 2 background "white"', 2 * width, 2 * height)

set linetype 1 lc rgb '#000000' dt 2     pt 4  ps 0.8
set linetype 2 lc rgb '#0072b2' dt solid pt 7  ps 0.8
set linetype 3 lc rgb '#e69f00' dt 5     pt 9  ps 1.0
set linetype 4 lc rgb '#009e73' dt 4     pt 13 ps 1.0
set linetype 5 lc rgb '#d55e00' dt 3     pt 11 ps 1.0
set linetype 6 lc rgb '#56b4e9' dt solid pt 2  ps 0.8
set linetype cycle 6

set border 3 lc rgb '#444444' lw 0.8
set tics nomirror out scale 0.6
set grid xtics ytics lc rgb '#b8b8b8' lw 0.5 dt solid
set key inside top left vertical reverse Left samplen 3.5
