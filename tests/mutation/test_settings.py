"""The settings of `make mutants` name files and tests that exist."""

from pathlib import Path

from tests.conftest import ROOT
from tests.mutation.mutants import TESTS, deselected_tests, exists
from tests.mutation.settings import SETTINGS


def test_files_exist():
    paths = [
        *SETTINGS["source_paths"],
        *SETTINGS["also_copy"],
        *SETTINGS["only_mutate"],
        *SETTINGS["pytest_add_cli_args_test_selection"],
    ]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_deselected_tests_exist():
    tests = deselected_tests()
    assert tests and [test for test in tests if not exists(test)] == []


def test_each_file_has_tests():
    """Every mutated module has its tests in TESTS, and these are among the selected ones."""
    for path in SETTINGS["only_mutate"]:
        module = path.removesuffix(".py").replace("/", ".")
        assert any(module.startswith(name) for name in TESTS), path
    selected = {
        Path(path).stem.removeprefix("test_")
        for path in SETTINGS["pytest_add_cli_args_test_selection"]
    }
    assert {name for names in TESTS.values() for name in names} <= selected
