#!/bin/sh
# The study of the README: four acquisition methods, each with nothing, pre-training, label
# propagation, CEAL, and pre-training with label propagation, on digits, 10 labels a cycle.
#   sh scripts/study.sh [folder]     SPLITS="0 1 2 3 4" CYCLES=5 JOBS=2 PYTHON=... may be set
# Finished runs are not repeated, so an interrupted study goes on where it was.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-study}
PYTHON=${PYTHON:-python3} # a relative path is taken from where the study is started
SPLITS=${SPLITS:-0 1 2 3 4}
CYCLES=${CYCLES:-5}
export OMP_NUM_THREADS=1 # a run a core: small networks do not fill two
pre="--add-unsupervised-pretraining --pretraining-method deepcluster" # the paper's
for split in $SPLITS; do
    for method in random uncertainty_entropy coreset jlp; do
        for more in "" "$pre" "--add-lp" "--add-ceal" "$pre --add-lp"; do
            echo "--al-method $method --split $split $more"
        done
    done
done | xargs -P "${JOBS:-2}" -I{} sh -c '"$@" {}' run \
    "$PYTHON" "$here/main_al.py" --dataset digits --arch small_cnn --al-budget 10 --al-nb-cycles "$CYCLES" --out "$out"
