"""The maps of the features in a report: what they contain, who has none, and their files."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

import main_al
import predict
import report
from reports import feature_maps
from reports.feature_maps import load_run_map, make_group_maps
from reports.file_names import MAP_FILES, REPORT_FILES
from reports.runs import group_runs, read_runs_below
from scripts import digits_as_folder
from tests.commands.test_main_al import rows
from tests.reports.conftest import SHORT
from tests.reports.test_report import run_report, runs  # noqa: F401  fixtures


def first_run(folder, option):
    """A run with this option: its folder."""
    (path,) = (
        path.parent
        for path in sorted((folder / "runs").rglob("config.json"))
        if json.loads(path.read_text()).get(option[0]) == option[1]
        and "pretrained" not in str(path)
    )
    return path


def test_a_map_has_the_labels_and_predictions_of_the_run(real, tmp_path):
    folder = first_run(real, ("al_method", "coreset"))
    found = load_run_map(folder)
    points, cycles = found.points, found.cycles
    assert len(points.images) == 1000 and points.size == 1437
    acquired = {int(row["index"]): int(row["label"]) for row in rows(folder / "acquired.csv")}
    after_first = found.indices[cycles == 1]
    assert sorted(after_first) == sorted(acquired) and (cycles == 0).sum() == 10
    assert (cycles[points.queries >= 0] >= 0).all() and (cycles[points.queries < 0] == -1).all()
    in_order = found.indices[np.argsort(points.queries)][-10:]  # the last ones queried
    assert in_order.tolist() == list(acquired)
    labels = dict(zip(found.indices.tolist(), points.labels.tolist(), strict=True))
    assert all(labels[index] == label for index, label in acquired.items())
    assert (points.labels[cycles < 0] == -1).all()  # no label that the run did not receive
    assert predict.main([str(folder), "--csv", str(tmp_path / "p.csv"), "--device", "cpu"]) == 0
    with open(tmp_path / "p.csv", newline="") as file:
        predicted = {int(row["index"]): row["class"] for row in csv.DictReader(file)}
    names = [found.class_names[n] for n in points.predicted]
    others = [n for n in range(1000) if cycles[n] < 0]
    assert all(names[n] == predicted[found.indices[n]] for n in others)


def test_many_labels_leave_room_for_other_images(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_maps, "MAX_LABELED", 8)
    words = [*SHORT.split(), "--run-dir", str(tmp_path / "run")]
    assert main_al.main(words) == 0
    monkeypatch.setattr("labeling.feature_map.MAX_POINTS", 12)
    found = load_run_map(tmp_path / "run")
    assert len(found.cycles) == 12 and 8 <= (found.cycles >= 0).sum() < 12


def test_a_lack_of_memory_costs_only_the_map(real, monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    shutil.copytree(first_run(real, ("al_method", "coreset")), tmp_path / "run")
    monkeypatch.setattr(feature_maps, "load_network", fail)
    assert load_run_map(tmp_path / "run") == "out of memory"


def test_a_validation_set_moves_no_index(tmp_path):
    words = [*SHORT.split(), "--use-val-set", "--run-dir", str(tmp_path / "run")]
    assert main_al.main(words) == 0
    found = load_run_map(tmp_path / "run")
    acquired = [int(row["index"]) for row in rows(tmp_path / "run" / "acquired.csv")]
    assert sorted(found.indices[found.cycles == 1]) == sorted(acquired)
    assert found.points.size < 1437


def test_a_run_on_features_has_a_map_of_these(tmp_path):
    """The caller's vectors, which the linear network does not change but for their scale."""
    digits = load_digits()
    np.savez(tmp_path / "digits.npz", features=digits.data[:300], labels=digits.target[:300])
    words = [
        "--dataset",
        "features",
        "--data-root",
        str(tmp_path / "digits.npz"),
        "--device",
        "cpu",
    ]
    words += ["--epochs", "2", "--al-nb-cycles", "2", "--al-budget", "10", "--initial-size", "10"]
    assert main_al.main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    found = load_run_map(tmp_path / "run")
    assert not isinstance(found, str) and (found.cycles >= 0).sum() == 20
    assert (
        found.points.labels[found.cycles >= 0] == digits.target[found.indices][found.cycles >= 0]
    ).all()


def test_reasons_for_a_missing_map(real, tmp_path):
    source = first_run(real, ("al_method", "coreset"))

    def reason(name, change=lambda folder: None):
        folder = tmp_path / name
        shutil.copytree(source, folder)
        change(folder)
        found = load_run_map(folder)
        assert isinstance(found, str)
        return found

    def change_config(**values):
        def change(folder):
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | values))

        return change

    config = json.loads((source / "config.json").read_text())
    lost = reason("lost", lambda folder: (folder / "checkpoint.pt").unlink())
    assert lost == "it has no checkpoint.pt"
    assert "checkpoint.pt" in reason(
        "damaged", lambda folder: (folder / "checkpoint.pt").write_bytes(b"no")
    )
    other = {"identity": config["identity"] | {"data": "0" * 16}}
    assert "used other data" in reason("data", change_config(**other))
    assert "this version cannot read" in reason("network", change_config(arch="sized_cnn"))
    assert "this version cannot read" in reason("option", change_config(al_method="lost"))


def test_only_the_first_run_of_the_first_groups(real):
    groups = group_runs(read_runs_below(real / "runs")[0])
    assert len(groups) == 4
    asked = []

    def load(folder):
        asked.append(folder)
        return "no" if len(asked) == 1 else f"{folder}"

    maps, lines = make_group_maps(groups, 2, lambda folder: load_run_map(folder))
    assert len(maps) == 2 and lines == ["2 further configurations have no map (--maps)"]
    assert all(json.loads((one.folder / "config.json").read_text())["split"] == 0 for one in maps)
    maps, lines = make_group_maps(groups, 4, load)
    assert maps == [] and len(lines) == 4 and lines[0].endswith("no map (no)")
    assert make_group_maps(groups, 0, load)[0] == []


def test_figures_come_and_go(real, runs, run_report, tmp_path):  # noqa: F811
    run_report(real / "runs", "--out", "out", "--maps", 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        (*REPORT_FILES, *MAP_FILES)
    )
    assert (tmp_path / "out/maps.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out/maps.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "out/report.html").read_text()
    assert "3 further configurations have no map" in page
    runs(50, 60)  # without a checkpoint: an earlier report's maps are not those of this one
    run_report("runs", "--out", "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(REPORT_FILES)
    page = (tmp_path / "out/report.html").read_text()
    assert "map-data" not in page.partition("<script>")[0] and "no map" not in page


def test_maps_need_a_report(runs, run_report):  # noqa: F811
    runs(50, 60)
    assert "--maps has no effect here" in run_report("runs", "--maps", 2, expected_status=2)[1]
    assert "at most 20" in run_report("runs", "--out", "o", "--maps", 21, expected_status=2)[1]


@pytest.mark.parametrize("module, name", [("umap", "UMAP"), ("openTSNE", "t-SNE")])
def test_an_installed_library_makes_the_map(real, module, name, monkeypatch, tmp_path):
    pytest.importorskip(module)
    if module != "umap":
        monkeypatch.setitem(sys.modules, "umap", None)
    shutil.copytree(first_run(real, ("al_method", "coreset")), tmp_path / "run")
    found = load_run_map(tmp_path / "run")
    assert found.points.method == name and np.isfinite(found.points.places).all()


def test_names_of_the_data_and_images_without_a_class(tmp_path):
    """A run that a person labels, with a name that HTML must escape."""
    photos = tmp_path / "photos"
    assert digits_as_folder.main([str(photos)]) == 0
    (photos / "train" / "3").rename(photos / "train" / "<b>&'")
    (photos / "test" / "3").rename(photos / "test" / "<b>&'")
    words = ["--dataset", "folder", "--data-root", str(photos), *SHORT.split()[2:]]
    words += ["--oracle", "file", "--initial", "random", "--run-dir", str(tmp_path / "runs/1")]
    for _ in range(2):
        assert main_al.main(words) == 3
        queried = [row["index"] for row in rows(tmp_path / "runs/1/queries.csv")]
        answers = ["cannot tell", "none of these", *("<b>&'" for _ in queried[2:])]
        text = "".join(f"{i},{name}\n" for i, name in zip(queried, answers, strict=True))
        (tmp_path / "runs/1/labels.csv").write_text("index,label\n" + text)
    assert main_al.main(words) == 0
    found = load_run_map(tmp_path / "runs/1")
    assert (found.cycles >= 0).sum() == 20
    assert sorted(set(found.points.labels.tolist())) == [-1, found.class_names.index("<b>&'")]
    assert report.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "<b>&'" not in page
