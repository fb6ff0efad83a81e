"""`make gpu` where there is no GPU."""

import csv

from tests.conftest import ROOT
from tests.gpu.__main__ import main
from tests.gpu.timings import ROWS


def test_dry_run(tmp_path, capfd):
    """The CPU stands for the GPU, so that neither check nor row needs a GPU to be found broken.
    Without `runs` and `sweep`, which are main_al.py and sweep.py."""
    checks = ["neigh", "affin", "diff", "label", "acqui", "networks", "encoder"]
    rows = ["step", "feature", "graph", "picks", "epoch", "propagation"]
    assert main(["--dry-run", "--csv", str(tmp_path / "gpu.csv"), *checks, *rows]) == 0
    printed = capfd.readouterr().out
    assert "FAILED" not in printed and "\n0 failed" in printed
    with open(tmp_path / "gpu.csv") as file:
        table = list(csv.DictReader(file))
    assert {row["what"] for row in table} == ROWS.keys() - {"one cycle of main_al.py --add-lp"}
    assert all(row["gpu"] for row in table)


def test_one_line_without_a_gpu(command):
    done = command("python", "-m", "tests.gpu", cwd=ROOT, env={"CUDA_VISIBLE_DEVICES": ""})
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and "--dry-run" in done.stderr


def test_folder_without_wheels(command, tmp_path):
    done = command("python", "-m", "tests.gpu", "--wheels", tmp_path, cwd=ROOT)
    assert done.returncode == 2 and "contains no .whl file" in done.stderr
