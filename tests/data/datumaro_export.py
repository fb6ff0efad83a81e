"""Writes a small data set in several formats: python datumaro_export.py FOLDER FORMAT..."""

import sys

import numpy as np
from datumaro.components.annotation import Bbox, Label
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

rng = np.random.default_rng(0)
items = [
    DatasetItem(
        id=f"{('cat', 'dog')[number % 2]}_{subset}{number}",
        subset=subset,
        media=Image.from_numpy(data=rng.integers(256, size=(16, 16, 3)).astype(np.uint8)),
        annotations=[
            Label(number % 2),
            Bbox(1, 2, 5, 6, label=number % 2, id=number + 1, group=number + 1),
        ],
    )
    for subset in ("train", "test")
    for number in range(12)
]
for name in sys.argv[2:]:
    data = Dataset.from_iterable(items, categories=["cat", "dog"])
    data.export(f"{sys.argv[1]}/{name}", name, save_media=True)
