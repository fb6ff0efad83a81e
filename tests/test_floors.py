"""The house: imports point down, files stay readable."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "utils": {"utils"},
    "data": {"data", "utils"},
    "models": {"models"},
    "al_methods": {"al_methods", "utils"},
    "semisup": {"semisup", "data", "utils"},
    "unsup": {"unsup", "data", "models", "utils"},
}
FILES = sorted(path for folder in ALLOWED for path in (ROOT / folder).glob("**/*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports from the root"
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            top = name.split(".")[0]
            own = top in ALLOWED or top in ("main_al", "sweep", "report", "tests")
            assert not own or top in ALLOWED[path.relative_to(ROOT).parts[0]], name


def test_main_reads_as_the_algorithm():
    assert len((ROOT / "main_al.py").read_text().splitlines()) <= 200
    assert max(len(path.read_text().splitlines()) for path in FILES) <= 300


def test_faiss_comes_after_torch_in_one_place():
    importers = [path.name for path in FILES if "\nimport faiss\n" in path.read_text()]
    assert importers == ["torch_faiss.py"]
