"""The study of propagation: its table resumes, and its peer answers or ends the program."""

import csv
import sys

import numpy as np
import pytest

from scripts.studies import propagation_rivals
from scripts.studies.peer import Peer, edge_weights
from utils.graph import affinity, degrees_of


def test_peer(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "for line in sys.stdin:\n"
        "    if line == 'stop\\n':\n"
        "        break\n"
        "    print(sys.argv[1], line.strip()[::-1], flush=True)\n"
    )
    with Peer(sys.executable, script, "answer:") as peer:
        assert [peer.ask(line) for line in ("ab", "cd")] == ["answer: ba\n", "answer: dc\n"]
        with pytest.raises(SystemExit, match="--peer stopped"):
            peer.ask("stop")


def test_weights_for_the_peer():
    """The affinity D^-1/2 A D^-1/2 with D of A gives A back."""
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    W = affinity(x, 5)
    A = edge_weights(W, degrees_of(W)).toarray()
    degrees = A.sum(axis=1)
    np.testing.assert_allclose(A / np.sqrt(np.outer(degrees, degrees)), W.toarray(), atol=1e-5)


def test_a_draw_with_the_slow_method_replaces_the_one_without(tmp_path, capsys):
    path = tmp_path / "results" / "draws.csv"
    fast, slow = "ours: diffusion", "GraphLearning: poisson_mbo"
    for draw in range(3):
        with_slow = {slow: 0.8} if draw == 0 else {}
        for count in (1, 11):
            propagation_rivals.write_draw(
                path, ("digits", count, draw), {fast: 0.9} | with_slow, {fast: 1.0, slow: 5.0}
            )
    propagation_rivals.write_draw(
        path, ("digits", 1, 1), {fast: 0.91, slow: 0.7}, {fast: 2.0, slow: 6.0}
    )
    rows = propagation_rivals.read_rows(path)
    assert len(list(csv.reader(path.open()))) == 1 + 6
    found = {(row["labels_per_class"], row["draw"], row["method"]): row for row in rows}
    assert len(rows) == len(found) == 6 + 2 + 1
    assert found[1, 1, fast]["accuracy"] == 0.91 and found[1, 1, slow]["seconds"] == 6
    assert found[11, 1, fast]["accuracy"] == 0.9 and (11, 1, slow) not in found
    propagation_rivals.print_summary(rows)
    printed = capsys.readouterr().out
    assert "digits, 1 per class; difference to GraphLearning: poisson_mbo" in printed
    assert "n   3   90.3" in printed and "n   2   75.0" in printed
