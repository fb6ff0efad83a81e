"""Read folders with datumaro, write each in all formats: python datumaro_copy.py FOLDER FORMAT...

FOLDER/<format> becomes FOLDER/<format>_to_<other format>. Runs in an environment of its own,
without this project."""

import sys
from pathlib import Path

from datumaro.components.dataset import Dataset

folder, formats = Path(sys.argv[1]), sys.argv[2:]
for source in formats:
    for target in formats:
        dataset = Dataset.import_from(str(folder / source), source)
        dataset.export(str(folder / f"{source}_to_{target}"), target, save_media=True)
