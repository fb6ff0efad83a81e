"""Images of docs/rivals.md as folders, from files of the packages' forms."""

import json

import numpy as np
from PIL import Image

from scripts.studies import rival_images


def test_fashion(tmp_path, monkeypatch):
    monkeypatch.setattr(rival_images, "FASHION_TRAINING_IMAGES", 12)
    source = tmp_path / "clothes"
    source.mkdir()
    for c in range(10):
        rows = [[c * 20 + number] * 784 for number in range(2)] + [[0] * 12]  # one is damaged
        (source / f"{c}.json").write_text(json.dumps({"data": rows}))
    assert rival_images.main(["fashion", str(source), str(tmp_path / "fashion")]) == 0
    files = sorted((tmp_path / "fashion").glob("*/*/*.png"))
    assert [sum(part in path.parts for path in files) for part in ("train", "test")] == [12, 8]
    pixels = {path: np.asarray(Image.open(path)) for path in files}
    assert all(array.shape == (28, 28) for array in pixels.values())
    values = sorted(int(array[0, 0]) for array in pixels.values())
    assert values == sorted(c * 20 + number for c in range(10) for number in range(2))
    assert all(array[3, 3] // 20 == int(path.parts[-2]) for path, array in pixels.items())


def test_photographs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rival_images, "WINDOWS", {"train": 3, "test": 2})
    source = tmp_path / "data"
    source.mkdir()
    for number, name in enumerate(rival_images.PHOTOGRAPHS):
        Image.new("RGB", (90, 80), (number, 0, 0)).save(source / name, quality=100)
    command = ["photographs", str(source), str(tmp_path / "photos")]
    assert rival_images.main(command) == 0
    files = list((tmp_path / "photos").glob("*/*/*.png"))
    assert len(files) == 10 * (3 + 2)
    assert {Image.open(path).size for path in files} == {(64, 64)}
    assert rival_images.main(command) == 2
    assert "already exists" in capsys.readouterr().err
    assert rival_images.main(["photographs", str(tmp_path / "no"), str(tmp_path / "new")]) == 2
    assert "is not a folder" in capsys.readouterr().err
