#!/bin/sh
# Draws the figures (SVG and PNG) of results/<device> and writes its claims.md, from its bench.json;
# figure 4 where there are rows of models, robust inference from robust_inference.json, where there is one.
# Run at the top of the repository: [RESULTS=folder] [BUILD=folder] plots/draw.sh DEVICE
set -eu

results=${RESULTS:-results}/${1:?usage: plots/draw.sh DEVICE}
build=${BUILD:-build}
data=$build/plots/data/$1

mkdir -p "$data"
rm -f "$data/figure4.gp"
"$build/tnl-extract" tables "$data" "$results/bench.json"
echo "$results/claims.md"
figures='figure2 figure3 roofline'
if [ -e "$data/figure4.gp" ]; then
    figures="$figures figure4"
fi
if [ -e "$results/robust_inference.json" ]; then
    "$build/tnl-extract" robust "$data" "$results/robust_inference.json"
    figures="$figures robust_inference"
fi
for figure in $figures; do
    gnuplot -e "data = '$data'; out = '$results'" plots/$figure.gp
    echo "$results/$figure.svg $results/$figure.png"
done
