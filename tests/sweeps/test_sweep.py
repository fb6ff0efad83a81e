"""Sweeps: the runs that a file and options stand for, local workers, SLURM and Dask."""

import csv
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import main_al
import sweep
from experiment.config import SCHEMA
from sweeps import plan, runner, yaml_file
from sweeps.plan import PlannedRun, RunOutcome
from sweeps.progress import ProgressLine
from sweeps.values import options_by_name
from sweeps.yaml_file import Setting, SweepAxis
from tests.commands.test_main_al import MAIN, assert_same_run
from tests.conftest import ROOT
from tests.forked import ForkedCommand
from tests.stress.cluster import kill_workers
from tests.utils.test_signals import reset_handlers
from tests.waiting import current_leases, files_below, wait_for
from utils.errors import UserError
from utils.lease import FolderInUse, Lease
from utils.options.schema import build_parser, parse_options

SWEEP = ROOT / "sweep.py"
METHODS = ("random", "uncertainty_entropy", "coreset", "jlp")
SHORT = ["--al-budget", "10", "--al-nb-cycles", "2", "--epochs", "2", "--arch", "small_cnn"]
PARSER = build_parser(SCHEMA, prog="main_al.py", description="", epilog="")


def parse_argv(*argv: object) -> dict[str, Any]:
    """All options as main_al.py parses these arguments."""
    return parse_options(PARSER, SCHEMA, [str(word) for word in argv]).as_dict()


def plan_runs(path: Path | None, **texts: list[str]) -> list[PlannedRun]:
    """The runs of a sweep file with these options of the command line."""
    common: Setting = {}
    axes: list[SweepAxis] = []
    if path:
        common, axes = yaml_file.read_sweep_file(path, options_by_name(SCHEMA))
    return plan.expand_grid(common, axes, plan.axes_from_command_line(texts))


def start_sweep(folder: Path | str, *argv: object, **settings: Any) -> subprocess.Popen:
    """Starts sweep.py with its runs below a folder."""
    command = [sys.executable, SWEEP, "--out", folder, *argv]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(list(map(str, command)), preexec_fn=reset_handlers, **pipes, **settings)


def run_folder(out: Path, split: int) -> Path:
    (path,) = out.glob(f"digits/*/*/*/*/split{split}")
    return path


@pytest.fixture
def write_sweep_file(tmp_path):
    """Writes a sweep file with this text and returns its path."""

    def write(text):
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return path

    return write


def sort_as_json(all_options: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(json.dumps(options, sort_keys=True) for options in all_options)


def assert_runs_equal(runs: list[PlannedRun], commands: list[str]) -> None:
    """The runs are, in any order, those of these arguments of main_al.py."""
    assert sort_as_json(run.options.as_dict() for run in runs) == sort_as_json(
        parse_argv(*argv.split()) for argv in commands
    )


def test_options_with_several_values():
    runs = plan_runs(
        None, al_method=["random", "coreset"], split=["0-2", "7"], add_lp=["False", "True"]
    )
    combinations = itertools.product(("random", "coreset"), (0, 1, 2, 7), (False, True))
    assert [run.argv for run in runs] == [
        ("--al-method", method, "--split", str(split), "--add-lp", str(lp))
        for method, split, lp in combinations
    ]
    assert all(run.options.as_dict() == parse_argv(*run.argv) for run in runs)
    assert [run.options.add_ceal for run in plan_runs(None, add_ceal=[])] == [True]
    (run,) = plan_runs(None, out=["0-4"])  # not a range, because --out accepts any text
    assert run.options.out == "0-4"


def test_command_line_overrides_the_file(write_sweep_file):
    path = write_sweep_file(
        """
        options: {al-budget: 10, epochs: 9}
        product:
          split: 0-1
          panel: [{arch: small_cnn}, {arch: sized_cnn}]
        runs:
          - al_method: [random, jlp]
          - {al_method: coreset, add_ceal: yes, epochs: 5}
        """
    )
    endings = ("--epochs 9 --al-method random", "--epochs 9 --al-method jlp")
    endings += ("--epochs 5 --al-method coreset --add-ceal",)
    commands = [
        f"--al-budget 10 --split {split} --arch {arch} {ending}"
        for split, arch, ending in itertools.product((0, 1), ("small_cnn", "sized_cnn"), endings)
    ]
    assert_runs_equal(plan_runs(path), commands)
    # Runs that become equal by the options of the command line are planned once.
    runs = plan_runs(path, split=["5"], al_method=["bald"], head_dropout=["0.1"], epochs=["2"])
    start = "--al-budget 10 --split 5 --al-method bald --head-dropout 0.1 --epochs 2 --arch"
    commands = [
        f"{start} {arch} {ceal}"
        for arch in ("small_cnn", "sized_cnn")
        for ceal in ("", "--add-ceal")
    ]
    assert_runs_equal(runs, commands)


def test_shipped_sweep_files():
    pre = "--add-unsupervised-pretraining"
    deepcluster = f"{pre} --pretraining-method deepcluster"
    study = (
        "--dataset digits --arch small_cnn --al-budget 10 --al-nb-cycles 5 --out study_deepcluster"
    )
    trainings = ("", deepcluster, "--add-lp", "--add-ceal", f"{deepcluster} --add-lp")
    commands = [
        f"{study} --al-method {method} --split {split} {training}"
        for method, split, training in itertools.product(METHODS, range(5), trainings)
    ]
    path = ROOT / "scripts" / "studies" / "study_deepcluster.yaml"
    assert_runs_equal(plan_runs(path), commands)
    lp = "--add-lp --b 128 --labeled-batch-size 50"
    panels = (("svhn", 100), ("cifar10", 100), ("cifar10", 1000), ("cifar100", 1000))
    commands = [
        f"--dataset {name} --al-budget {b} --al-nb-cycles 5 --out figure {training} "
        f"--al-method {method} --split {split}"
        for (name, b), training, method, split in itertools.product(
            panels, ("", pre, lp, f"{pre} {lp}", "--add-ceal"), METHODS, range(5)
        )
    ]
    assert_runs_equal(plan_runs(ROOT / "scripts" / "reproduce_figure.yaml"), commands)


@pytest.mark.parametrize(
    "text, line, keywords",
    [
        ("options:\n  al_metod: x", 2, "al_metod|did you mean al_method?"),
        ("options:\n  al_budget: 0", 2, "--al-budget: '0'|at least 1"),
        ("product:\n  split:\n  - 1\n  - x", 4, "--split: 'x'|whole number"),
        ("product:\n  split: 4-1", 2, "--split: '4-1'|whole number"),
        ("product: {al_budget: 0-3}", 1, "--al-budget: '0'"),
        ("product: {split: 0-99999999}", 1, "--split: '0-99999999'"),
        ("product: {split: 0-9999, seed: 0-9}", None, "100000 runs|10000"),
        ("runs:\n- {}\n- add_lp: true\n  add_ceal: true", 3, "--add-lp|--add-ceal"),
        ("options:\n  ceal_th: 0.2\nruns:\n- {}", 2, "--ceal-th|has no effect|--add-ceal"),
        ("options: {split: 0-3}", 1, "split|several values|product"),
        ("options: {split: 1}\nproduct: {split: [a]}", 2, "--split: 'a'"),
        ("product: {split: 0-3}\nruns:\n- split: 4", 3, "split|another list|line 1"),
        ("options: {b: 3, batch_size: 4}", 1, "batch_size|twice|b"),
        ("options: {seed: 3, seed: 4}", 1, "seed|twice"),
        ("options: {run_dir: x}\nproduct: {split: 0-1}", 2, "two runs|folder|split"),
        ("product: {al_nb_cycles: [4, 5]}", 1, "two runs|folder|al_nb_cycles"),
        ("options: {seed: [[1]]}", 1, "seed|a value or a list"),
        ("product: {split: []}", 1, "split|a value or a list"),
        ("runs: {add_lp: true}", 1, "a list of options"),
        ("optoins: {}", 1, "optoins|options, product, runs"),
        ("- 1", 1, "a mapping|options, product, runs"),
        ("options: {seed: &a [*a]}", 1, "seed|a value or a list"),
        ("options:\n  [1", 2, "not YAML"),
        ("", "", "empty"),
        ("\0", "", "not YAML"),
    ],
)
def test_mistake_in_a_file_is_reported_with_its_location(text, line, keywords, write_sweep_file):
    """line: None where the message names no file, "" where it names no line."""
    path = write_sweep_file(text)
    with pytest.raises(UserError) as caught:
        plan_runs(path)
    message = str(caught.value)
    if line is not None:
        assert message.startswith(f"{path}, line {line}: " if line else f"{path}: ")
    assert all(keyword in message for keyword in keywords.split("|"))


@pytest.mark.parametrize(
    "argv, keywords",
    [
        ("", "a file|options|--help"),
        ("missing.yaml", "no file missing.yaml"),
        ("--jobs 0 --split 1", "--jobs: '0'|at least 1"),
        ("--al-method random oracle", "--al-method: 'oracle'|random"),
        ("--splt 1", "--splt: did you mean --split?"),
        ("--split 1 --dry-run --slurm", "--slurm|--dry-run"),
        ("--dask 127.0.0.1:9 --jobs 3 --split 0", "--jobs|--gpus|no effect|--dask"),
    ],
)
def test_bad_arguments(argv, keywords, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        status = sweep.main(argv.split())
    except SystemExit as error:
        status = error.code
    line = capsys.readouterr().err
    assert status == 2 and line.count("\n") == 1 and line.startswith("sweep.py: error: ")
    assert all(keyword in line for keyword in keywords.split("|"))
    assert not list(tmp_path.iterdir())


def test_dry_run_prints_commands_of_main_al(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    argv = ["--split", "3-4", "--exp-name", "two words", "--wd", "1e-4", "--dry-run"]
    assert sweep.main(argv) == 0
    out, err = capsys.readouterr()
    commands = [shlex.split(line) for line in out.splitlines()]
    assert err == "2 runs: 2 to do\n" and len(commands) == 2
    for split, (_, main, *rest) in zip((3, 4), commands, strict=True):
        assert main == str(MAIN)
        expected = parse_argv("--split", split, "--exp-name", "two words", "--wd", 1e-4)
        assert parse_argv(*rest) == expected


def test_value_that_begins_with_a_dash():
    """main_al.py takes it only together with the name of the option."""
    (run,) = plan_runs(None, exp_name=["-a"])
    assert parse_argv(*run.argv)["exp_name"] == "-a"


def test_too_many_runs_are_refused_before_they_are_listed(write_sweep_file):
    """Of 10^8 runs, the list alone would fill the memory."""
    text = "runs:\n  - {split: 0, seed: 1}\n  - {split: 0-9999, seed: 0-9999}\n"
    with pytest.raises(UserError, match=r"line 3: 100000001 runs are more than 10000"):
        plan_runs(write_sweep_file(text))


def test_run_that_waits_for_labels_has_not_failed(tmp_path):
    """One of two runs has waited and been answered before, so it is finished by the sweep."""
    options = [*SHORT, "--al-nb-cycles", "1", "--oracle", "file", "--initial", "random"]
    assert main_al.main(["--out", str(tmp_path), "--split", "0", *options]) == 3
    answers = "".join(f"{i},0\n" for i in read_query_indices(run_folder(tmp_path, 0)))
    (run_folder(tmp_path, 0) / "labels.csv").write_text(answers)
    process = ForkedCommand(
        SWEEP, "--out", tmp_path, "--split", "0-1", *options, "--jobs", 2, cwd=tmp_path
    )
    _, err = process.communicate()
    assert process.returncode == 3 and "2 runs: 1 finished, 1 wait for labels" in err
    assert str(run_folder(tmp_path, 1) / "queries.html") in err
    assert not (tmp_path / "failed").exists()


def read_query_indices(folder: Path) -> list[str]:
    with open(folder / "queries.csv", newline="") as file:
        return [row["index"] for row in csv.DictReader(file)]


def test_local_workers_give_the_same_bytes_as_main_al(command, tmp_path, capsys, monkeypatch):
    """With two threads per run, so that OpenMP starts threads after the fork.  A failed run stops
    no other, is reported, and is repeated only on demand."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    environment["AL_DATA_ROOT"] = str(tmp_path / "none")
    pool, alone = tmp_path / "pool", tmp_path / "alone"
    training = ("--al-method", "coreset", "--add-lp")
    argv = ("--split", "0-1", *SHORT, *training, "--dataset", "svhn", "digits", "--jobs", 2)
    process = start_sweep(pool, *argv, env=environment)
    _, err = process.communicate()
    assert process.returncode == 1 and "4 runs: 2 finished, 2 failed" in err
    assert err.count("failed with status 2: ") == err.count("svhn is not in") == 2
    logs = sorted((pool / "failed").iterdir())
    assert len(logs) == 2 and "svhn is not in" in logs[0].read_text()
    done = command("python", MAIN, "--out", alone, "--split", 1, *SHORT, *training, env=environment)
    assert done.returncode == 0, done.stderr
    assert_same_run(run_folder(pool, 1), run_folder(alone, 1))
    (start,) = json.loads((run_folder(pool, 1) / "environment.json").read_text())["starts"]
    assert start["threads"] == 2 and start["command"][0] == str(MAIN)
    # Finished and failed runs are recognised without starting a process.
    monkeypatch.setenv("AL_DATA_ROOT", environment["AL_DATA_ROOT"])
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    dry_run = list(map(str, ("--out", pool, *argv, "--dry-run")))
    assert sweep.main(dry_run) == 0
    out, err = capsys.readouterr()
    assert out == "" and "4 runs: 0 to do, 2 finished before, 2 failed before" in err
    assert sweep.main([*dry_run, "--retry-failed"]) == 0
    assert capsys.readouterr().out.count("--dataset svhn") == 2
    assert sweep.main(dry_run[:-1]) == 1  # nothing is executed, but failed runs remain


def test_stopped_or_killed_sweep_stops_its_runs(tmp_path):
    """Ctrl-C is passed on to the runs; after kill -9 of the sweep they notice and stop.  The next
    sweep resumes both from their checkpoints."""
    argv = ("--split", "0-2", "--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 4000, "--jobs", 2)
    argv += ("--checkpoint-epochs", 5)
    for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = ForkedCommand(SWEEP, "--out", tmp_path, *argv)
        wait_for(lambda: len(current_leases(tmp_path)) == 2, process)
        wait_for(lambda: len(files_below(tmp_path, "checkpoint.pt")) == 2, process)
        if number == signal.SIGKILL:
            wait_for(lambda: all("resuming" in log.read_text() for log in logs(tmp_path)), process)
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
        assert process.returncode == status
        if number == signal.SIGINT:
            assert "sweep.py: stopped by SIGINT" in err and err.count("\n") == 1
            assert not current_leases(tmp_path)
        wait_for(lambda: not current_leases(tmp_path))
    assert len(logs(tmp_path)) == 2  # the third run was never started


def logs(out: Path) -> list[Path]:
    return files_below(out, "log.txt")


class FakePool:
    """A pool whose runs end at once with the given (exit status, output), in order."""

    has_free_slot = True

    def __init__(self, *outcomes: tuple[int, str]):
        self.outcomes = list(outcomes)
        self.active_runs: list[PlannedRun] = []

    def start_run(self, planned: PlannedRun) -> None:
        self.active_runs.append(planned)

    def collect_outcomes(self, timeout: float) -> list[RunOutcome]:
        ended, self.active_runs = self.active_runs, []
        return [RunOutcome(run, *self.outcomes.pop(0)) for run in ended]

    def stop_all(self, number: int) -> None:
        raise AssertionError(f"the sweep was stopped by signal {number}")

    def close(self) -> None:
        assert not self.active_runs


def execute(pool: FakePool, run: PlannedRun) -> tuple[int, int]:
    """Numbers of failed runs and of runs that wait for labels."""
    return runner.SweepRunner(pool, [run], ProgressLine(1)).run_all()


def test_run_in_use_is_tried_again_and_failed_run_is_not(tmp_path, monkeypatch, capsys):
    (run,) = plan_runs(None, run_dir=[str(tmp_path / "run")])
    with Lease(tmp_path / "run", "run folder"), pytest.raises(FolderInUse) as caught:
        Lease(tmp_path / "run", "run folder")
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0)
    in_use = (FolderInUse.exit_code, f"log\nmain_al.py: error: {caught.value}\n")
    pool = FakePool(in_use, in_use, (0, "done\n"))
    assert execute(pool, run) == (0, 0) and not pool.outcomes
    assert not run.log_path.exists() and capsys.readouterr().err == ""
    assert execute(FakePool((1, "main_al.py: error: 'a is in use by b' is full\n")), run) == (1, 0)
    assert execute(FakePool((-9, "")), run) == (1, 0)
    assert "status -9" in capsys.readouterr().err and run.log_path.exists()
    assert runner.select_pending_runs([run], retry_failed=False) == ([], [run])
    assert runner.select_pending_runs([run], retry_failed=True) == ([run], [])
    assert execute(FakePool((0, "")), run) == (0, 0)
    assert not run.log_path.exists()


def test_slurm_script(command, tmp_path, monkeypatch, capsys):
    """bash accepts the script, and a task of it executes its run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert sweep.main(["--out", "a b", "--split", "0-2", *SHORT, "--slurm"]) == 0
    text = capsys.readouterr().out
    script = tmp_path / "array.sh"
    script.write_text(text)
    assert command("bash", "-n", script).returncode == 0
    assert "#SBATCH --array=0-2\n" in text and text.startswith("#!/bin/bash\n")
    task = {**os.environ, "SLURM_ARRAY_TASK_ID": "1", "SLURM_CPUS_PER_TASK": "1"}
    done = command("bash", script, cwd="/", env=task)
    assert done.returncode == 0, done.stderr
    assert run_folder(tmp_path / "a b", 1)
    beyond = command("bash", script, env={**task, "SLURM_ARRAY_TASK_ID": "3"})
    assert beyond.returncode == 2 and "no run 3: 0 to 2" in beyond.stderr


def test_dask(tmp_path):
    """A worker and then the driver are killed; the same command executes what remains."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    kill_workers(1, seed=7, epochs=150, num_runs=2)
