#!/usr/bin/env bash
# datumaro does not find a folder of class folders if one of these is empty.
#
# Guess: a class without images is a class without images. Keras and Hugging Face read such folders, and
# torchvision names the empty class.
# What happens: the whole data set is "not found", without a word about the empty folder. A class is often
# empty while images are still being sorted into folders, or after a filter or a split.
#
# Versions: Python 3.11, datumaro 1.13.12, Pillow 12.3.0, numpy 2.4.6.
#
# Output seen:
#   two classes: ['cat', 'dog']
#   and an empty one: DatasetNotFoundError: Failed to find dataset 'imagenet' at 'folder'
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
from datumaro.components.errors import DatasetNotFoundError
from PIL import Image

for name in ("cat", "dog"):
    os.makedirs(f"folder/{name}")
    Image.new("L", (8, 8)).save(f"folder/{name}/{name}1.png")
dataset = Dataset.import_from("folder", "imagenet")
labels = dataset.categories()[AnnotationType.label]
print("two classes:", sorted(label.name for label in labels.items))
os.mkdir("folder/bird")
try:
    print("and an empty one:", len(Dataset.import_from("folder", "imagenet")), "images")
except DatasetNotFoundError as error:
    print(f"and an empty one: {type(error).__name__}: {error}")
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
