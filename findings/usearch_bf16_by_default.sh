#!/usr/bin/env bash
# A usearch index of float32 rows stores them in 16 bits, so that even its exact search is not exact.
#
# Guess: an index to which float32 rows are added compares float32 numbers, and exact=True gives the
# neighbours and distances of a brute-force search.
# What happens: Index(ndim=...) without dtype stores bfloat16, with 8 bits of mantissa. Similarities
# of rows of length one are wrong by up to 0.002, which changes the order of near neighbours, and
# images that differ a little look equal. dtype="f32" gives what one expects. A benchmark of time and
# recall against libraries that store float32 measures the rounding as well as the search.
#
# Versions: Python 3.11, usearch 2.26.6, numkong 7.8.6, numpy 2.4.6.
#
# Output seen:
#   without dtype: stored as BF16, similarity wrong by more than 1e-3: True, neighbours all found: False
#   dtype="f32": stored as F32, similarity wrong by more than 1e-3: False, neighbours all found: True
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check usearch==2.26.6 numkong==7.8.6 \
    numpy==2.4.6
venv/bin/python - >output <<'END'
import numpy as np
from usearch.index import Index

rng = np.random.default_rng(0)
rows = rng.standard_normal((2000, 64)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
products = rows @ rows.T
nearest = np.argsort(-products, axis=1)[:, :10]
for words, settings in (("without dtype", {}), ('dtype="f32"', {"dtype": "f32"})):
    index = Index(ndim=64, metric="ip", **settings)
    index.add(np.arange(len(rows)), rows)
    found = index.search(rows, 10, exact=True)
    keys = np.asarray(found.keys).astype(np.int64)
    error = np.abs(1 - found.distances - np.take_along_axis(products, keys, axis=1)).max()
    complete = all(set(a) == set(b) for a, b in zip(keys, nearest))
    print(f"{words}: stored as {index.dtype.name}, similarity wrong by more than 1e-3: "
          f"{error > 1e-3}, neighbours all found: {complete}")
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
