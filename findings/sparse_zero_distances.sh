#!/usr/bin/env bash
# A symmetric graph of distances loses the edges between duplicates.
#
# Guess: kneighbors_graph(mode="distance") and A.maximum(A.T), the usual way to make it symmetric, connect
# every point with its nearest neighbor, and identical points best of all.
# What happens: the distance between duplicates is a stored 0. maximum, and also A + A.T, drop entries that
# are 0, so the nearest pairs of all are no longer neighbors and the graph has more components. Turning
# distances into similarities before making the graph symmetric avoids it.
#
# Versions: Python 3.11, scikit-learn 1.9.1, scipy 1.17.1, numpy 2.4.6.
#
# Output seen:
#   as built          6 edges, 3 components
#   A.maximum(A.T)    2 edges, 5 components
#   (A + A.T) / 2     2 edges, 5 components
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
venv/bin/python - >output <<'END'
import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import kneighbors_graph

# Two pairs of duplicates, and two points that are neighbors at a distance of 1.
points = np.array([[0.0], [0.0], [10.0], [10.0], [20.0], [21.0]])
A = kneighbors_graph(points, 1, mode="distance")
graphs = {"as built": A, "A.maximum(A.T)": A.maximum(A.T), "(A + A.T) / 2": (A + A.T) / 2}
for name, graph in graphs.items():
    components, _ = connected_components(graph, directed=False)
    print(f"{name:<17} {graph.nnz} edges, {components} components")
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
