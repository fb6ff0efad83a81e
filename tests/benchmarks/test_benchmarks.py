"""The benchmarks run, and what they compare agrees; their times are for `make bench`, not here."""

import csv
from types import SimpleNamespace

import pytest
import torch

from data import DATASETS
from models import create_model
from models.layers import winograd
from models.layers.dropout import HalfDropout
from tests.benchmarks import (
    custom_data,
    growth,
    peer,
    reference_implementations,
    run,
    single_process,
)


def test_every_row_on_a_little(tmp_path):
    rows = ["coreset", "jlp", "propagation", "knn"]
    assert run.main([*rows, "--images", "2500", "--csv", str(tmp_path / "b.csv")]) == 0
    with open(tmp_path / "b.csv") as file:
        table = {row["row"]: row for row in csv.DictReader(file)}
    assert len(table) == 1 + 2 + 4 + 4
    for name, row in table.items():
        assert float(row["ours_s"]) > 0 and float(row["ratio"]) > 0
        if "picks" in row["agreement"] and "20 iterations" not in name:
            assert float(row["agreement"].split()[0]) >= 99
    assert table["core-set"]["agreement"] == "100.0 % of the picks"
    solved = table["propagation after the kNN, 10 classes, twin solved to 1e-6"]
    assert solved["agreement"] == "labels 100.00 %, weights within 0.000"
    knn = "exact kNN, twin: faiss's flat index"
    assert float(table[knn]["agreement"].split()[0]) > 99.9
    assert table[f"round with {knn[:9]}, twin: on faiss's flat index"]["agreement"] == (
        "labels 100.00 %"
    )


def test_the_twin_network_is_the_library_s(monkeypatch):
    torch.manual_seed(0)
    model, images = create_model("cifar_cnn", 10).eval(), torch.randn(2, 3, 32, 32)
    features = model(images)[1]
    twin = reference_implementations.library_layers(model).eval()
    monkeypatch.setattr(winograd, "convolve_3x3", None)
    torch.testing.assert_close(twin(images)[1], features, atol=1e-6, rtol=0)
    assert not any(isinstance(layer, HalfDropout) for layer in twin.modules())


def test_growth(tmp_path, capsys):
    words = ["--sizes", "2000", "4000", "--csv", str(tmp_path / "g.csv")]
    assert growth.main(words) == 0
    assert "round: seconds grow as N^" in capsys.readouterr().out
    with open(tmp_path / "g.csv") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_the_exponent():
    assert abs(growth.exponent([10, 100, 1000], [3, 300, 30000]) - 2) < 1e-9


@pytest.mark.skipif(not peer.INSTALLED, reason="scikit-activeml is not installed")
def test_the_peer(monkeypatch, tmp_path):
    """Both sides pick, and ours covers as well; core-set has no choice but the same picks."""
    monkeypatch.setattr(peer, "RUNS", 1)
    monkeypatch.setattr(peer, "FEW_RUNS", 1)
    assert run.main(["peer", "--images", "600", "--csv", str(tmp_path / "p.csv")]) == 0
    with open(tmp_path / "p.csv") as file:
        table = {row["row"].split(",")[0]: row["agreement"].split() for row in csv.DictReader(file)}
    values = {name: (float(words[1]), float(words[3])) for name, words in table.items()}
    assert len(values) == 6 and all(ours > 0 < other for ours, other in values.values())
    assert values["core-set"][0] == values["core-set"][1]
    for name in ("ProbCover", "MaxHerding"):
        assert values[name][0] >= 0.999 * values[name][1]


def test_without_the_peer(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(peer, "INSTALLED", False)
    assert run.main(["peer", "--csv", str(tmp_path / "p.csv")]) == 0
    assert "scikit-activeml is not installed" in capsys.readouterr().out


def test_alone(monkeypatch, capsys):
    monkeypatch.setattr(single_process, "tasks", lambda n: [("dropquery", n, 8, 3, 5, 60, 2048)])
    assert run.main(["alone", "--images", "300"]) == 0
    assert "dropquery alone, 300 × 8, 3 classes, 5 picks: " in capsys.readouterr().out


@pytest.mark.parametrize("method", single_process.METHODS)
def test_what_each_is_given_alone(method):
    told = []
    queue = SimpleNamespace(put=told.append)
    single_process.measure(queue, method, 200, 8, 3, 5)
    assert told[0][0] > 0 and told[0][1] >= 0


def test_the_data_of_ones_own_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_data, "TEST", 30)
    monkeypatch.setattr(custom_data, "READ", 500)
    for kind, name in (("images", "arrays"), ("features", "features")):
        (tmp_path / kind).mkdir()
        custom_data.WRITERS[kind](tmp_path / kind, 1200)
        found = DATASETS[name].load_and_check(str(tmp_path / kind))
        assert (len(found.train.labels), len(found.test.labels)) == (1200, 30)
        assert found.spec_fields["num_classes"] == 10
    assert "of the speed of memory" in custom_data.speed(tmp_path, 100)[1]
