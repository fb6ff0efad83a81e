"""GraphLearning's model change for choice_rivals.py; run by it, in an environment of its own.

python graphlearning_choices.py FOLDER

For each line "COUNT FIRST" of the standard input it prints COUNT picks as JSON, with what is then
in FOLDER/graph.npz and FOLDER/labels.npy.  The first pick is given; each next one has the largest
`model_change`, with Laplace learning on the labels of the picks before it, as in the documentation
of GraphLearning 1.7.5, and 200 eigenvectors as in its examples.  While all labels are of one class,
all images are equally uncertain.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import graphlearning as gl
import numpy as np
import scipy.sparse

NUM_EIGENVECTORS = 200


def choose(weights: "gl.graph", labels: np.ndarray, count: int, first: int) -> list[int]:
    """The picks in order.  labels: (N,), of which those of the picks are read, one by one."""
    rank = min(NUM_EIGENVECTORS, weights.num_nodes - 2)
    values, vectors = weights.eigen_decomp(normalization="normalized", k=rank)
    numbers = {labels[first]: 0}  # class -> its number in order of appearance
    learner = gl.active_learning.active_learner(
        model=gl.ssl.laplace(weights),
        acq_function=gl.active_learning.model_change,
        labeled_ind=np.array([first]),
        labels=np.array([0]),
        C=np.diag(1 / (values + 1e-11)),
        V=vectors,
    )
    for _ in range(count - 1):
        if len(numbers) == 1:
            learner.u = np.zeros((weights.num_nodes, 2))
        picked = learner.select_queries()
        number = numbers.setdefault(labels[picked[0]], len(numbers))
        learner.update(picked, np.array([number]))
    return learner.labeled_ind.tolist()


def main() -> None:
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        count, first = map(int, line.split())
        weights = gl.graph(scipy.sparse.load_npz(folder / "graph.npz").astype(float))
        with contextlib.redirect_stdout(io.StringIO()):
            picks = choose(weights, np.load(folder / "labels.npy"), count, first)
        print(json.dumps([int(pick) for pick in picks]), flush=True)


if __name__ == "__main__":
    main()
