"""Another library in an environment of its own, which answers one line with one line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse


class Peer:
    """A script that runs under another interpreter until the block ends.

    script: prints one line per line of its standard input.  `ask` ends the program if the script
    has stopped."""

    def __init__(self, python: str, script: Path, *arguments: str):
        command = [python, str(script), *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, line: str) -> str:
        """The answer to a line."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            sys.exit("the process of --peer stopped: see its message above")
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit("the process of --peer stopped: see its message above")
        return answer

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def edge_weights(W: Any, degrees: Any) -> scipy.sparse.csr_matrix:
    """The weights D^1/2 W D^1/2 of a graph, as GraphLearning wants them.

    W: (N, N), scipy CSR; degrees: (N,), numpy"""
    root: Any = scipy.sparse.diags(np.sqrt(degrees))
    return scipy.sparse.csr_matrix(root @ W @ root)
