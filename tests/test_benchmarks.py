"""The benchmarks run, and what they compare agrees; their times are for `make bench`, not here."""

import csv

from tests.benchmarks import growth, run


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


def test_growth(tmp_path, capsys):
    words = ["--sizes", "2000", "4000", "--csv", str(tmp_path / "g.csv")]
    assert growth.main(words) == 0
    assert "round: seconds grow as N^" in capsys.readouterr().out
    with open(tmp_path / "g.csv") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_the_exponent():
    assert abs(growth.exponent([10, 100, 1000], [3, 300, 30000]) - 2) < 1e-9
