#!/usr/bin/env bash
# datumaro reads 1.jpg and 1.png of one class folder as one image that has its class twice.
#
# Guess: three files are three images.
# What happens: the name without its ending is the identity of an image, so the second file of that name in
# the same class is dropped without a word, and its label is added to the first. Names from two cameras or
# two sources often differ by their ending only.
#
# Versions: Python 3.11, datumaro 1.13.12, Pillow 12.3.0, numpy 2.4.6.
#
# Output seen:
#   3 files, 2 images: cat:1 ['cat', 'cat'], dog:1 ['dog']
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check datumaro==1.13.12 pillow==12.3.0 numpy==2.4.6
venv/bin/python - >output 2>log <<'END' || { cat log; exit 1; }
import os

from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from PIL import Image

files = ("cat/1.jpg", "cat/1.png", "dog/1.png")
for grey, name in enumerate(files):
    os.makedirs(os.path.dirname(f"folder/{name}"), exist_ok=True)
    Image.new("L", (8, 8), 80 * grey).save(f"folder/{name}")
dataset = Dataset.import_from("folder", "imagenet")
labels = dataset.categories()[AnnotationType.label]
items = sorted((item.id, [labels[one.label].name for one in item.annotations]) for item in dataset)
print(f"{len(files)} files, {len(items)} images:", ", ".join(f"{name} {own}" for name, own in items))
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
