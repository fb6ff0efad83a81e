"""Do the tests notice small faults?  python -m tests.mutation.mutants [FILE ...]

mutmut puts one fault at a time into the files that settings.py names and runs the tests that
pass through the function.  Exit status 1 where less than 90 % are noticed, or where one that is not
has no line in tests/mutation/mutants.md, which says why it breaks nothing that is promised.

Also a plugin of the pytest that mutmut runs (`-p tests.mutation.mutants`).
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
from pathlib import Path

from tests.mutation.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
NAMED = ROOT / "tests" / "mutation" / "mutants.md"
LINE = re.compile(r"\* `(?P<where>[\w.…]+)` `(?P<change>.+)`: (?P<why>.+)")
LEAST = 0.9
GRAPH = ("acquisition", "fake_cuda", "golden", "graph", "label_propagation")
TESTS = {  # which test_*.py are run for which modules; others pass through them and take long
    "al_methods": (*GRAPH, "coverage_methods", "uncertainty_methods", "no_pseudo_labels"),
    "al_methods.balls": ("coverage_methods",),
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
    "utils.graph.neighbor_stability": ("simclr", "graph_views"),
    "utils.graph.symmetric_neighbors": ("symmetric_neighbors",),
    "utils.kmeans": ("kmeans",),
    "utils.lease": ("lease",),
    "utils.processes": ("lease",),
}
HUNG = -signal.SIGXCPU  # it was stopped: noticed, if the machine was not too busy
UNNOTICED = (0, 5, 33, None)  # the tests passed; none passes through the function; not run


def pytest_configure(config) -> None:
    """Processes that tests start take no part in mutmut's record of who calls what: they have
    another working folder, where it does not find its settings."""
    if os.environ.get("MUTANT_UNDER_TEST") in ("stats", "fail"):
        del os.environ["MUTANT_UNDER_TEST"]


def pytest_collection_modifyitems(items) -> None:
    """Of the tests that mutmut chose for a fault, those of TESTS."""
    fault = os.environ.get("MUTANT_UNDER_TEST", "")
    if "__mutmut_" in fault:
        files = TESTS[max((name for name in TESTS if fault.startswith(f"{name}.")), key=len)]
        items[:] = [item for item in items if item.path.stem.removeprefix("test_") in files]


def change_of(mutant: str, path: str) -> str:
    """The function, dotted, and the lines that the fault leaves there; "-" and the lines that it
    takes away where it leaves none."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = defaultdict(list)
    for line in get_diff_for_mutant(mutant, path=path).splitlines()[2:]:
        lines[line[0]].append(line[1:].strip())
    where = re.sub(r"\.xǁ|ǁ|\.x_", ".", mutant.partition("__mutmut_")[0])
    return " ".join([where, *(lines["+"] or ["-", *lines["-"]])])


def named() -> list[re.Pattern]:
    """What tests/mutation/mutants.md names, to be found in a function and its change; "…" is any text."""
    found = map(LINE.match, NAMED.read_text().splitlines())
    keys = [f"{line['where']} {line['change']}" for line in found if line]
    return [re.compile(re.escape(key).replace("…", ".*")) for key in keys]


def results(path: str) -> dict[str, int | None]:
    """Exit status of the tests by fault."""
    from mutmut.mutation.data import SourceFileMutationData

    found = SourceFileMutationData(path=path)
    found.load()
    return found.exit_code_by_key


def judge(paths: list[str]) -> bool:
    """Print a line a file and a line a fault that is neither noticed nor named; is all well?"""
    known, well, sums = named(), True, defaultdict(int)
    print(f"{'file':<34} {'faults':>6} {'noticed':>7} {'hung':>5} {'not':>4} {'named':>5}")
    for path in paths:
        exits = results(path)
        missed = [change_of(name, path) for name, status in exits.items() if status in UNNOTICED]
        unnamed = [change for change in missed if not any(key.fullmatch(change) for key in known)]
        hung = list(exits.values()).count(HUNG)
        counts = (len(exits), hung, len(missed), len(missed) - len(unnamed))
        well &= not unnamed
        for column, count in enumerate(counts):
            sums[column] += count
        show(path, counts)
        for change in unnamed:
            print(f"    {change}")
    show("all", [sums[column] for column in range(4)])
    return well and sums[2] <= (1 - LEAST) * sums[0]


def show(what: str, counts) -> None:
    faults, hung, missed, told = counts
    part = 100 * (1 - missed / max(faults, 1))
    print(f"{what:<34} {faults:>6} {part:>5.1f} % {hung:>5} {missed:>4} {told:>5}")


def main() -> int:
    os.chdir(ROOT)
    import tests.mutation.__main__  # noqa: F401  gives mutmut the settings

    mutated = SETTINGS["only_mutate"]
    if missing := [path for path in mutated if not Path(path).exists()]:
        sys.exit(f"tests/mutation/settings.py: no file {', '.join(missing)}")
    parser = argparse.ArgumentParser(
        prog="tests.mutation.mutants", description=__doc__.splitlines()[0]
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="default: all")
    paths = parser.parse_args().files
    if unknown := set(paths) - set(mutated):
        parser.error(
            f"{', '.join(sorted(unknown))}: not in only_mutate of tests/mutation/settings.py"
        )
    modules = [path.removesuffix(".py").removesuffix("/__init__") for path in paths]
    patterns = [f"{module.replace('/', '.')}.x*" for module in modules]
    shutil.rmtree("mutants", ignore_errors=True)
    begin = time.monotonic()
    words = [sys.executable, "-m", "tests.mutation", "run", "--max-children", "1", *patterns]
    done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    if done.returncode:
        return done.returncode
    well = judge(paths or mutated)
    print(f"{time.monotonic() - begin:.0f} s")
    return not well


if __name__ == "__main__":
    sys.exit(main())
