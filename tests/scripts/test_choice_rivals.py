"""The study of choices: its rivals against slow references, and its table."""

import csv

import numpy as np
import pytest

from scripts.studies import choice_rivals, rival_choices
from utils.graph import affinity


def unit_rows(n=60, d=4, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(("criterion", "power"), [("v", 2), ("sigma", 1)])
def test_optimal_design_is_that_of_the_full_covariance(criterion, power, monkeypatch):
    """Every remaining image is tried: the variance left, or that of the sum, is to be smallest."""
    x = unit_rows(40)
    W = affinity(x, 5) * 0.98  # no constant eigenvector of infinite variance
    C = np.linalg.inv(np.eye(40) - W.toarray().astype(float))
    picks = []
    for _ in range(5):
        left = np.full(40, np.inf)
        for i in set(range(40)) - set(picks):
            after = C - np.outer(C[i], C[i]) / (C[i, i] + rival_choices.NOISE_VARIANCE)
            left[i] = np.trace(after) if power == 2 else after.sum()
        gain = np.square(C).sum(axis=0) if power == 2 else C.sum(axis=0) ** 2
        gain = gain / (C.diagonal() + rival_choices.NOISE_VARIANCE)
        gain[picks] = -np.inf
        assert gain.argmax() == left.argmin()  # the formula is the reduction itself
        picks.append(int(left.argmin()))
        C -= np.outer(C[picks[-1]], C[picks[-1]]) / (
            C[picks[-1], picks[-1]] + rival_choices.NOISE_VARIANCE
        )
    found = rival_choices.optimal_design(W, 5, criterion)  # 38 of 40 eigenvectors
    assert found[0] == picks[0] and len(set(found.tolist()) & set(picks)) >= 4


def test_rdss_minimises_the_criterion_of_its_paper_greedily():
    x, count = unit_rows(50), 5
    alpha = 1 - 1 / np.sqrt(count)
    squares = ((x[:, None] - x) ** 2).sum(axis=2)
    kernel = np.exp(-squares / (2 * np.median(squares[np.triu_indices(50, 1)])))
    picks = []
    for step in range(count):
        scores = [
            -np.inf
            if i in picks
            else alpha * kernel[i].mean() - sum(kernel[i, j] for j in picks) / (step + 1)
            for i in range(50)
        ]
        picks.append(int(np.argmax(scores)))
    assert rival_choices.rdss(x, count, 0).tolist() == picks


def test_usl_picks_one_image_per_cluster_and_the_densest_without_the_regulariser(monkeypatch):
    x = unit_rows(90)
    monkeypatch.setattr(rival_choices, "USL_WEIGHT", 0)
    picks = rival_choices.usl(x, 4, 0)
    clusters = rival_choices.assign_clusters(x, 4, 0)
    distances = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
    mean = np.sort(distances, axis=1)[:, 1:21].mean(axis=1)
    for cluster, pick in enumerate(picks):
        own = np.flatnonzero(clusters == cluster)
        assert pick in own and mean[pick] == pytest.approx(mean[own].min(), rel=1e-5)


def test_the_study_resumes_and_summarises(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    features = np.eye(3)[labels] * 4 + rng.normal(size=(120, 3))
    folder = tmp_path / "blobs.features"
    folder.mkdir()
    np.save(folder / "features.npy", features.astype(np.float32))
    np.save(folder / "labels.npy", labels)
    out = tmp_path / "choices.csv"
    command = [str(tmp_path), str(out), "--seeds", "2"]
    assert choice_rivals.main(command) == 0
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 2 * 12 and {row["rows"] for row in rows} == {"108"}
    balanced = [row for row in rows if row["method"] == "balanced random"]
    assert all(row["covered"] == "3" for row in balanced)
    whole = out.read_text()
    out.write_text("\n".join(whole.splitlines()[:-5]) + "\n")
    assert choice_rivals.main(command) == 0
    picked = [",".join(line.split(",")[:-1]) for line in whole.splitlines()]  # without seconds
    assert [",".join(line.split(",")[:-1]) for line in out.read_text().splitlines()] == picked
    capsys.readouterr()
    assert choice_rivals.main([*command, "--summary"]) == 0
    printed = capsys.readouterr().out
    assert "| blobs, encoder | accuracy |" in printed and "balanced random (n 2)" in printed


def test_paired_interval():
    """Differences 1, 2 and 3: mean 2, standard error 1 / √3, t 4.303."""
    ours = {str(i): (50.0 + i, False) for i in range(4)}
    other = {str(i): (50.0, False) for i in range(1, 4)}
    assert choice_rivals.format_difference(ours, other) == "+2.0 (-0.5 to +4.5)"
