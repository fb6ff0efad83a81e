"""--tensorboard: the numbers of results.csv as events, and a run that they never stop."""

import json
import os

import pytest

from tests.commands.test_main_al import rows
from tests.conftest import ROOT
from tests.reports.test_report_faults import bound

WORDS = (
    "--dataset digits --arch small_cnn --epochs 1 --al-budget 10 --al-nb-cycles 2 --device cpu "
    "--run-dir run --tensorboard"
)
GIVEN_UP = "TensorBoard gets nothing more of this run: "


def test_results_are_scalars_once(command, tmp_path):
    """Also after a second start, which writes them anew."""
    pytest.importorskip("tensorboard", reason="no tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for words in (WORDS, WORDS.replace("cycles 2", "cycles 3")):
        done = command("python", ROOT / "main_al.py", *words.split())
        assert done.returncode == 0 and not done.stderr, done.stderr
    results = rows(tmp_path / "run" / "results.csv")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for name in ("top1", "top5", "train_loss", "steps"):
        found = [(event.step, event.value) for event in events.Scalars(f"results/{name}")]
        wanted = [(int(row["labeled"]), float(row[name])) for row in results]
        assert [step for step, _ in found] == [step for step, _ in wanted] == [10, 20, 30]
        assert [v for _, v in found] == pytest.approx([v for _, v in wanted])
    assert [event.step for event in events.Scalars("seconds/train")] == [0, 1, 2]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["tensorboard"] and "tensorboard" not in config["identity"]["options"]


def test_a_folder_that_takes_no_events_stops_nothing(command, tmp_path):
    pytest.importorskip("tensorboard", reason="no tensorboard")
    shut = tmp_path / "run" / "tensorboard"
    shut.mkdir(parents=True)
    shut.chmod(0o500)
    done = command(*bound("python", ROOT / "main_al.py", *WORDS.split()))
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.count(GIVEN_UP) == 1 and "Permission denied" in done.stdout
    assert len(rows(tmp_path / "run" / "results.csv")) == 2 and not list(shut.iterdir())


def test_without_the_package_a_line_says_so(command, tmp_path):
    hidden = tmp_path / "hidden" / "tensorboard"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('as where it is not installed')\n")
    env = {**os.environ, "PYTHONPATH": str(hidden.parent)}
    done = command("python", ROOT / "main_al.py", *WORDS.split(), env=env)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.count(GIVEN_UP + "it needs pip install") == 1
    assert len(rows(tmp_path / "run" / "results.csv")) == 2
