"""main_al.py on tiny data: the commands of the README, the files they leave, and resuming.

A run is a process of its own only where that matters: where it is killed, writes to a terminal, or
must give the same bytes as another process."""

import csv
import fcntl
import functools
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import main_al
from al_methods import METHODS
from data import active_dataset, generate_splits
from data.state import from_dict
from experiment.checkpoint import load_checkpoint
from experiment.config import SCHEMA, component_needs
from tests.archives import write_array_file
from tests.conftest import ROOT
from tests.forked import ForkedCommand, kill_before
from tests.waiting import files_below
from training.network_outputs import DROPOUT_OUTPUTS
from utils.options.schema import fill_defaults
from utils.signals import StoppedBySignal

MAIN = ROOT / "main_al.py"
SHORT = ("--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 2)


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with open(path) as file:
        return list(csv.DictReader(file))


def run_main(*words: Any) -> None:
    """main_al.py in this process; it must succeed."""
    assert main_al.main([str(word) for word in words]) == 0


def assert_same_run(one: Path, other: Path) -> None:
    """Results, picks and the last weights of two runs are identical, to the bit."""
    for name in ("results.csv", "acquired.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    a, b = (load_checkpoint(folder / "checkpoint.pt")["model"] for folder in (one, other))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_first_command_of_the_readme(command, archives, tmp_path):
    """Shortened, on CIFAR-10, with every file of the run folder."""
    done = command(
        "python", MAIN, "--dataset", "cifar10", "--al-method", "uncertainty_entropy", "--split", 0,
        *SHORT, "--data-root", archives,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no terminal: no progress bar
    folders = list(tmp_path.glob("runs/cifar10/budget10/cifar_cnn/uncertainty_entropy/*/split0"))
    assert len(folders) == 1
    names = {path.name for path in folders[0].iterdir()} - {".lease"}
    assert names == {
        "config.json", "environment.json", "results.csv", "timing.csv", "acquired.csv", "log.txt",
        "checkpoint.pt", "checkpoint.before.pt", "classes.txt", "preprocessing.json",
    }  # fmt: skip
    results = rows(folders[0] / "results.csv")
    assert [row["labeled"] for row in results] == ["10", "20"]
    assert list(results[0]) == [
        "cycle", "labeled", "steps", "train_loss", "top1", "top5", "pseudo_labels",
        "pseudo_accuracy", "estimated_accuracy", "estimated_low", "estimated_high",
    ]  # fmt: skip
    acquired = rows(folders[0] / "acquired.csv")
    assert [row["order"] for row in acquired] == [str(i) for i in range(10)]
    timing = rows(folders[0] / "timing.csv")
    assert {row["stage"] for row in timing} == {"train", "evaluate", "select"}
    peaks = [float(row["peak_so_far_mib"]) for row in timing]  # of the process: they only grow
    assert peaks == sorted(peaks)
    config = json.loads((folders[0] / "config.json").read_text())
    assert config["lr"] == 0.2 and config["arch"] == "cifar_cnn" and config["initial_size"] == 10
    (environment,) = json.loads((folders[0] / "environment.json").read_text())["starts"]
    assert environment["device"] == "cpu" and environment["versions"]["torch"]
    assert results[-1]["top1"] in done.stdout and "results.csv" in done.stdout


@pytest.mark.parametrize("dataset", ["mnist", "svhn", "cifar100"])
def test_every_dataset(dataset, archives, tmp_path):
    run_main(
        "--dataset", dataset, "--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 1,
        "--initial-size", 20 if dataset == "cifar100" else 10, "--data-root", archives,
        "--arch", "resnet18", "--al-method", "coreset", "--device", "cpu", "--out", tmp_path,
    )  # fmt: skip


def test_generate_splits(command, archives, home, tmp_path, capsys):
    words = ("--dataset", "cifar10", "--nr-splits", 3, "--split-size", 40, "--data-root", archives)
    script = ROOT / "data" / "generate_splits.py"
    assert generate_splits.main([str(word) for word in words]) == 0
    folder = home / "cifar10" / "40_balanced_labels"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(files) == ["00.txt", "01.txt", "02.txt"]
    capsys.readouterr()
    assert generate_splits.main([str(word) for word in words]) == 0
    assert capsys.readouterr().out.count("already") == 3
    # A pure function of labels, size and number: the folder and the hash seed have no influence.
    env = {**os.environ, "AL_LABELS_ROOT": str(tmp_path / "l"), "PYTHONHASHSEED": "5"}
    done = command("python", script, *words, cwd=ROOT / "data", env=env)
    assert done.returncode == 0, done.stderr
    again = {path.name: path.read_bytes() for path in (tmp_path / "l").rglob("*.txt")}
    assert again == files
    with pytest.raises(SystemExit) as stopped:
        generate_splits.main(["--dataset", "cifar10", "--split-size", "0"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and "--split-size" in error


def test_install_datasets(command, tmp_path):
    script = ROOT / "data" / "install_datasets.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    bad = command("sh", script, "imagenet", env=environment)
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1 and "mnist" in bad.stderr
    (tmp_path / "file").write_text("")
    stuck = command("sh", script, "svhn", "--data-root", tmp_path / "file", env=environment)
    assert stuck.returncode == 1 and stuck.stderr.count("\n") == 1
    assert "svhn" in stuck.stderr and str(tmp_path / "file") in stuck.stderr


def test_runs_are_deterministic_and_options_matter(command, tmp_path):
    def run(name, *more):
        words = ("--run-dir", tmp_path / name, "--al-method", "coreset", *SHORT, *more)
        if name == "other process":
            done = command("python", MAIN, *words)
            assert done.returncode == 0, done.stderr
        else:
            run_main(*words)
        return [(tmp_path / name / f).read_bytes() for f in ("results.csv", "acquired.csv")]

    first = run("this process")
    assert run("other process") == first
    assert run("c", "--seed", 8) != first
    assert run("d", "--finetuning")[0] != first[0]
    assert b"val_top1" in run("e", "--use-val-set")[0]
    steps = run("f", "--steps-per-epoch", 5)[0].decode().splitlines()
    assert [line.split(",")[2] for line in steps[1:]] == ["10", "10"]


def test_finished_runs_are_not_repeated(tmp_path, capsys):
    words = ("--run-dir", tmp_path / "run", *SHORT)
    run_main(*words)
    first = capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.csv")}
    run_main(*words)
    second = capsys.readouterr().out
    assert "Finished before" in second
    assert second.splitlines()[-4:-1] == first.splitlines()[-4:-1]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.csv")}
    run_main(*words, "--resume", "False")
    assert "Finished. Results" in capsys.readouterr().out
    assert (tmp_path / "run.old1" / "results.csv").read_bytes() == (
        tmp_path / "run" / "results.csv"
    ).read_bytes()


def kill_and_resume(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[Any],
    number: int,
    moment: tuple[int, int],
) -> None:
    """A run that is killed and resumed ends with the bytes of an uninterrupted one.

    number: of the checkpoint in whose place the run is killed, from 1.
    moment: cycle and epoch, from 0, of the checkpoint before, from which it resumes."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_main(*words, "--run-dir", whole)
    run_until_checkpoint(number, *words, "--run-dir", killed)
    state = load_checkpoint(killed / "checkpoint.pt")["state"]
    assert (state["cycle"], state["epoch"]) == moment
    capsys.readouterr()
    run_main(*words, "--run-dir", killed)
    assert f"resuming at cycle {moment[0] + 1}, epoch {moment[1]}\n" in capsys.readouterr().out
    assert_same_run(killed, whole)


def run_until_checkpoint(number: int, *words: Any) -> None:
    """main_al.py in a process that is killed just before its checkpoint of this number, from 1, is
    in its place."""
    kill = functools.partial(kill_before, "os.rename", "checkpoint.pt", number)
    assert ForkedCommand(MAIN, *words, prepare=kill).wait() == -signal.SIGKILL


KILLED = {  # options, the checkpoint, and the epoch of the one before it
    "lp": (
        "--epochs 8 --steps-per-epoch 5 --add-lp --lp-step 3 --loss-type kl --checkpoint-epochs 2",
        8,
        4,
    ),
    "averaged": ("--epochs 40 --ema 0.9 --al-method coreset --checkpoint-epochs 5", 13, 15),
}  # tests/stress has more: pre-training, CEAL, fine-tuning


@pytest.mark.parametrize("kind", KILLED)
def test_a_killed_run_resumes_with_the_same_bytes(tmp_path, capsys, kind):
    """Killed within the second cycle; with LP between two propagations."""
    options, number, epoch = KILLED[kind]
    words = ["--al-budget", 20, "--al-nb-cycles", 3, "--device", "cpu", *options.split()]
    words += ["--dataset", "arrays", "--data-root", write_array_file(tmp_path / "few.npz")]
    words += ["--arch", "small_cnn"]
    kill_and_resume(tmp_path, capsys, words, number, (1, epoch))


def test_a_run_can_stop_between_query_and_answer(tmp_path, monkeypatch):
    """In every cycle: the checkpoint holds the queries, and a resumed run makes the same ones."""
    words = [*SHORT, "--al-nb-cycles", 3, "--al-method", "coreset", "--device", "cpu"]
    run_main(*words, "--run-dir", tmp_path / "whole")
    queries, query_labels = [], active_dataset.Oracle.query_labels

    def answer_repeated_queries(self, indices):
        """Stops the run when a query comes for the first time."""
        queries.append(indices.tolist())
        if queries.count(queries[-1]) == 1:
            raise StoppedBySignal(signal.SIGINT)
        return query_labels(self, indices)

    monkeypatch.setattr(active_dataset.Oracle, "query_labels", answer_repeated_queries)
    stopped = tmp_path / "stopped"
    for cycle in range(3):
        assert main_al.main([*map(str, words), "--run-dir", str(stopped)]) == 130
        state = from_dict(load_checkpoint(stopped / "checkpoint.pt")["state"])
        assert state.cycle == cycle and state.queried.tolist() == queries[-1]
        assert len(state.pool.labeled_order) == 10 * cycle and state.targets is None
    run_main(*words, "--run-dir", stopped)
    assert_same_run(stopped, tmp_path / "whole")


@pytest.mark.parametrize("training", ["--al-method coreset --ema 0.9", "--add-ceal --ceal-th 0.9"])
def test_more_cycles_of_a_finished_run(tmp_path, capsys, training):
    """Two cycles extended to three end with the bytes of three; fewer cycles are already done."""
    words = [*SHORT, *training.split(), "--device", "cpu"]
    whole, extended = tmp_path / "whole", tmp_path / "extended"
    for cycles, folder in ((3, whole), (2, extended), (3, extended)):
        run_main(*words, "--al-nb-cycles", cycles, "--run-dir", folder)
    assert_same_run(extended, whole)
    capsys.readouterr()
    run_main(*words, "--al-nb-cycles", 2, "--run-dir", extended)
    assert "Finished before" in capsys.readouterr().out


def test_a_run_killed_while_pretraining_resumes(tmp_path, capsys):
    words = [*SHORT, "--add-unsupervised-pretraining", "--pretraining-epochs", 3]
    words += ["--checkpoint-epochs", 1, "--device", "cpu"]
    words += ["--dataset", "arrays", "--data-root", write_array_file(tmp_path / "few.npz")]
    words += ["--arch", "small_cnn"]
    tables = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        if name == "killed":
            run_until_checkpoint(2, *words, "--out", folder)
            assert files_below(folder / "pretrained", "checkpoint.pt")
        capsys.readouterr()
        run_main(*words, "--out", folder)
        assert ("from epoch 0" in capsys.readouterr().out) == (name == "whole")
        paths = sorted(path for path in folder.rglob("*.csv") if path.name != "timing.csv")
        tables.append([path.read_bytes() for path in paths])
    assert tables[0] == tables[1] and len(tables[0]) == 3
    # Another split and another method share the weights.
    run_main(*words, "--out", tmp_path / "whole", "--split", 1, "--al-method", "coreset")
    out = capsys.readouterr().out
    assert "pre-trained weights: " in out and "neighbours" in out


@pytest.mark.parametrize(
    "training", ["", "--add-lp", "--add-ceal", "--add-fixmatch --steps-per-epoch 3"]
)
@pytest.mark.parametrize("start", ["", "--add-unsupervised-pretraining"])
def test_every_combination(training, start, tmp_path, monkeypatch, capsys):
    """Every method with every way to train and to start, on few images."""
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    images = np.uint8(digits.images[:150] * 15)
    np.savez("few.npz", images=images, labels=digits.target[:150])
    words = ["--dataset", "arrays", "--data-root", "few.npz", *map(str, SHORT)]
    words += ["--epochs", "1", *training.split(), *start.split()]
    if start:
        words += ["--pretraining-epochs", "1"]
    for name, method in METHODS.items():
        needs = component_needs(fill_defaults(SCHEMA, {}), method)
        dropout = ["--head-dropout", "0.3"] if DROPOUT_OUTPUTS & set(needs) else []
        if "pretrained_features" in needs and not start:
            with pytest.raises(SystemExit):
                main_al.main([*words, "--al-method", name])
            continue
        assert main_al.main([*words, "--al-method", name, *dropout]) == 0
        flags = training.split(" ")[0].replace("--add-", "_with_")
        flags += "_pretrained" if start else ""
        folders = list(tmp_path.glob(f"runs/arrays/budget10/sized_cnn/{name}{flags}/*/split0"))
        assert len(folders) == 1
        results = rows(folders[0] / "results.csv")
        assert len(results) == 2 and ((int(results[0]["pseudo_labels"]) > 0) == ("lp" in training))
        for row in results:
            assert bool(row["pseudo_accuracy"]) == (int(row["pseudo_labels"]) > 0)
    assert len(list(tmp_path.glob("runs/pretrained/**/weights.pt"))) == bool(start)


@pytest.mark.parametrize(
    "more",
    [
        "--lp-mode full --weighted-unlabeled-batch --is-cW --is-pW False",
        "--lp-mode certain --tau 0.3 --loss-type kl --b 64",
        "--lp-mode uniform --lp-percent 0.2 --steps-per-epoch 3 --use-val-set",
    ],
)
def test_options_of_label_propagation(more, tmp_path):
    run_main("--run-dir", tmp_path / "run", *SHORT, "--add-lp", *more.split())


@pytest.mark.parametrize(
    "training",
    [
        "--add-lp True --b 32 --labeled-batch-size 12 --steps-per-epoch 1",
        "--add-ceal True",
        "--add-unsupervised-pretraining True --pretraining-epochs 1 --al-nb-cycles 1",
    ],
)
def test_training_on_the_unlabeled_images(training, archives, tmp_path, monkeypatch, capfd):
    """Shortened, on CIFAR-10, with the paper's network."""
    monkeypatch.chdir(tmp_path)
    cifar = ("--dataset", "cifar10", "--al-method", "uncertainty_entropy", "--split", 0)
    short = ("--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 1, "--data-root", archives)
    run_main(*cifar, *short, *training.split())
    assert capfd.readouterr().err == ""


def test_progress_bars_on_a_terminal(tmp_path):
    """The bar is shown on a pseudo-terminal; every other test runs without one."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    data = write_array_file(tmp_path / "few.npz")
    words = [sys.executable, MAIN, "--run-dir", tmp_path / "run", *map(str, SHORT)]
    words += ["--dataset", "arrays", "--data-root", data]
    process = subprocess.Popen(words, stdout=follower, stderr=follower)
    os.close(follower)
    output = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # Linux reports a closed other end like this
            break
        if not chunk:
            break
        output += chunk
    assert process.wait() == 0
    assert b"cycle 1: train" in output and b"loss" in output
