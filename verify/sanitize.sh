#!/bin/bash
# What NVIDIA's compute-sanitizer finds while the rows that run on the GPU are judged (QUICK=1).
#
#     verify/sanitize.sh PROGRAM FOLDER [JOBS [TOOL...]]
#
# Writes FOLDER/<device>/sanitizers.txt: for each tool and part of the rows how many verdicts were
# reached, and what was found. Fails where anything was, but for races within cuBLAS's own kernels
# (verify/false_reports/).
set -euo pipefail
program=$1 folder=$2 jobs=${3:-4}
shift $(($# < 3 ? $# : 3))
[ $# -gt 0 ] || set -- racecheck memcheck initcheck synccheck
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
export program kept OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive

# All rows, in parts of like length: those of a type, and what has none.
parts() {
    local type row
    for type in bf16 f16 f32; do
        for row in 'attention_.*/[^hct]' 'sglu_.*/c' 'attention_.*/chunked' 'attention_.*/tiled' \
            'attention_.*/hopper' '[^adqs]' srmsnorm 'sglu_.*/[^c]' qkvu_p qkvu_a decode; do
            echo "^$row.*/$type\$"
        done
    done
    echo '/$'
}

sanitize() { # TOOL PART
    local log result=nothing
    log=$(mktemp "$kept/XXXXXX")
    compute-sanitizer --tool "$1" --print-limit 0 "$program" --device=cuda --quick --filter="$2" \
        --results="$log.results" >"$log" 2>&1 || result="FAILED: $(tail -1 "$log")"
    sed -i '/Race reported .* nvjet_/,+2d' "$log"
    if grep -qE '^=+ [A-Z][a-z]' "$log"; then
        result="FOUND: $(grep -m1 -E '^=+ [A-Z][a-z]' "$log")"
    fi
    printf '%-9s  %-28s  %-44s  %s\n' "$1" "$2" "$(grep -E '^[0-9]+ passed' "$log")" "$result" |
        tee -a "$kept/report"
    ls "$log".results >>"$kept/device"
}
export -f sanitize

for tool; do
    for part in $(parts); do
        printf '%s %s\n' "$tool" "$part"
    done
done | xargs -P "$jobs" -L 1 bash -c 'sanitize "$@"' sanitize
to=$folder/$(head -1 "$kept/device")/sanitizers.txt
mkdir -p "${to%/*}"
{
    echo "compute-sanitizer on verify QUICK=1, commit ${TNL_COMMIT:-$(git describe --always --dirty)}"
    compute-sanitizer --version | tail -1
    sort "$kept/report"
} >"$to"
! grep -qE 'FOUND|FAILED' "$to"
