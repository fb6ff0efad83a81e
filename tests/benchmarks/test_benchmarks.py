"""The benchmarks run, and the results that they compare agree; `make bench` measures the times."""

import csv
import functools
import queue
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data import DATASETS
from experiment.config import SCHEMA
from models import create_model
from models.layers import winograd
from models.layers.dropout import HalfDropout
from tests.benchmarks import (
    custom_data,
    growth,
    neighbors,
    peer,
    reference_implementations,
    run,
    single_process,
    time_to_result,
)
from tests.benchmarks.single_process import Task
from utils.options.option import kwargs_for
from utils.options.schema import fill_defaults


def read_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_results_agree_with_the_reference(tmp_path):
    benchmarks = ["coreset", "jlp", "propagation", "diffusion", "lp_coverage", "knn"]
    assert run.main([*benchmarks, "--images", "1500", "--csv", str(tmp_path / "b.csv")]) == 0
    table = {row["row"]: row for row in read_csv(tmp_path / "b.csv")}
    assert len(table) == 1 + 2 + 4 + 2 + 1 + 4
    for name, row in table.items():
        assert float(row["ours_s"]) > 0 and float(row["ratio"]) > 0
        if "picks" in row["agreement"] and "20 iterations" not in name:
            assert float(row["agreement"].split()[0]) >= 99
    assert table["core-set"]["agreement"] == "100.0 % of the picks"
    solved = table["propagation after the kNN, 10 classes, reference solved to 1e-6"]
    assert solved["agreement"] == "labels 100.00 %, weights within 0.000"
    coverage = table["lp_coverage after the graph, 40 of 1500"]["agreement"]
    assert float(coverage.split()[0]) >= 99.9
    knn = table["exact kNN, reference: faiss's flat index"]
    assert float(knn["agreement"].split()[0]) > 99.9
    exact_round = table["round with exact kNN, reference: on faiss's flat index"]
    assert exact_round["agreement"] == "labels 100.00 %"


def test_reference_network_uses_library_layers(monkeypatch):
    torch.manual_seed(0)
    model, images = create_model("cifar_cnn", 10).eval(), torch.randn(2, 3, 32, 32)
    features = model(images)[1]
    reference = reference_implementations.use_library_layers(model).eval()
    monkeypatch.setattr(winograd, "convolve_3x3", None)
    torch.testing.assert_close(reference(images)[1], features, atol=1e-6, rtol=0)
    assert not any(isinstance(layer, HalfDropout) for layer in reference.modules())


def test_growth(tmp_path, capsys, monkeypatch):
    """With threads in place of processes, which test_alone starts: each imports torch again."""
    context = SimpleNamespace(Queue=queue.Queue, Process=threading.Thread)
    monkeypatch.setattr(growth.multiprocessing, "get_context", lambda method: context)
    argv = ["--sizes", "2000", "4000", "--csv", str(tmp_path / "g.csv")]
    assert growth.main(argv) == 0
    assert "round: seconds grow as N^" in capsys.readouterr().out
    assert len(read_csv(tmp_path / "g.csv")) == 6


@pytest.mark.parametrize("equal", [False, True])
def test_searches_for_neighbours(tmp_path, capsys, monkeypatch, equal):
    """Ours and faiss's reach the recall; a library that is not installed is left out."""
    context = SimpleNamespace(Queue=queue.Queue, Process=threading.Thread)
    monkeypatch.setattr(neighbors.multiprocessing, "get_context", lambda method: context)
    missing = neighbors.SEARCHES["usearch"]._replace(package="no_such_library")
    monkeypatch.setitem(neighbors.SEARCHES, "usearch", missing)
    argv = ["ours", "faiss-ivf", "faiss-hnsw", "usearch", "--images", "3000", "--recall", "0.9"]
    argv += ["--csv", str(tmp_path / "n.csv"), *(["--equal"] if equal else [])]
    assert neighbors.main(argv) == 0
    rows = {row["search"]: row for row in read_csv(tmp_path / "n.csv")}
    assert list(rows) == ["ours", "faiss-ivf", "faiss-hnsw"]
    for name in ("ours", "faiss-ivf"):  # equal rows can make the graph of faiss-hnsw fall apart
        assert float(rows[name]["recall"]) > 0.87 and float(rows[name]["seconds"]) > 0
    assert "usearch is left out: not installed" in capsys.readouterr().out


def test_growth_exponent():
    assert abs(growth.growth_exponent([10, 100, 1000], [3, 300, 30000]) - 2) < 1e-9


@pytest.mark.skipif(not peer.IS_INSTALLED, reason="scikit-activeml is not installed")
def test_peer(monkeypatch, tmp_path):
    """Our coverage is at least that of the peer, and core-set is deterministic: equal picks."""
    monkeypatch.setattr(peer, "RUNS", 1)
    monkeypatch.setattr(peer, "FEW_RUNS", 1)
    assert run.main(["peer", "--images", "600", "--csv", str(tmp_path / "p.csv")]) == 0
    words = {
        row["row"].split(",")[0]: row["agreement"].split() for row in read_csv(tmp_path / "p.csv")
    }
    values = {name: (float(part[1]), float(part[3])) for name, part in words.items()}
    assert len(values) == 6 and all(ours > 0 < theirs for ours, theirs in values.values())
    assert values["core-set"][0] == values["core-set"][1]
    for name in ("ProbCover", "MaxHerding"):
        assert values[name][0] >= 0.999 * values[name][1]


def test_peer_is_optional(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(peer, "IS_INSTALLED", False)
    assert run.main(["peer", "--csv", str(tmp_path / "p.csv")]) == 0
    assert "scikit-activeml is not installed" in capsys.readouterr().out


def test_time_to_a_result(monkeypatch, tmp_path):
    """Two ways that are the same run; the arrays have the requested size."""
    quick = "--arch small_cnn --epochs 1 --initial-size 10"
    monkeypatch.setattr(time_to_result, "WAYS", {"simclr": quick, "neighbor": quick})
    monkeypatch.setattr(time_to_result, "TARGETS", {"neighbor": "3"})
    monkeypatch.setattr(time_to_result, "load_mnist", functools.cache(time_to_result.load_mnist))
    time_to_result.write_arrays(tmp_path / "few.npz", 100)
    sizes = {name: len(array) for name, array in np.load(tmp_path / "few.npz").items()}
    assert sizes == {"images": 80, "labels": 80, "test_images": 20, "test_labels": 20}
    assert run.main(["result", "--images", "300", "--csv", str(tmp_path / "t.csv")]) == 0
    (row,) = read_csv(tmp_path / "t.csv")
    assert 0.2 < float(row["ratio"]) < 5 and float(row["ours_s"]) > 0.5
    ours, _, reference, _ = row["agreement"].removeprefix("accuracy ").split()
    assert ours == reference


def test_a_way_that_fails_has_no_row(monkeypatch, capsys):
    ways = dict.fromkeys(("simclr", "neighbor"), "--no-such-option")
    monkeypatch.setattr(time_to_result, "WAYS", ways)
    assert run.main(["result", "--images", "100"]) == 0
    assert "not measured" in capsys.readouterr().out


def test_alone(monkeypatch, capsys):
    monkeypatch.setattr(
        single_process, "make_tasks", lambda n: [Task("dropquery", n, 8, 3, 5, 60, 2048)]
    )
    assert run.main(["alone", "--images", "300"]) == 0
    assert "dropquery alone, 300 × 8, 3 classes, 5 picks: " in capsys.readouterr().out


@pytest.mark.parametrize("method", single_process.METHOD_INPUTS)
def test_measure_each_method_alone(method):
    results: queue.Queue[tuple[float, float]] = queue.Queue()
    single_process.measure_task(results, Task(method, 200, 8, 3, 5, 60, 2048))
    seconds, mib = results.get_nowait()
    assert seconds > 0 and mib >= 0


def test_custom_data_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_data, "NUM_TEST", 30)
    monkeypatch.setattr(custom_data, "NUM_READ", 500)
    for kind, name in (("images", "arrays"), ("features", "features")):
        (tmp_path / kind).mkdir()
        custom_data.WRITERS[kind](tmp_path / kind, 1200)
        spec = DATASETS[name]
        groups = kwargs_for(fill_defaults(SCHEMA, {"dataset": name}), spec.load)
        loaded = spec.load_and_check(str(tmp_path / kind), **groups)
        assert (len(loaded.train.labels), len(loaded.test.labels)) == (1200, 30)
        assert loaded.spec_fields["num_classes"] == 10
    assert "of the speed of memory" in custom_data.compare_reading(tmp_path, 100)[1]
