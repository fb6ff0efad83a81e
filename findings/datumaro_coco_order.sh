#!/usr/bin/env bash
# datumaro reads the images of a COCO file in reverse order.
#
# Guess: the images come in the order of the list "images", or in that of their names or ids.
# What happens: they come last to first, so that what is exported again, or shown in a tool built on
# datumaro, is upside down. Where the order says which image to label first, as in active learning, put
# it into the file names and sort by them.
#
# Versions: Python 3.11, datumaro 1.13.12, Pillow 12.3.0, numpy 2.4.6.
#
# Output seen:
#   in the file: 1.png 2.png 3.png 4.png
#   datumaro: 4 3 2 1
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check datumaro==1.13.12 pillow==12.3.0 numpy==2.4.6
venv/bin/python - >output 2>log <<'END' || { cat log; exit 1; }
import json
import os

from datumaro.components.dataset import Dataset
from PIL import Image

numbers = (1, 2, 3, 4)
os.makedirs("coco/images/train")
os.makedirs("coco/annotations")
for n in numbers:
    Image.new("L", (8, 8)).save(f"coco/images/train/{n}.png")
images = [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 8} for n in numbers]
box = {"category_id": 1, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0, "segmentation": []}
content = {
    "images": images,
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [box | {"id": n, "image_id": n} for n in numbers],
}
with open("coco/annotations/instances_train.json", "w") as file:
    json.dump(content, file)
print("in the file:", *(image["file_name"] for image in images))
print("datumaro:", *(item.id for item in Dataset.import_from("coco", "coco")))
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
