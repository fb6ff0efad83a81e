"""The benchmarks run, and what they compare agrees; their times are for `make bench`, not here."""

import csv

import torch

from models import create_model
from models.layers import winograd
from models.layers.dropout import HalfDropout
from tests.benchmarks import growth, run, twins


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
    twin = twins.library_layers(model).eval()
    monkeypatch.setattr(winograd, "convolve", None)
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
