#!/usr/bin/env bash
# LabelSpreading gives the first class to every image that no label reaches.
#
# Guess: points in a cluster without any label keep -1, the mark of an unlabeled point, or a warning says
# that nothing is known of them.
# What happens: fit stores the smallest class number in transduction_, without a warning. Only
# label_distributions_ tells: the rows are zero. predict returns the same class, with a warning of numpy
# about a division. In active learning with few labels whole classes are such clusters, and images of
# all of them count as the first class.
#
# Versions: Python 3.11, scikit-learn 1.9.1, scipy 1.17.1, numpy 2.4.6.
#
# Output seen:
#   transduction_ [3]
#   predict [3]
#   label_distributions_ [[0.0, 0.0]]
#   warnings of fit []
#   warnings of predict ['invalid value encountered in divide']
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 scipy==1.17.1 numpy==2.4.6
venv/bin/python - >output <<'END'
import warnings

import numpy as np
from sklearn.semi_supervised import LabelSpreading

rng = np.random.default_rng(0)
points = np.concatenate([rng.normal(center, 0.1, (20, 2)) for center in (0, 10, -10)])
labels = np.full(60, -1)
labels[0], labels[20] = 3, 7  # the third cluster, rows 40 to 59, has no label
with warnings.catch_warnings(record=True) as of_fit:
    warnings.simplefilter("always")
    model = LabelSpreading(kernel="knn", n_neighbors=5).fit(points, labels)
with warnings.catch_warnings(record=True) as of_predict:
    warnings.simplefilter("always")
    predicted = model.predict(points[40:])
print("transduction_", np.unique(model.transduction_[40:]).tolist())
print("predict", np.unique(predicted).tolist())
print("label_distributions_", np.unique(model.label_distributions_[40:], axis=0).tolist())
print("warnings of fit", [str(warning.message) for warning in of_fit])
print("warnings of predict", [str(warning.message) for warning in of_predict])
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
