"""First labels from communities of the graph, against slow references."""

import itertools
import logging

import numpy as np
import pytest
import scipy.sparse
import torch

from al_methods import graph_communities, lp_coverage, select
from al_methods.graph_communities import merge_clusters
from utils.diffusion import DiffusionSolver, as_torch_csr
from utils.graph import affinity

LP = {"k": 5, "alpha": 0.95}


def modularity(W, clusters):
    """Q, pair by pair of rows: Newman, Physical Review E 69, 2004."""
    degrees, total = W.sum(axis=1), W.sum()
    same = clusters[:, None] == clusters
    return ((W / total - np.outer(degrees, degrees) / total**2) * same).sum()


def merge_slowly(W, clusters, count):
    """Try every pair before each merge."""
    while len(np.unique(clusters)) > count:
        pairs = list(itertools.combinations(np.unique(clusters), 2))
        merged = [np.where(clusters == b, a, clusters) for a, b in pairs]
        clusters = max(merged, key=lambda c: round(modularity(W, c), 12))
    return clusters


def shares(W, clusters):
    members = np.eye(clusters.max() + 1)[clusters]
    return members.T @ W @ members / W.sum(), members.T @ W.sum(axis=1) / W.sum()


def groups(sizes, seed=0, spread=0.25):
    """Features in groups of given sizes around orthogonal directions."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    x = np.eye(len(sizes))[group] + spread * rng.normal(size=(len(group), len(sizes)))
    return x.astype(np.float32), group


@pytest.mark.parametrize("count", [1, 3, 6, 9])
def test_merging_takes_the_pair_of_largest_modularity(count):
    x, _ = groups([20, 30, 15, 9])
    W = affinity(x, 5).toarray().astype(float)
    clusters = np.random.default_rng(1).integers(9, size=len(x))
    found = merge_clusters(*shares(W, clusters), count)
    assert sorted(set(found.tolist())) == list(range(count))
    slow = merge_slowly(W, clusters, count)
    fast = found[clusters]
    assert modularity(W, fast) == pytest.approx(modularity(W, slow), abs=1e-12)
    assert len(np.unique(np.stack([fast, slow]), axis=1).T) == count  # one name for another


def test_merging_while_the_modularity_rises():
    """It stops at the planted groups, where each further union would lower Q."""
    x, group = groups([40, 30, 20], spread=0.1)
    W = affinity(x, 5).toarray().astype(float)
    clusters = group * 2 + np.arange(len(x)) % 2
    found = merge_clusters(*shares(W, clusters), 1, while_rising=True)
    assert found.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("dense", [True, False])
def test_picks_are_the_central_images_of_the_clusters_of_larger_modularity(monkeypatch, dense):
    """All steps of the module's docstring with a dense inverse."""
    if not dense:  # the diagonal of K is then estimated
        monkeypatch.setattr(
            lp_coverage, "_estimate_scale", lambda W, system: torch.tensor(scale, dtype=torch.float)
        )
        monkeypatch.setattr(lp_coverage, "MAX_KERNEL_IMAGES", 10)
    x, _ = groups([50, 40, 12, 30])
    W = affinity(x, 5).toarray().astype(float)
    K = np.linalg.inv(np.eye(len(x)) - 0.95 * W)
    scale = 1 / np.sqrt(K.diagonal())
    kernel = K * scale * scale[:, None]
    cover, seeds = np.zeros(len(x)), []
    for _ in range(8):
        seeds.append(int(np.maximum(kernel - cover, 0).sum(axis=1).argmax()))
        cover = np.maximum(cover, kernel[seeds[-1]])

    def clusters_around(images):
        nearest = K[:, images].argmax(axis=1)
        nearest[images] = np.arange(len(images))
        return nearest

    merged = merge_slowly(W, clusters_around(seeds), 4)
    central = [
        int(np.where(merged == c, kernel[:, merged == c].sum(axis=1), -1).argmax())
        for c in np.unique(merged)
    ]
    sets = (seeds[:4], central)
    expected = max(sets, key=lambda picks: modularity(W, clusters_around(picks)))
    found = select("lp_coverage", features=x, labels=np.full(len(x), -1), budget=4, rng=None, **LP)
    assert found.tolist() == list(expected)


def test_the_log_says_from_how_many_groups_the_picks_are(caplog):
    """Eight picks from three groups: a hint, without a label, that some share a class."""
    x, _ = groups([60, 50, 40], spread=0.1)
    labels = np.full(len(x), -1)
    with caplog.at_level(logging.INFO, logger="al.lp_coverage"):
        select("lp_coverage", features=x, labels=labels, budget=3, rng=None, **LP)
    assert "the 3 picks are from 3 groups" in caplog.text


def test_known_labels_or_a_large_budget_leave_the_greedy_cover(monkeypatch):
    x, _ = groups([60, 50, 40])
    assert graph_communities.number_of_seeds(37, 150) == 74
    assert graph_communities.number_of_seeds(38, 150) == 38  # more than half of the images
    assert graph_communities.number_of_seeds(251, 10**6) == 251
    monkeypatch.setattr(lp_coverage, "choose_central_images", None)  # an error if called
    labels = np.full(len(x), -1)
    assert len(select("lp_coverage", features=x, labels=labels, budget=70, rng=None, **LP)) == 70
    labels[5] = 0
    assert len(select("lp_coverage", features=x, labels=labels, budget=3, rng=None, **LP)) == 3


def test_images_that_no_seed_reaches_are_in_no_cluster():
    """More components than seeds: each pick is central in its own component."""
    group = np.repeat(np.arange(6), 4)
    x = np.eye(6, dtype=np.float32)[group]
    picks = select("lp_coverage", features=x, labels=np.full(24, -1), budget=2, rng=None, k=3)
    assert len(set(group[picks].tolist())) == 2


def test_a_seed_beside_a_hub_keeps_a_cluster():
    """At a leaf, the hub's column of K is α / √10 / (1 − α²), its own 1 + α² / 10 / (1 − α²)."""
    star = np.zeros((11, 11), np.float32)
    star[0, 1:] = star[1:, 0] = 1 / np.sqrt(10)
    W = as_torch_csr(scipy.sparse.csr_matrix(star))
    system = DiffusionSolver(W, 0.99)
    clusters = graph_communities._clusters_around(system, [0, 3, 7], torch.ones(11))
    assert clusters.tolist() == [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_the_first_labels_are_chosen_by_the_view_of_the_largest_weight(weight):
    (x, _), (other, _) = groups([50, 40, 30], 1), groups([50, 40, 30], 2, spread=0.6)
    arrays = {"labels": np.full(120, -1), "budget": 3, "rng": None}
    both = {"features": x, "pixels": other, "features_agreement": 0.3, "pixels_agreement": weight}
    views = {"views": "features,pixels", "view_weights": "agreement"}
    picks = select("lp_coverage", **arrays, **both, **views, **LP)
    best, lesser = (x, other) if weight < 0.3 else (other, x)
    assert picks.tolist() == select("lp_coverage", features=best, **arrays, **LP).tolist()
    assert picks.tolist() != select("lp_coverage", features=lesser, **arrays, **LP).tolist()
