#!/bin/sh
# Run one command of main_al.py for several splits, one after the other.
#   sh scripts/run_splits.sh --dataset cifar10 --al-method coreset --al-budget 100
#   SPLITS="5 6 7" PYTHON=.venv/bin/python sh scripts/run_splits.sh ...
# Finished runs are skipped.  To run several at once, or to vary other options, use sweep.py.
set -u
main=$(cd "$(dirname "$0")/.." && pwd)/main_al.py
failed=0
for split in ${SPLITS:-0 1 2 3 4}; do
    "${PYTHON:-python3}" "$main" "$@" --split "$split"
    status=$?
    if [ $status -ge 128 ]; then exit $status; fi # a signal also stops the loop
    if [ $status -ne 0 ]; then failed=$status; fi
done
exit $failed
