#!/usr/bin/env bash
# tifffile.imread returns one page of a file that tifffile itself wrote page by page.
#
# Guess: imread returns all three pages as an array (3, 4, 4), whoever wrote them.
# What happens: three calls of TiffWriter.write make three series, and imread returns the first series
# only, without a word. Saved by Pillow, the same three pages are one series. imread(..., key=slice(None))
# reads all pages of both.
#
# Versions: Python 3.11, tifffile 2026.3.3, Pillow 13.0.0, numpy 2.4.6.
#
# Output seen:
#   written by tifffile: 3 pages, imread (4, 4), with key=slice(None) (3, 4, 4)
#   written by Pillow: 3 pages, imread (3, 4, 4), with key=slice(None) (3, 4, 4)
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

pages = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
with tifffile.TiffWriter("tifffile.tif") as writer:
    for page in pages:
        writer.write(page)
first, *others = map(Image.fromarray, pages)
first.save("Pillow.tif", save_all=True, append_images=others)
for name in ("tifffile", "Pillow"):
    with tifffile.TiffFile(f"{name}.tif") as file:
        count = len(file.pages)
    shape = tifffile.imread(f"{name}.tif").shape
    every = tifffile.imread(f"{name}.tif", key=slice(None)).shape
    print(f"written by {name}: {count} pages, imread {shape}, with key=slice(None) {every}")
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
