#!/bin/bash
# What NVIDIA's compute-sanitizer finds while the rows that run on the GPU are judged (QUICK=1).
#
#     verify/sanitize.sh PROGRAM FOLDER [JOBS [ONLY]]
#
# Keeps in FOLDER/<device>/sanitizers.txt, for each tool and part of the rows, how many verdicts were
# reached, what was found, and at which commit. ONLY, a regular expression, takes those of the lines
# "TOOL PART" that it matches; the others stay as they are, so that a run may be made in pieces, and
# one that is ended keeps what it has. Fails where anything was found, but for races within cuBLAS's
# own kernels (verify/false_reports/).
set -euo pipefail
program=$1 folder=$2 jobs=${3:-4} only=${4:-.}
kept=$(mktemp -d)
commit=$(sed -E 's/^([0-9a-f]{7})[0-9a-f]*/\1/' <<<"${TNL_COMMIT:-$(git describe --always --dirty)}")
export program kept commit OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=passive

# All rows, in parts of like length: by type, and what has none.
lines() {
    local tool type row
    for tool in racecheck memcheck initcheck synccheck; do
        for type in f32 bf16 f16; do
            for row in 'attention_.*/[^hct]' '[^adqs]' 'sglu_.*/c' 'attention_.*/chunked' \
                'attention_.*/tiled' srmsnorm qkvu_p qkvu_a decode; do
                echo "$tool ^$row.*/$type\$"
            done
        done
        printf '%s\n' "$tool ^attention_.*/hopper" "$tool ^sglu_.*/[^c]" "$tool [^26]\$"
    done
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
    printf '%-9s  %-30s  %s  %-41s  %s\n' "$1" "$2" "$commit" \
        "$(grep -E '^[0-9]+ passed' "$log")" "$result" | tee -a "$kept/report"
    ls "$log".results >>"$kept/device"
}
export -f sanitize

# What was kept before, but for the lines that are new.
merge() {
    local to
    [ -s "$kept/device" ] || return 0
    to=$folder/$(head -1 "$kept/device")/sanitizers.txt
    mkdir -p "${to%/*}"
    touch "$to"
    awk '!seen[$1 " " $2]++' "$kept/report" "$to" | sort >"$kept/all"
    cp "$kept/all" "$to"
}
trap 'merge; rm -rf "$kept"' EXIT
trap 'exit 1' INT TERM

lines | grep -E -- "$only" | xargs -P "$jobs" -L 1 bash -c 'sanitize "$@"' sanitize
! grep -qE 'FOUND|FAILED' "$kept/report"
