"""Images that labels.csv names by path."""

import pytest

from labeling.image_paths import ImageFinder

PATHS = {
    3: "train/cat/a 1.png",
    5: "train/cat/b.png",
    8: "unlabeled/b.png",
    9: "-x/c.png",
    11: "Zu\udcf1i/d.png",
    12: "train/Zun\u0303i/e.png",
    13: "",
}


@pytest.mark.parametrize(
    "cell, found",
    [
        ("train/cat/b.png", {5}),
        ("cat/b.png", {5}),
        ("b.png", {5, 8}),
        ("at/b.png", set()),
        ("train\\cat\\b.png", {5}),
        ("/home/me/photos/train/cat/b.png", {5}),
        ("/data/local-files/?d=train/cat/b.png", {5}),
        ("file:///photos/train/cat/a%201.png", {3}),
        ("/data/upload/1/ab12cd34-a_1.png", {3}),
        ("/data/upload/1/ab12cd34-b.png", {5, 8}),
        ("ab12cd34-b.png", set()),
        ("'-x/c.png", {9}),
        ("-x/c.png", {9}),
        ("Zu\udcf1i/d.png", {11}),
        ("Zu\\udcf1i/d.png", {11}),
        ("train/Zuñi/e.png", {12}),
        ("train/ZuÃ±i/e.png", {12}),
        ("", set()),
    ],
)
def test_paths(cell, found):
    assert ImageFinder(PATHS).find(cell) == found
