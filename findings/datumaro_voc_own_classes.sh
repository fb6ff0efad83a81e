#!/usr/bin/env bash
# datumaro drops classes of Pascal VOC lists that are not among VOC's own twenty.
#
# Guess: ImageSets/Main/zebra_train.txt is the list of a class zebra, as the format describes it, or an
# error says that the class is not known.
# What happens: without a file labelmap.txt, which is datumaro's own addition to the format, only the lists
# of VOC's twenty classes are opened. The images of all others come without a label and without a word.
#
# Versions: Python 3.11, datumaro 1.13.12, Pillow 12.3.0, numpy 2.4.6.
#
# Output seen:
#   without labelmap.txt: a [], b ['cat']
#   with labelmap.txt: a ['zebra'], b ['cat']
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check datumaro==1.13.12 pillow==12.3.0 numpy==2.4.6
venv/bin/python - >output 2>log <<'END' || { cat log; exit 1; }
import os
from pathlib import Path

from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from PIL import Image


def read():
    dataset = Dataset.import_from("voc", "voc_classification")
    labels = dataset.categories()[AnnotationType.label]
    return ", ".join(
        f"{item.id} {[labels[one.label].name for one in item.annotations]}" for item in dataset
    )


os.makedirs("voc/JPEGImages")
lists = Path("voc/ImageSets/Main")
lists.mkdir(parents=True)
for name in ("a", "b"):
    Image.new("L", (8, 8)).save(f"voc/JPEGImages/{name}.jpg")
(lists / "train.txt").write_text("a\nb\n")
(lists / "zebra_train.txt").write_text("a  1\nb -1\n")
(lists / "cat_train.txt").write_text("a -1\nb  1\n")
print("without labelmap.txt:", read())
Path("voc/labelmap.txt").write_text("zebra:1,1,1::\ncat:2,2,2::\n")
print("with labelmap.txt:", read())
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
