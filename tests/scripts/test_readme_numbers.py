"""The numbers of README.md follow from the csv files that it names."""

import csv
from statistics import mean, stdev

from tests.conftest import ROOT


def test_ten_labels_of_digits():
    with open(ROOT / "scripts" / "studies" / "results" / "ten_labels_digits.csv") as file:
        rows = list(csv.DictReader(file))
    accuracies = {
        name: [float(row["top1"]) for row in rows if row["initial"] == name]
        for name in ("random", "lp_coverage")
    }
    random, chosen = accuracies.values()
    assert len(random) == len(chosen) == 20
    words = [f"{mean(values):.1f} ± {stdev(values):.1f}" for values in (random, chosen)]
    two_seeds = [f"{mean(values[:2]):.1f} ± {stdev(values[:2]):.1f}" for values in (random, chosen)]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"Over seeds 0 to 19 these are {words[0]} and {words[1]}" in readme
    assert f"The lowest of the second row is {min(chosen):.1f} %" in readme
    assert all(f"| {numbers} |" in readme for numbers in two_seeds)
    classes = {row["classes_among_the_ten"] for row in rows if row["initial"] == "lp_coverage"}
    assert ("all 20 selections show every class" in readme) == (classes == {"10"})
