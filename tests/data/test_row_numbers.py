"""An index is the row of the user's file: in splits, queries, answers, tables, predictions and
reports, although a fifth of the rows is held out."""

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import main_al
import predict
from data import DATASETS, generate_splits
from data.custom import FlipOptions, ValueOptions
from data.feature_images import SIDE, FileImages
from data.features import FeatureOptions
from reports.run_images import load_run_images
from tests.labeling.test_page import press
from tests.labeling.test_page import save as save_answers
from training.finite import NotFinite
from training.network_outputs import extract_outputs
from utils.errors import UserError

SCHEMES = {"file", "data", "blob"}  # of the requests of pages; the last is used for saving
ROWS = 60
CLASSES = np.arange(ROWS) % 3
# The value of each image and of each feature vector tells its row.
IMAGES = np.repeat(np.arange(ROWS, dtype=np.uint8) * 4, 64).reshape(ROWS, 8, 8).copy()
IMAGES[:, 0, 0] = 255
FEATURES = (np.eye(3, 8)[CLASSES] * 6 + np.random.default_rng(0).normal(size=(ROWS, 8))).astype("f")
SHORT = ["--epochs", "2", "--device", "cpu"]


@pytest.fixture(params=["arrays", "features"])
def kind(request):
    return request.param


def save(path, kind, **more):
    content = {"images": IMAGES} if kind == "arrays" else {"features": FEATURES}
    np.savez(path, **({"labels": CLASSES} | content | more))
    return path


def start(kind, root, run, *words):
    arch = ["--arch", "small_cnn"] if kind == "arrays" else []
    return main_al.main(
        ["--dataset", kind, "--data-root", str(root), "--run-dir", str(run), *arch, *SHORT,
         *map(str, words)]
    )  # fmt: skip


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read(kind, path):
    groups = {"files": FeatureOptions()}
    if kind == "arrays":
        groups = {"flip": FlipOptions(False), "values": ValueOptions()}
    return DATASETS[kind].load_and_check(str(path), **groups)


def test_the_parts_know_their_rows(kind, tmp_path):
    loaded = read(kind, save(tmp_path / "a.npz", kind, paths=[f"{row}.png" for row in range(ROWS)]))
    rows = np.concatenate([loaded.row_numbers, loaded.test_row_numbers])
    assert sorted(rows) == list(range(ROWS)) and len(loaded.test_row_numbers)
    np.testing.assert_array_equal(loaded.train.labels, CLASSES[loaded.row_numbers])
    assert loaded.image_paths == tuple(f"{row}.png" for row in loaded.row_numbers)
    assert loaded.test_paths == tuple(f"{row}.png" for row in loaded.test_row_numbers)
    if kind == "arrays":
        np.testing.assert_array_equal(loaded.train.pixels[:, 0], IMAGES[loaded.row_numbers])


def test_queries_answers_and_tables_name_rows(kind, tmp_path, home):
    known = np.where(np.arange(ROWS) < 24, CLASSES, -1)
    ids = [f"id{row}" for row in range(ROWS)]
    root, run = save(tmp_path / "a.npz", kind, labels=known, ids=ids), tmp_path / "run"
    words = ["--oracle", "file", "--initial", "given", "--al-method", "random"]
    words += ["--al-budget", 9, "--al-nb-cycles", 2]
    assert start(kind, root, run, *words) == 3
    queries = read_csv(run / "queries.csv")
    assert all(row["path"] == f"id{row['index']}" for row in queries)
    assert {int(row["index"]) for row in queries} <= set(np.flatnonzero(known < 0))
    html = (run / "queries.html").read_text()
    page = json.loads(re.search(r'type="application/json">(.*?)</script>', html)[1])
    if kind == "arrays":
        for query in page["queries"]:
            png = base64.b64decode(query["image"].partition(",")[2])
            image = np.asarray(Image.open(io.BytesIO(png)))
            np.testing.assert_array_equal(image, IMAGES[query["index"]])
    lines = [f"{row['index']},{CLASSES[int(row['index'])]}" for row in queries]
    (run / "labels.csv").write_text("\n".join(["index,label", *lines]))
    assert start(kind, root, run, *words) == 0
    acquired = read_csv(run / "acquired.csv")
    assert [row["index"] for row in acquired if row["cycle"] == "0"] == [
        row["index"] for row in queries
    ]
    assert all(int(row["label"]) == CLASSES[int(row["index"])] for row in acquired)
    predict.main([str(run), "--csv", str(tmp_path / "p.csv"), "--device", "cpu"])
    given = [row for row in read_csv(tmp_path / "p.csv") if row["given"] == "1"]
    assert all(int(row["class"]) == CLASSES[int(row["index"])] for row in given)


def test_split_files_and_the_generator_name_rows(kind, tmp_path, home, capsys):
    root, run = save(tmp_path / "a.npz", kind), tmp_path / "run"
    words = ["--al-budget", 9, "--al-nb-cycles", 1]
    assert start(kind, root, run, *words) == 0
    (created,) = re.findall(r"created split (\S+)", "".join(capsys.readouterr()))
    lines = [tuple(map(int, line.split())) for line in Path(created).read_text().splitlines()]
    rows = set(read(kind, root).row_numbers)
    assert all(row in rows and CLASSES[row] == label for row, label in lines)
    assert max(row for row, _ in lines) >= len(rows) or len(lines) < 20
    generate_splits.main(
        ["--dataset", kind, "--data-root", str(root), "--split-size", "9", "--nr-splits", "1"]
    )
    assert "exists already" in capsys.readouterr().out
    assert start(kind, root, tmp_path / "again", *words) == 0  # the file is read now
    assert (run / "results.csv").read_bytes() == (tmp_path / "again/results.csv").read_bytes()


def test_predictions_cover_every_row_of_the_file(kind, tmp_path, home):
    root, run = save(tmp_path / "a.npz", kind), tmp_path / "run"
    assert start(kind, root, run, "--al-budget", 9, "--al-nb-cycles", 1, "--epochs", 30) == 0
    for words in ([], ["--pseudo"]):
        target = tmp_path / "p.csv"
        assert predict.main([str(run), "--csv", str(target), "--device", "cpu", *words]) == 0
        rows = read_csv(target)
        assert [int(row["index"]) for row in rows] == list(range(ROWS))
        assert list(rows[0])[:5] == ["index", "path", "class", "probability", "given"]
        assert list(rows[0])[-1] == "part"
        loaded = read(kind, root)
        held_out = [int(row["index"]) for row in rows if row["part"] == "test"]
        assert held_out == loaded.test_row_numbers.tolist()
        assert all(
            CLASSES[i] == int(rows[i]["class"]) for i in range(ROWS) if rows[i]["given"] == "1"
        )
        if kind == "features":
            assert [int(row["class"]) for row in rows] == CLASSES.tolist()


def test_data_with_a_test_part_have_the_columns_they_had(kind, tmp_path, home):
    content = "images" if kind == "arrays" else "features"
    values = IMAGES if kind == "arrays" else FEATURES
    more = {f"test_{content}": values[:9], "test_labels": CLASSES[:9]}
    root, run = save(tmp_path / "a.npz", kind, **more), tmp_path / "run"
    assert start(kind, root, run, "--al-budget", 9, "--al-nb-cycles", 1) == 0
    assert predict.main([str(run), "--csv", str(tmp_path / "p.csv"), "--device", "cpu"]) == 0
    rows = read_csv(tmp_path / "p.csv")
    assert list(rows[0]) == ["index", "path", "class", "probability", "given"]
    assert len(rows) == ROWS


def test_the_report_shows_the_image_of_each_row(tmp_path, home):
    root, run = save(tmp_path / "a.npz", "arrays"), tmp_path / "run"
    assert start("arrays", root, run, "--al-budget", 9, "--al-nb-cycles", 2, "--flip", False) == 0
    shown = load_run_images(json.loads((run / "config.json").read_text()))
    chosen = [int(row["index"]) for row in read_csv(run / "acquired.csv")]
    chosen += shown.initial_indices.tolist()
    np.testing.assert_array_equal(shown.images[np.array(chosen)][:, 0], IMAGES[chosen])
    np.testing.assert_array_equal(shown.labels[chosen], CLASSES[chosen])


def test_runs_of_earlier_versions_count_training_images(tmp_path, home):
    root, run = save(tmp_path / "a.npz", "arrays"), tmp_path / "run"
    assert start("arrays", root, run, "--al-budget", 9, "--al-nb-cycles", 1, "--flip", False) == 0
    loaded = read("arrays", root)
    config = json.loads((run / "config.json").read_text())
    config["identity"]["data"] = loaded.contents_fingerprint
    (run / "config.json").write_text(json.dumps(config))
    shown = load_run_images(config)
    np.testing.assert_array_equal(shown.images[:][:, 0], IMAGES[loaded.row_numbers])
    assert predict.main([str(run), "--csv", str(tmp_path / "p.csv"), "--device", "cpu"]) == 0


def test_messages_about_the_network_name_rows(tmp_path):
    from data.stores import make_stores

    loaded = read("features", save(tmp_path / "a.npz", "features"))
    store = make_stores(DATASETS["features"], loaded, "cpu")[0]
    position = len(store) - 1
    store.features[position] = np.inf
    network = lambda batch: (batch, batch)  # noqa: E731
    network.eval = lambda: None
    with pytest.raises(NotFinite, match=f"index {loaded.row_numbers[position]}\\)"):
        extract_outputs(network, store.subset(np.arange(5, len(store))))


# ---- The images behind features


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for row in range(ROWS):
        Image.new("L", (20, 20), row * 4).save(folder / f"{row}.png")
    return folder


@pytest.mark.parametrize("place", ["--images", "absolute", "beside"])
def test_the_page_shows_the_image_of_each_row_of_features(place, pictures, tmp_path, home):
    base = {"--images": "", "absolute": f"{pictures}/", "beside": "pictures/"}[place]
    paths = [f"{base}{row}.png" for row in range(ROWS)]
    root, run = save(tmp_path / "a.npz", "features", paths=paths), tmp_path / "run"
    words = ["--images", pictures] if place == "--images" else []
    words += [
        "--oracle",
        "file",
        "--initial",
        "random",
        "--al-method",
        "random",
        "--al-budget",
        "9",
    ]
    assert start("features", root, run, *words, "--al-nb-cycles", 1) == 3
    html = (run / "queries.html").read_text()
    page = json.loads(re.search(r'type="application/json">(.*?)</script>', html)[1])
    for query in page["queries"]:
        assert query["path"] == paths[query["index"]]
        image = Image.open(io.BytesIO(base64.b64decode(query["image"].partition(",")[2])))
        assert np.asarray(image)[5, 5, 0] == query["index"] * 4


# Canvas coordinates are those of the picture itself; its centre has the value of the whole image.
CENTRE_VALUES = """
return [...document.querySelectorAll(".card img")].map(picture => {
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  return context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0];
});
"""


def test_who_looks_at_the_page_labels_the_right_rows(kind, pictures, tmp_path, home, page):
    """In a browser: each picture is read from the screen and answered with the class of its row."""
    paths = {"paths": [f"pictures/{row}.png" for row in range(ROWS)]} if kind == "features" else {}
    root, run = save(tmp_path / "a.npz", kind, **paths), tmp_path / "run"
    words = "--oracle file --initial random --al-method random --al-budget 9 --al-nb-cycles 1"
    assert start(kind, root, run, *words.split()) == 3
    window = page(run / "queries.html")
    seen_rows = [value // 4 for value in window.execute_script(CENTRE_VALUES)]
    assert len(set(seen_rows)) == 9
    press(window, *(str(CLASSES[row]) for row in seen_rows))
    answers = save_answers(window, run)
    assert answers == [[str(row), str(CLASSES[row]), ""] for row in seen_rows]
    assert start(kind, root, run, *words.split()) == 0
    taken = {int(row["index"]): row["label"] for row in read_csv(run / "acquired.csv")}
    assert taken == {row: str(CLASSES[row]) for row in seen_rows}


def test_images_that_cannot_be_found(pictures, tmp_path):
    def load(images, **more):
        path = save(tmp_path / "a.npz", "features", **more)
        return DATASETS["features"].load_and_check(str(path), files=FeatureOptions(images))

    with pytest.raises(UserError, match=r"--images .* no array paths"):
        load(str(pictures))
    with pytest.raises(UserError, match=r"--images .* none of the paths"):
        load(str(pictures), paths=[f"x{row}.png" for row in range(ROWS)])
    assert load(None, paths=[f"x{row}.png" for row in range(ROWS)]).image_files == ()
    (pictures / "3.png").unlink()
    (pictures / "4.png").write_bytes(b"not an image")
    images = FileImages(tuple(str(pictures / f"{row}.png") for row in (3, 4, 5)))
    assert images[np.array([2, 0])].shape == (2, 3, SIDE, SIDE)
    assert len(images) == 3 and (images[np.array([2])] == 20).all()
