"""--tensorboard: the numbers of results.csv as events; failures never stop the run."""

import json
import sys
import threading

import pytest

import main_al
from tests.commands.test_main_al import rows
from tests.conftest import ROOT
from tests.reports.test_report_faults import with_permissions

WORDS = (
    "--dataset digits --arch small_cnn --epochs 1 --al-budget 10 --al-nb-cycles 2 --device cpu "
    "--run-dir run --tensorboard"
)
GIVEN_UP = "nothing more of this run is written"


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run main_al.py in this process, in a fresh folder; returns its standard output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # restored at the end

    def call(words=WORDS):
        capfd.readouterr()
        assert main_al.main(words.split()) == 0
        out, err = capfd.readouterr()
        assert not err
        return out

    return call


def test_results_appear_once(run, tmp_path):
    """Also after a second start, which writes all of them again."""
    pytest.importorskip("tensorboard", reason="no tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run()
    run(WORDS.replace("cycles 2", "cycles 3"))
    results = rows(tmp_path / "run" / "results.csv")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for name in ("top1", "top5", "train_loss", "steps"):
        points = [(event.step, event.value) for event in events.Scalars(f"results/{name}")]
        expected = [(int(row["labeled"]), float(row[name])) for row in results]
        assert [step for step, _ in points] == [step for step, _ in expected] == [10, 20, 30]
        assert [v for _, v in points] == pytest.approx([v for _, v in expected])
    assert [event.step for event in events.Scalars("seconds/train")] == [0, 1, 2]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["tensorboard"] and "tensorboard" not in config["identity"]["options"]


def test_an_unwritable_folder_does_not_stop_the_run(command, tmp_path):
    pytest.importorskip("tensorboard", reason="no tensorboard")
    read_only = tmp_path / "run" / "tensorboard"
    read_only.mkdir(parents=True)
    read_only.chmod(0o500)
    done = command(*with_permissions("python", ROOT / "main_al.py", *WORDS.split()))
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.count(GIVEN_UP) == 1 and "Permission denied" in done.stdout
    assert len(rows(tmp_path / "run" / "results.csv")) == 2 and not list(read_only.iterdir())


def test_a_missing_package_is_reported(run, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    out = run()
    assert out.count(GIVEN_UP) == 1 and "pip install --group reports" in out
    assert len(rows(tmp_path / "run" / "results.csv")) == 2
