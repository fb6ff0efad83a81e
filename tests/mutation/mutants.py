"""Do the tests notice small faults?  python -m tests.mutation.mutants [FILE ...]

mutmut puts one fault at a time into the files that settings.py lists and runs the tests that pass
through the changed function.  The exit status is 1 if fewer than 90 % of the faults are noticed,
or if an unnoticed one has no line in mutants.md that explains why it is harmless.

This module is also a plugin of the pytest that mutmut runs (`-p tests.mutation.mutants`).
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
EXPLANATIONS = ROOT / "tests" / "mutation" / "mutants.md"
LINE = re.compile(r"\* `(?P<where>[\w.…]+)` `(?P<change>.+)`: (?P<why>.+)")
MIN_NOTICED = 0.9
GRAPH = ("acquisition", "fake_cuda", "golden", "graph", "label_propagation")
TESTS = {  # which test_*.py are run for which modules; others pass through them and take long
    "al_methods": (*GRAPH, "coverage_methods", "uncertainty_methods", "no_pseudo_labels"),
    "al_methods.probcover": ("coverage_methods",),
    "al_methods.greedy_coverage": ("coverage_methods",),
    "data": ("ceal", "datasets", "fake_cuda", "label_propagation", "loop"),
    "data.strong_augment": ("strong_augment",),
    "experiment.checkpoint": ("recovery",),
    "semisup": ("bad_input", "ceal", "label_propagation", "no_pseudo_labels", "options"),
    "semisup.fixmatch": ("fixmatch",),
    "training": (
        *("datasets", "fake_cuda", "label_propagation", "loop", "uncertainty_methods", "training"),
    ),
    "unsup": ("simclr",),
    "utils": (*GRAPH, "datasets", "no_pseudo_labels", "options"),
    "utils.graph.cell_neighbors": ("cell_neighbors",),
    "utils.graph.cells": ("cell_neighbors",),
    "utils.graph.neighbor_stability": ("simclr", "graph_views"),
    "utils.graph.search_plan": ("cell_neighbors",),
    "utils.graph.symmetric_neighbors": ("symmetric_neighbors",),
    "utils.kmeans": ("kmeans",),
    "utils.lease": ("lease",),
    "utils.processes": ("lease",),
}
HUNG = -signal.SIGXCPU  # stopped after its time limit: noticed, unless the machine was too busy
UNNOTICED = (0, 5, 33, None)  # tests passed; no test passes through the function; not run


def pytest_configure(config) -> None:
    """Keep processes that tests start out of mutmut's record of which test calls what: mutmut
    does not find its settings in their working folders."""
    if os.environ.get("MUTANT_UNDER_TEST") in ("stats", "fail"):
        del os.environ["MUTANT_UNDER_TEST"]


def pytest_collection_modifyitems(items) -> None:
    """Of the tests that mutmut chose for a fault, keep those that TESTS lists."""
    fault = os.environ.get("MUTANT_UNDER_TEST", "")
    if "__mutmut_" in fault:
        files = TESTS[max((name for name in TESTS if fault.startswith(f"{name}.")), key=len)]
        items[:] = [item for item in items if item.path.stem.removeprefix("test_") in files]


def describe_change(mutant: str, path: str) -> str:
    """The dotted function and the lines as the fault leaves them, or "-" and the lines that it
    removes if it leaves none."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = defaultdict(list)
    for line in get_diff_for_mutant(mutant, path=path).splitlines()[2:]:
        lines[line[0]].append(line[1:].strip())
    where = re.sub(r"\.xǁ|ǁ|\.x_", ".", mutant.partition("__mutmut_")[0])
    return " ".join([where, *(lines["+"] or ["-", *lines["-"]])])


def explained_changes() -> list[re.Pattern[str]]:
    """Patterns of the changes that mutants.md explains; "…" stands for any text."""
    matches = map(LINE.match, EXPLANATIONS.read_text().splitlines())
    keys = [f"{match['where']} {match['change']}" for match in matches if match]
    return [re.compile(re.escape(key).replace("…", ".*")) for key in keys]


def exit_codes(path: str) -> dict[str, int | None]:
    """The exit status of the tests for each fault of a file."""
    from mutmut.mutation.data import SourceFileMutationData

    record = SourceFileMutationData(path=path)
    record.load()
    return record.exit_code_by_key


def report(paths: Sequence[str]) -> bool:
    """Print one line per file and one per unexplained fault -> whether all is well."""
    explained, all_explained, sums = explained_changes(), True, [0, 0, 0, 0]
    print(f"{'file':<34} {'faults':>6} {'noticed':>7} {'hung':>5} {'not':>4} {'explained':>9}")
    for path in paths:
        codes = exit_codes(path)
        missed = [describe_change(name, path) for name, code in codes.items() if code in UNNOTICED]
        surprising = [
            change for change in missed if not any(key.fullmatch(change) for key in explained)
        ]
        hung = list(codes.values()).count(HUNG)
        counts = [len(codes), hung, len(missed), len(missed) - len(surprising)]
        all_explained &= not surprising
        sums = [total + count for total, count in zip(sums, counts, strict=True)]
        print_row(path, counts)
        for change in surprising:
            print(f"    {change}")
    print_row("all", sums)
    return all_explained and sums[2] <= (1 - MIN_NOTICED) * sums[0]


def print_row(name: str, counts: Sequence[int]) -> None:
    faults, hung, missed, explained = counts
    noticed = 100 * (1 - missed / max(faults, 1))
    print(f"{name:<34} {faults:>6} {noticed:>5.1f} % {hung:>5} {missed:>4} {explained:>9}")


def deselected_tests() -> list[str]:
    words = SETTINGS["pytest_add_cli_args"]
    return [word.removeprefix("--deselect=") for word in words if word.startswith("--deselect=")]


def exists(test: str) -> bool:
    """Whether there is a test FILE::FUNCTION; pytest itself ignores an unknown name."""
    path, _, function = test.partition("::")
    return f"def {function}(" in (ROOT / path).read_text()


def main() -> int:
    os.chdir(ROOT)
    import tests.mutation.__main__  # noqa: F401  hands mutmut its settings

    mutated = SETTINGS["only_mutate"]
    if missing := [path for path in mutated if not Path(path).exists()]:
        sys.exit(f"tests/mutation/settings.py lists missing files: {', '.join(missing)}")
    if missing := [test for test in deselected_tests() if not exists(test)]:
        sys.exit(f"tests/mutation/settings.py lists missing tests: {', '.join(missing)}")
    parser = argparse.ArgumentParser(
        prog="tests.mutation.mutants", description="Do the tests notice small faults?"
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="default: all")
    paths = parser.parse_args().files
    if unknown := set(paths) - set(mutated):
        names = ", ".join(sorted(unknown))
        parser.error(f"{names}: not in only_mutate of tests/mutation/settings.py")
    modules = [path.removesuffix(".py").removesuffix("/__init__") for path in paths]
    patterns = [f"{module.replace('/', '.')}.x*" for module in modules]
    shutil.rmtree("mutants", ignore_errors=True)
    begin = time.monotonic()
    words = [sys.executable, "-m", "tests.mutation", "run", "--max-children", "1", *patterns]
    done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    if done.returncode:
        return done.returncode
    well = report(paths or mutated)
    print(f"{time.monotonic() - begin:.0f} s")
    return not well


if __name__ == "__main__":
    sys.exit(main())
