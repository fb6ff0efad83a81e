#!/usr/bin/env bash
# GraphLearning's sigma_opt, given eigenvectors, chooses by their arbitrary signs.
#
# Guess: sigma_opt picks the same points from the full covariance matrix C of the nodes and from all its
# eigenvectors, as var_opt does, and the signs of the eigenvectors, which no solver promises, change
# nothing.
# What happens: with V the sum of Σ-optimality runs over the coefficients of a column of C in the basis
# of the eigenvectors, not over its entries at the nodes. Flipping the sign of eigenvectors changes
# the picks; another solver, or another machine, may flip them. A comparison with Σ-optimality by
# the documented example (C and V of the spectrum) is then one with an arbitrary choice. With the full
# C the sum is right.
#
# Versions: Python 3.11, graphlearning 1.7.5, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1.
#
# Output seen:
#   var_opt   full C [14, 28, 32]
#   var_opt   eigenvectors [14, 28, 32]
#   var_opt   eigenvectors, signs flipped [14, 28, 32]
#   sigma_opt full C [14, 28, 32]
#   sigma_opt eigenvectors [35, 20, 24]
#   sigma_opt eigenvectors, signs flipped [9, 17, 3]
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check graphlearning==1.7.5 numpy==2.4.6 \
    scipy==1.17.1 scikit-learn==1.9.1
venv/bin/python - >output <<'END'
import numpy as np
from graphlearning.active_learning import sigma_opt, var_opt

rng = np.random.default_rng(0)
points = np.concatenate([rng.normal(center, 0.5, (20, 2)) for center in (0, 3)])
distances = ((points[:, None] - points) ** 2).sum(axis=2)
weights = np.exp(-distances)
np.fill_diagonal(weights, 0)
laplacian = np.diag(weights.sum(axis=1)) - weights + 0.01 * np.eye(40)
values, vectors = np.linalg.eigh(laplacian)
covariance = np.linalg.inv(laplacian)
flipped = vectors * np.where(np.arange(40) % 3, 1, -1)  # eigenvectors as well


def picks(method, *arguments):
    acquisition, chosen = method(*arguments), []
    for _ in range(3):
        free = np.setdiff1d(np.arange(40), chosen)
        chosen.append(int(free[acquisition.compute(None, free).argmax()]))
        acquisition.update(chosen[-1:], [0])
    return chosen


for method in (var_opt, sigma_opt):
    name = f"{method.__name__:9s}"
    print(name, "full C", picks(method, covariance))
    print(name, "eigenvectors", picks(method, np.diag(1 / values), vectors))
    print(name, "eigenvectors, signs flipped", picks(method, np.diag(1 / values), flipped))
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
