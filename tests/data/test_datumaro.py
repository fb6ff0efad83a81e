"""Folders as datumaro writes them are read, or refused by the name of their format."""

import subprocess
from pathlib import Path

import pytest

from tests.data.folder_files import count_parts, read
from tests.label_tools import PYTHON, needs_label_tools
from utils.errors import UserError

pytestmark = needs_label_tools
REFUSED = {
    "voc": "VOC",
    "voc_classification": "VOC",
    "coco": "COCO",
    "yolo": "YOLO",
    "datumaro": "COCO",
    "label_me": "VOC",
    "imagenet_txt": "1 class ",
    "image_dir": "24 images lie in no class folder",
    "camvid": "12 images lie in no class folder",
    "cityscapes": "1 class ",
    "kitti": "1 class ",
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datumaro")
    script = Path(__file__).with_name("datumaro_export.py")
    names = ["imagenet", "imagenet_with_subset_dirs", *REFUSED]
    subprocess.run([PYTHON, script, folder, *names], check=True, capture_output=True)
    return folder


def test_folders_of_classes_are_read(exports):
    listing = read(exports / "imagenet_with_subset_dirs")
    assert count_parts(listing) == {"train": 12, "test": 12}
    assert listing.class_names == ("cat", "dog") and not listing.warnings
    assert all(path.split("/")[1] in path.split("/")[2] for path in listing.image_paths)
    assert len(read(exports / "imagenet").image_paths) == 24


@pytest.mark.parametrize("name", REFUSED)
def test_other_formats_are_refused_in_one_line(name, exports):
    with pytest.raises(UserError) as error:
        read(exports / name)
    assert REFUSED[name] in str(error.value) and "\n" not in str(error.value)
