#!/usr/bin/env bash
# PyNNDescent's metric "dot" finds neighbours by cosine, not by inner product.
#
# Guess: metric="dot" finds the rows with the largest inner product, as "ip" does in faiss, hnswlib and
# usearch, and its distances are one minus that product.
# What happens: the rows are scaled to length one first, so neighbours and distances are those of
# metric="cosine". The inner product has its own name, "inner_product". A comparison of graphs of
# features that are not of length one, in which the libraries all get "dot" or "ip", compares two
# different graphs.
#
# Versions: Python 3.11, pynndescent 0.7.0, numba 0.68.1, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1.
#
# Output seen:
#   dot: 0.14 of the neighbours by inner product, 0.96 of those by cosine
#   cosine: 0.14 of the neighbours by inner product, 0.96 of those by cosine
#   inner_product: 0.84 of the neighbours by inner product, 0.20 of those by cosine
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pynndescent==0.7.0 numba==0.68.1 \
    numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
venv/bin/python - >output <<'END'
import numpy as np
import pynndescent

rng = np.random.default_rng(0)
rows = rng.standard_normal((1000, 16)).astype(np.float32)
rows *= np.exp(rng.standard_normal((1000, 1))).astype(np.float32)  # of different lengths
unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
nearest = {
    "inner product": np.argsort(-(rows @ rows.T), axis=1)[:, :10],
    "cosine": np.argsort(-(unit @ unit.T), axis=1)[:, :10],
}
for metric in ("dot", "cosine", "inner_product"):
    index = pynndescent.NNDescent(rows, metric=metric, n_neighbors=10, random_state=0, n_jobs=1)
    found = index.neighbor_graph[0]
    shares = {
        name: np.mean([len(set(a) & set(b)) for a, b in zip(found, best)]) / 10
        for name, best in nearest.items()
    }
    print(f"{metric}: {shares['inner product']:.2f} of the neighbours by inner product, "
          f"{shares['cosine']:.2f} of those by cosine")
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
