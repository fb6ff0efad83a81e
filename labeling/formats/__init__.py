"""Formats in which label tools exchange classes of images.  FORMATS has one entry per format."""

from labeling.formats import coco, cvat, fiftyone, imagefolder, label_studio, voc
from labeling.formats.spec import Format

FORMATS: dict[str, Format] = {
    "label-studio": label_studio.FORMAT,
    "cvat": cvat.FORMAT,
    "fiftyone": fiftyone.FORMAT,
    "coco": coco.FORMAT,
    "voc": voc.FORMAT,
    "imagefolder": imagefolder.FORMAT,
}
