#!/usr/bin/env bash
# Pillow reads the same 16-bit RGB pixels as other 8-bit values if the TIFF stores its channels one by one.
#
# Guess: the two layouts of a 16-bit RGB TIFF, interleaved and planar, are read alike, either with 16 bits
# or reduced to the upper 8.
# What happens: both become mode RGB with 8 bits. Of interleaved pixels the upper bytes are kept, of planar
# pixels the lower bytes, which look like noise. Neither gives a warning. Microscopes and satellites
# write planar files; tifffile reads both as they are.
#
# Versions: Python 3.11, Pillow 13.0.0, tifffile 2026.3.3 (it only writes the files), numpy 2.4.6.
#
# Output seen:
#   pixel       [1000, 300, 65535]
#   interleaved RGB [3, 1, 255]
#   planar      RGB [232, 44, 255]
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

pixel = [1000, 300, 65535]
image = np.full((4, 4, 3), pixel, dtype=np.uint16)
tifffile.imwrite("interleaved.tif", image, photometric="rgb")
planes = np.ascontiguousarray(image.transpose(2, 0, 1))
tifffile.imwrite("planar.tif", planes, photometric="rgb", planarconfig="separate")
print("pixel      ", pixel)
for name in ("interleaved", "planar"):
    with Image.open(f"{name}.tif") as opened:
        print(f"{name:<11}", opened.mode, np.asarray(opened)[0, 0].tolist())
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
