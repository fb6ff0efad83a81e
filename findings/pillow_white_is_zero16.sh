#!/usr/bin/env bash
# Pillow turns the grey values of a white-is-zero TIFF round if they have 8 bits, and not if they have 16.
#
# Guess: a TIFF whose tag says that 0 is white (PhotometricInterpretation 0) is either always inverted, so
# that large values are bright, or never.
# What happens: with 8 bits the values are inverted, with 16 bits they are not. A folder that mixes depths
# holds negatives of half its images. tifffile never inverts.
#
# Versions: Python 3.11, Pillow 13.0.0, tifffile 2026.3.3 (it only writes the files), numpy 2.4.6.
#
# Output seen:
#   uint8  [0, 64, 255] -> L [255, 191, 0]
#   uint16 [0, 16384, 65535] -> I;16 [0, 16384, 65535]
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
venv/bin/python - >output <<'END'
import numpy as np
import tifffile
from PIL import Image

for kind, values in (("uint8", [0, 64, 255]), ("uint16", [0, 16384, 65535])):
    tifffile.imwrite("grey.tif", np.array([values], dtype=kind), photometric="miniswhite")
    with Image.open("grey.tif") as opened:
        print(f"{kind:<6}", values, "->", opened.mode, np.asarray(opened)[0].tolist())
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
