"""The commands of the README as subprocesses, on tiny data: what they leave, and how they go on."""

import csv
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import torch

import main_al
from al_methods import METHODS
from data import active_dataset
from data.state import from_dict
from experiment.checkpoint import load_checkpoint
from tests.conftest import ROOT
from tests.waiting import below, wait_for
from training.network_outputs import DROPOUT_OUTPUTS
from utils.options.option import asked
from utils.signals import StoppedBySignal

MAIN = ROOT / "main_al.py"
SHORT = ("--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 2)


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_seed_command_on_cifar10(command, archives, tmp_path):
    """The readme's first command, shortened, with every file of SPEC's run folder."""
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
        "pseudo_accuracy",
    ]  # fmt: skip
    acquired = rows(folders[0] / "acquired.csv")
    assert [row["order"] for row in acquired] == [str(i) for i in range(10)]
    timing = rows(folders[0] / "timing.csv")
    assert {row["stage"] for row in timing} == {"train", "evaluate", "select"}
    peaks = [float(row["peak_so_far_mib"]) for row in timing]  # the process's: it only grows
    assert peaks == sorted(peaks)
    config = json.loads((folders[0] / "config.json").read_text())
    assert config["lr"] == 0.2 and config["arch"] == "cifar_cnn" and config["initial_size"] == 10
    (environment,) = json.loads((folders[0] / "environment.json").read_text())["starts"]
    assert environment["device"] == "cpu" and environment["versions"]["torch"]
    assert results[-1]["top1"] in done.stdout and "results.csv" in done.stdout


@pytest.mark.parametrize("dataset", ["mnist", "svhn", "cifar100"])
def test_every_dataset_through_the_script(dataset, command, archives):
    split = ("--initial-size", 20) if dataset == "cifar100" else ()
    done = command(
        "python", MAIN, "--dataset", dataset, "--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 1,
        *split, "--data-root", archives, "--arch", "resnet18", "--al-method", "coreset",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_generate_splits(command, archives, home, tmp_path):
    words = ("--dataset", "cifar10", "--nr-splits", 3, "--split-size", 40, "--data-root", archives)
    script = ROOT / "data" / "generate_splits.py"
    done = command("python", script, *words)
    assert done.returncode == 0, done.stderr
    folder = home / "cifar10" / "40_balanced_labels"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(files) == ["00.txt", "01.txt", "02.txt"]
    assert (
        command("python", script, *words, cwd=ROOT / "data").stdout.count("is there already") == 3
    )
    # A pure function of labels, size and number: not of the hash seed, not of the folder.
    other = {**os.environ, "AL_LABELS_ROOT": str(tmp_path / "l"), "PYTHONHASHSEED": "5"}
    assert command("python", script, *words, env=other).returncode == 0
    again = {path.name: path.read_bytes() for path in (tmp_path / "l").rglob("*.txt")}
    assert again == files
    bad = command("python", script, "--dataset", "cifar10", "--split-size", 0)
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1 and "--split-size" in bad.stderr


def test_install_datasets(command, tmp_path):
    script = ROOT / "data" / "install_datasets.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    bad = command("sh", script, "imagenet", env=environment)
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1 and "choose from mnist" in bad.stderr
    (tmp_path / "file").write_text("")
    stuck = command("sh", script, "svhn", "--data-root", tmp_path / "file", env=environment)
    assert stuck.returncode == 1 and stuck.stderr.count("\n") == 1
    assert "svhn could not be downloaded" in stuck.stderr


def test_two_runs_are_the_same_to_the_byte_and_options_matter(command, tmp_path):
    def run(name, *more):
        words = ("--run-dir", tmp_path / name, "--al-method", "coreset", *SHORT, *more)
        if name in "ab":  # a process each; the others' start is saved
            done = command("python", MAIN, *words)
            assert done.returncode == 0, done.stderr
        else:
            assert main_al.main([str(word) for word in words]) == 0
        return [(tmp_path / name / f).read_bytes() for f in ("results.csv", "acquired.csv")]

    first = run("a")
    assert run("b") == first
    assert run("c", "--seed", 8) != first
    assert run("d", "--finetuning")[0] != first[0]
    assert b"val_top1" in run("e", "--use-val-set")[0]
    steps = run("f", "--steps-per-epoch", 5)[0].decode().splitlines()
    assert [line.split(",")[2] for line in steps[1:]] == ["10", "10"]


def test_finished_runs_are_not_repeated(command, tmp_path):
    words = ("python", MAIN, "--run-dir", "run", *SHORT)
    first = command(*words)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.csv")}
    second = command(*words)
    assert second.returncode == 0 and "Finished before" in second.stdout
    assert second.stdout.splitlines()[-4:-1] == first.stdout.splitlines()[-4:-1]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.csv")}
    anew = command(*words, "--resume", "False")
    assert anew.returncode == 0 and "Finished. Results" in anew.stdout
    assert (tmp_path / "run.old1" / "results.csv").read_bytes() == (
        tmp_path / "run" / "results.csv"
    ).read_bytes()


def kill_and_resume(tmp_path, words, at):
    """Run `words` twice: once through, once killed when the state is as `at` wants it."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = [sys.executable, str(MAIN), *map(str, words)]
    done = subprocess.run([*words, "--run-dir", whole], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen([*words, "--run-dir", killed], stdout=subprocess.DEVNULL)
    path = killed / "checkpoint.pt"
    wait_for(lambda: path.exists() and at(load_checkpoint(path)["state"]), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run([*words, "--run-dir", killed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on from cycle" in done.stdout
    assert_same_run(killed, whole)


def assert_same_run(one, other):
    """Results, picks and the last weights, to the bit."""
    for name in ("results.csv", "acquired.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    a, b = (load_checkpoint(folder / "checkpoint.pt")["model"] for folder in (one, other))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


KILLED = {  # test_torture.py has more: pre-training, CEAL, fine-tuning
    "lp": "--epochs 14 --add-lp --lp-step 3 --loss-type kl",
    "averaged": "--epochs 40 --ema 0.9 --al-method coreset",
}


@pytest.mark.parametrize("kind", KILLED)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, kind):
    """Killed within cycle 1: with LP between two propagations, with CEAL training on its labels."""
    words = ["--al-budget", 20, "--al-nb-cycles", 3, "--checkpoint-epochs", 5]
    words += KILLED[kind].split()
    kill_and_resume(tmp_path, words, lambda s: s["cycle"] == 1 and s["epoch"] >= 10)


def test_a_run_may_stop_between_asking_and_answering(tmp_path, monkeypatch):
    """The first labels and later ones: what is asked for is in the checkpoint, and asked again."""
    words = [*map(str, SHORT), "--al-nb-cycles", "3", "--al-method", "coreset", "--device", "cpu"]
    assert main_al.main([*words, "--run-dir", str(tmp_path / "whole")]) == 0
    asked, answers = [], active_dataset.Oracle.query_labels

    def on_request(self, indices):
        """Answers only the second time that the same is asked for."""
        asked.append(indices.tolist())
        if asked.count(asked[-1]) == 1:
            raise StoppedBySignal(signal.SIGINT)
        return answers(self, indices)

    monkeypatch.setattr(active_dataset.Oracle, "query_labels", on_request)
    stopped = tmp_path / "stopped"
    for cycle in range(3):
        assert main_al.main([*words, "--run-dir", str(stopped)]) == 130
        state = from_dict(load_checkpoint(stopped / "checkpoint.pt")["state"])
        assert state.cycle == cycle and state.queried.tolist() == asked[-1]
        assert len(state.pool.labeled_order) == 10 * cycle and state.targets is None
    assert main_al.main([*words, "--run-dir", str(stopped)]) == 0
    assert_same_run(stopped, tmp_path / "whole")


def test_more_cycles_of_a_finished_run(tmp_path, capsys):
    """Two cycles, then three, end with the bytes of three; fewer are there already."""
    for training in ("--al-method coreset --ema 0.9", "--add-ceal --ceal-th 0.9"):
        words = [*map(str, SHORT), *training.split(), "--device", "cpu"]
        whole, grown = (str(tmp_path / training[2:7] / name) for name in ("whole", "grown"))
        for cycles, folder in ((3, whole), (2, grown), (3, grown)):
            assert main_al.main([*words, "--al-nb-cycles", str(cycles), "--run-dir", folder]) == 0
        assert_same_run(Path(grown), Path(whole))
        capsys.readouterr()
        assert main_al.main([*words, "--al-nb-cycles", "2", "--run-dir", grown]) == 0
        assert "Finished before" in capsys.readouterr().out


def test_a_run_killed_while_pretraining_goes_on(tmp_path):
    words = [sys.executable, str(MAIN), *map(str, SHORT), "--add-unsupervised-pretraining"]
    words += ["--pretraining-epochs", "10", "--checkpoint-epochs", "2"]
    results = []
    for name in ("whole", "killed"):
        run = [*words, "--out", str(tmp_path / name)]
        if name == "killed":
            process = subprocess.Popen(run, stdout=subprocess.DEVNULL)
            weights = tmp_path / "killed" / "pretrained"
            wait_for(lambda: below(weights, "checkpoint.pt"), process)  # noqa: B023
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = subprocess.run(run, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("from epoch 0" in done.stdout) == (name == "whole")
        results.append([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.csv"))
                        if path.name != "timing.csv"])  # fmt: skip
    assert results[0] == results[1] and len(results[0]) == 3
    # Another split and another method share the weights.
    other = [*words, "--out", str(tmp_path / "whole"), "--split", "1", "--al-method", "coreset"]
    done = subprocess.run(other, capture_output=True, text=True)
    assert done.returncode == 0 and "pre-trained weights: " in done.stdout
    assert " of the neighbours stay in a strong view " in done.stdout


@pytest.mark.parametrize(
    "training", ["", "--add-lp", "--add-ceal", "--add-fixmatch --steps-per-epoch 3"]
)
@pytest.mark.parametrize("start", ["", "--add-unsupervised-pretraining"])
def test_every_combination(training, start, tmp_path, monkeypatch, capsys):
    """Every method, way to train and start; in one process, to save its own start."""
    monkeypatch.chdir(tmp_path)
    words = [*map(str, SHORT), *training.split(), *start.split()]
    if start:
        words += ["--pretraining-epochs", "1"]
    for method, row in METHODS.items():
        more = ["--head-dropout", "0.3"] if DROPOUT_OUTPUTS & set(asked(row.needs, {})) else []
        if "pretrained_features" in asked(row.needs, {}) and not start:
            with pytest.raises(SystemExit):
                main_al.main([*words, "--al-method", method])
            continue
        assert main_al.main([*words, "--al-method", method, *more]) == 0
        flags = training.split(" ")[0].replace("--add-", "_with_")
        flags += "_pretrained" if start else ""
        folders = list(tmp_path.glob(f"runs/digits/budget10/sized_cnn/{method}{flags}/*/split0"))
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
    words = ["--run-dir", str(tmp_path / "run"), *map(str, SHORT), "--add-lp", *more.split()]
    assert main_al.main(words) == 0


def test_seed_commands_that_train_on_the_unlabeled_images(command, archives):
    """The readme's, shortened: on CIFAR-10, with the paper's network."""
    cifar = ("--dataset", "cifar10", "--al-method", "uncertainty_entropy", "--split", 0)
    short = ("--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 1, "--data-root", archives)
    for more in (
        ("--add-lp", "True", "--b", 128, "--labeled-batch-size", 50, "--steps-per-epoch", 1),
        ("--add-ceal", "True"),
        ("--add-unsupervised-pretraining", "True", "--pretraining-epochs", 1),
    ):
        done = command("python", MAIN, *cifar, *short, *more)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def test_progress_bars_on_a_terminal(tmp_path):
    """Under a pseudo-terminal the bar shows; without one (every other test) nothing does."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    words = [sys.executable, MAIN, "--run-dir", tmp_path / "run", *map(str, SHORT)]
    process = subprocess.Popen(words, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait() == 0
    assert b"cycle 1: train" in shown and b"loss" in shown
