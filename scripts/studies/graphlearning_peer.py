"""GraphLearning's side of propagation_rivals.py; run by it, in an environment of its own.

python graphlearning_peer.py GRAPH.npz CLASSES KNOWN.npy ANSWER.npz

For each line of the standard input, which lists methods to leave out, it reads the known classes
(N,), -1 where unknown, writes the classes that each other method predicts, and prints the seconds
of each as JSON.
"""

import contextlib
import io
import json
import sys
import time

import graphlearning as gl
import numpy as np
import scipy.sparse


def main() -> None:
    graph, classes, known_path, answer_path = sys.argv[1:]
    weights = gl.graph(scipy.sparse.load_npz(graph).astype(float))
    prior = np.full(int(classes), 1 / int(classes))
    models = {
        "poisson": lambda: gl.ssl.poisson(weights),
        "poisson, priors": lambda: gl.ssl.poisson(weights, class_priors=prior),
        "laplace": lambda: gl.ssl.laplace(weights),
        "poisson_mbo": lambda: gl.ssl.poisson_mbo(weights, prior),
    }
    for line in sys.stdin:
        known = np.load(known_path)
        labeled = np.flatnonzero(known >= 0)
        predicted, seconds = {}, {}
        for name, make in models.items():
            if name in line.strip().split(";"):  # to be left out
                continue
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                predicted[name] = make().fit_predict(labeled, known[labeled])
            seconds[name] = time.perf_counter() - start
        np.savez(answer_path, **predicted)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
