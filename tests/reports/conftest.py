"""Real runs for the tests of reports."""

import pytest

import main_al
import report

SHORT = "--dataset digits --arch small_cnn --epochs 1 --al-nb-cycles 2 --al-budget 10 --device cpu"
REAL_RUNS = ("", "--split 1", "--add-lp", "--al-method coreset", "--initial random")


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """A folder with five short runs on digits, in runs/, and their report, in out/."""
    folder = tmp_path_factory.mktemp("real")
    for options in REAL_RUNS:
        argv = [*SHORT.split(), *options.split(), "--out", str(folder / "runs")]
        assert main_al.main(argv) == 0
    assert report.main([str(folder / "runs"), "--out", str(folder / "out")]) == 0
    return folder
