#!/usr/bin/env bash
# Every second row of a numpy array comes back from a safetensors file as its first rows.
#
# Guess: save_file stores the array, as numpy.save does, or refuses a view that is not contiguous, as
# safetensors.torch does.
# What happens: as many bytes as the view has are written in the order in which they lie in memory, with
# the shape of the view, and without a warning. Every second row of a feature matrix is loaded as the
# first half of its rows, a transposed matrix with its numbers in other places, both with the right
# shape. numpy.ascontiguousarray before saving avoids it.
#
# Versions: Python 3.11, safetensors 0.8.0, numpy 2.4.6.
#
# Output seen:
#   features[::2] saved [[0, 1], [4, 5]] loaded [[0, 1], [2, 3]]
#   features.T    saved [[0, 2, 4, 6], [1, 3, 5, 7]] loaded [[0, 1, 2, 3], [4, 5, 6, 7]]
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
venv/bin/python - >output <<'END'
import numpy as np
from safetensors.numpy import load_file, save_file

features = np.arange(8).reshape(4, 2)
for name, view in (("features[::2]", features[::2]), ("features.T", features.T)):
    save_file({"features": view}, "features.safetensors")
    loaded = load_file("features.safetensors")["features"]
    print(f"{name:<13} saved", view.tolist(), "loaded", loaded.tolist())
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
