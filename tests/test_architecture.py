"""The layers of the project, and rules of the code that protect its readers."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

FIELD = {"al_methods", "semisup", "unsup", "training", "data", "models"}

# Package or command -> the packages that it may import beside itself, upper layers first.
MAY_IMPORT = {
    "main_al": {"experiment", *FIELD, "utils"},
    "embed": {"experiment", *FIELD, "utils"},
    "predict": {"reports", "experiment", *FIELD, "utils"},
    "labels": {"labeling", "experiment", *FIELD, "utils"},
    "report": {"reports", "utils"},
    "sweep": {"sweeps", "utils"},
    "scripts": {"reports", "experiment", "labeling", *FIELD, "utils"},
    "sweeps": {"main_al", "experiment", "utils"},  # a warm process saves the imports of each run
    "reports": {"experiment", "labeling", *FIELD, "utils"},
    "experiment": {"labeling", *FIELD, "utils"},
    "labeling": {*FIELD, "utils"},
    "al_methods": {"training", "utils"},
    "semisup": {"training", "data", "utils"},
    "unsup": {"training", "data", "models", "utils"},
    "data": {"training", "utils"},
    "models": {"utils"},
    "training": {"utils"},
    "utils": set(),
}

MAX_MAIN_LINES = 260  # the loop, one function per step, with all types written out
MAX_UTILS_SHARE = 0.17  # of the lines; code with a subject belongs to the package of that subject
MAX_PARTICIPLE_SHARE = 0.03
PARTICIPLE = re.compile(
    r"([a-z]+ed|told|held|shown|seen|given|made|kept|drawn|taken|found|left|said|known|chosen)(_|$)"
)
NOT_PARTICIPLES = {"embed", "feed", "need", "seed", "speed"}
# Networks and quantities that the field calls so.
PARTICIPLES_OF_THE_FIELD = {"sized_cnn", "squared_distances", "supervised_baseline"}
RATE_WITHOUT_PER = re.compile(
    r"\b(a|an) (row|number|line|file|thread|process|class|label|column|run|cycle|split|epoch"
    r"|image|method) (a|an) [a-z]+"
)


def tracked_files() -> list[Path]:
    """The Python files of the project, also those that are not committed yet."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(path for name in names.split() if (path := ROOT / name).exists())


ALL_FILES = tracked_files()
FILES = [path for path in ALL_FILES if path.relative_to(ROOT).parts[0] not in ("tests", "findings")]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def package_of(path: Path) -> str:
    """The top-level package of a file, or the name of a command."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, from the root"
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def prose_of(path: Path) -> Iterator[str]:
    """The comments and docstrings of a file, each on one line."""
    text = path.read_text()
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield " ".join((ast.get_docstring(node) or "").split())


def test_every_package_has_a_layer():
    assert {package_of(path) for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_down(path):
    package = package_of(path)
    for module in imported_modules(path):
        top = module.split(".")[0]
        is_own = top in MAY_IMPORT or top == "tests"
        assert not is_own or top in MAY_IMPORT[package] | {package}, f"{package} imports {module}"


def test_layers_have_no_cycle():
    """MAY_IMPORT itself points down: repeatedly remove the packages that import no others."""
    left = {package: set(others) for package, others in MAY_IMPORT.items()}
    while bottom := {package for package, others in left.items() if not others & left.keys()}:
        left = {package: others for package, others in left.items() if package not in bottom}
    assert not left


def test_option_machinery_knows_no_component():
    """The schema collects the options of packages that it does not import."""
    for path in (ROOT / "utils" / "options").glob("*.py"):
        own = {module for module in imported_modules(path) if module.split(".")[0] in MAY_IMPORT}
        assert own <= {
            "utils.console", "utils.errors", "utils.options.cli", "utils.options.converters",
            "utils.options.option", "utils.options.schema",
        }  # fmt: skip


def test_faiss_is_imported_after_torch_in_one_module():
    importers = [relative(path) for path in FILES if "faiss" in imported_modules(path)]
    assert importers == ["utils/torch_faiss.py"]
    text = (ROOT / "utils" / "torch_faiss.py").read_text()
    assert 0 < text.index("\nimport torch ") < text.index("\nimport faiss\n")


def test_main_is_short():
    """It reads as the algorithm of the paper."""
    assert len((ROOT / "main_al.py").read_text().splitlines()) <= MAX_MAIN_LINES


def test_utils_are_a_small_part():
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    utils = sum(count for path, count in lines.items() if package_of(path) == "utils")
    assert utils <= MAX_UTILS_SHARE * sum(lines.values())


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_one_statement_per_line(path):
    """Except `def declared_only(self) -> int: ...` in a protocol."""
    statements = (node for node in ast.walk(ast.parse(path.read_text())) if is_statement(node))
    lines = [node.lineno for node in statements]
    assert sorted(lines) == sorted(set(lines))


def is_statement(node: ast.AST) -> bool:
    value = getattr(node, "value", None)
    is_ellipsis = isinstance(value, ast.Constant) and value.value is ...
    return isinstance(node, ast.stmt) and not (isinstance(node, ast.Expr) and is_ellipsis)


def test_functions_are_named_by_verbs_and_nouns():
    """Few names begin with a participle: `told` says less than `log_once`."""
    names = [
        node.name.lstrip("_")
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    participles = [
        name
        for name in names
        if PARTICIPLE.match(name)
        and name.split("_")[0] not in NOT_PARTICIPLES
        and name not in PARTICIPLES_OF_THE_FIELD
    ]
    assert len(participles) <= MAX_PARTICIPLE_SHARE * len(names), sorted(participles)
    assert len(names) > 500 and PARTICIPLE.match("told") and not PARTICIPLE.match("log_once")


@pytest.mark.parametrize("path", ALL_FILES, ids=relative)
def test_rates_say_per(path):
    """A rate is one row per cycle, with "per" between its two nouns."""
    rates = [match[0] for text in prose_of(path) for match in RATE_WITHOUT_PER.finditer(text)]
    assert not rates
