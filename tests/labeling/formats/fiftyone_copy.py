"""Read folders with FiftyOne's importer and write them with its exporter, without its database:
python fiftyone_copy.py FOLDER OUT. Runs in an environment of its own, without this project."""

import os
import sys

os.environ |= {"FIFTYONE_DATABASE_URI": "mongodb://127.0.0.1:1", "FIFTYONE_DO_NOT_TRACK": "1"}

from fiftyone.utils.data import exporters, importers

folder, out = sys.argv[1:]
importer = importers.FiftyOneImageClassificationDatasetImporter(folder)
exporter = exporters.FiftyOneImageClassificationDatasetExporter(out, include_confidence=True)
with importer, exporter:
    for path, _, label in importer:
        exporter.export_sample(path, label)
        print(os.path.basename(path))
