"""Sweeps: which runs a file and options mean, the pool's processes, SLURM's script, Dask."""

import csv
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

import sweep
from experiment.config import option_schema
from sweeps import plan, runner, yaml_file
from sweeps.plan import RunOutcome
from sweeps.progress import ProgressLine
from sweeps.values import options_by_name
from tests.commands.test_main_al import MAIN, assert_same_run
from tests.conftest import ROOT
from tests.stress.cluster import cluster_kills
from tests.utils.test_signals import hear
from tests.waiting import below, held, wait_for
from utils.errors import UserError
from utils.lease import FolderInUse, Lease
from utils.options.schema import build_parser, parse_options

SWEEP = ROOT / "sweep.py"
PARSER = build_parser(option_schema(), prog="main_al.py", description="", epilog="")


def parsed(*words):
    """All options, as main_al.py has them of these words."""
    return parse_options(PARSER, option_schema(), [str(word) for word in words])


METHODS = ("random", "uncertainty_entropy", "coreset", "jlp")


def planned(path, **given):
    common, axes = (
        yaml_file.read_sweep_file(path, options_by_name(option_schema())) if path else ({}, [])
    )
    return plan.expand_grid(common, axes, plan.axes_from_command_line(given))


@pytest.fixture
def written(tmp_path):
    """A file with this text; -> its path."""

    def write(text):
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return path

    return write


def same(runs, expected):
    """As many runs, in any order, with the options of these words of main_al.py."""
    found = sorted(json.dumps(vars(run.args), sort_keys=True) for run in runs)
    return found == sorted(
        json.dumps(vars(parsed(*words.split())), sort_keys=True) for words in expected
    )


def test_options_with_several_values():
    runs = planned(
        None, al_method=["random", "coreset"], split=["0-2", "7"], add_lp=["False", "True"]
    )
    words = itertools.product(("random", "coreset"), (0, 1, 2, 7), (False, True))
    assert [run.argv for run in runs] == [
        ("--al-method", method, "--split", str(split), "--add-lp", str(lp))
        for method, split, lp in words
    ]
    assert all(run.args == parsed(*run.argv) for run in runs)
    assert [run.args.add_ceal for run in planned(None, add_ceal=[])] == [True]
    (literal,) = planned(None, out=["0-4"])  # where it takes any text, no range
    assert literal.args.out == "0-4"


def test_a_file_and_what_replaces_it(written):
    path = written(
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
    ways = ("--epochs 9 --al-method random", "--epochs 9 --al-method jlp")
    ways += ("--epochs 5 --al-method coreset --add-ceal",)
    common = [
        f"--al-budget 10 --split {split} --arch {arch} {way}"
        for split, arch, way in itertools.product((0, 1), ("small_cnn", "sized_cnn"), ways)
    ]
    assert same(planned(path), common)
    # What is given beside the file replaces what it says, and what is the same then is one run.
    replaced = planned(path, split=["5"], al_method=["bald"], head_dropout=["0.1"], epochs=["2"])
    end = "--al-budget 10 --split 5 --al-method bald --head-dropout 0.1 --epochs 2 --arch"
    expected = [
        f"{end} {arch} {ceal}" for arch in ("small_cnn", "sized_cnn") for ceal in ("", "--add-ceal")
    ]
    assert same(replaced, expected)


def test_the_files_that_are_there():
    pre = "--add-unsupervised-pretraining"
    deep = f"{pre} --pretraining-method deepcluster"
    study = (
        "--dataset digits --arch small_cnn --al-budget 10 --al-nb-cycles 5 --out study_deepcluster"
    )
    ways = ("", deep, "--add-lp", "--add-ceal", f"{deep} --add-lp")
    expected = [
        f"{study} --al-method {method} --split {split} {way}"
        for method, split, way in itertools.product(METHODS, range(5), ways)
    ]
    assert same(planned(ROOT / "scripts" / "study_deepcluster.yaml"), expected)
    lp = "--add-lp --b 128 --labeled-batch-size 50"
    panels = (("svhn", 100), ("cifar10", 100), ("cifar10", 1000), ("cifar100", 1000))
    figure = [
        f"--dataset {name} --al-budget {b} --al-nb-cycles 5 --out figure {way} "
        f"--al-method {method} --split {split}"
        for (name, b), way, method, split in itertools.product(
            panels, ("", pre, lp, f"{pre} {lp}", "--add-ceal"), METHODS, range(5)
        )
    ]
    assert same(planned(ROOT / "scripts" / "reproduce_figure.yaml"), figure)


@pytest.mark.parametrize(
    "text, words",
    [
        ("options:\n  al_metod: x", "line 2: al_metod is not an option: did you mean al_method?"),
        ("options:\n  al_budget: 0", "line 2: --al-budget: '0' is not a whole number at least 1"),
        ("product:\n  split:\n  - 1\n  - x", "line 4: --split: 'x' is not a whole number"),
        ("product:\n  split: 4-1", "line 2: --split: '4-1' is not a whole number at least 0"),
        ("product: {al_budget: 0-3}", "line 1: --al-budget: '0' is not"),
        ("product: {split: 0-99999999}", "line 1: --split: '0-99999999' is not"),
        ("product: {split: 0-9999, seed: 0-9}", "100000 runs are more than 10000:"),
        ("runs:\n- {}\n- add_lp: true\n  add_ceal: true", "line 3: --add-lp and --add-ceal"),
        ("options:\n  ceal_th: 0.2\nruns:\n- {}", "line 2: --ceal-th is read only with"),
        ("options: {split: 0-3}", "line 1: split has several values: they go below product"),
        ("options: {split: 1}\nproduct: {split: [a]}", "line 2: --split: 'a' is not"),
        ("product: {split: 0-3}\nruns:\n- split: 4", "line 3: split varies in another list"),
        ("options: {b: 3, batch_size: 4}", "line 1: batch_size is given twice, also as b"),
        ("options: {seed: 3, seed: 4}", "line 1: seed is given twice"),
        ("options: {run_dir: x}\nproduct: {split: 0-1}", "line 2: two runs have one folder"),
        ("product: {al_nb_cycles: [4, 5]}", "two runs have one folder and differ in al_nb_cycles"),
        ("options: {seed: [[1]]}", "line 1: seed: a value or a list of values is wanted"),
        ("product: {split: []}", "line 1: split: a value or a list of values is wanted"),
        ("runs: {add_lp: true}", "line 1: a list of options that go together is wanted"),
        ("optoins: {}", "line 1: optoins is none of options, product, runs"),
        ("- 1", "line 1: a mapping with options, product, runs is wanted"),
        ("options: {seed: &a [*a]}", "line 1: seed: a value or a list of values is wanted"),
        ("options:\n  [1", "line 2: it is not YAML"),
        ("", "it is empty"),
        ("\0", "it is not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text, words, written):
    with pytest.raises(UserError) as caught:
        planned(path := written(text))
    assert words in str(caught.value) and (
        "runs are more" in words or str(path) in str(caught.value)
    )


@pytest.mark.parametrize(
    "words, told",
    [
        ("", "give a file, or options"),
        ("missing.yaml", "there is no file missing.yaml"),
        ("--jobs 0 --split 1", "--jobs: '0' is not a whole number at least 1"),
        ("--al-method random oracle", "--al-method: 'oracle' is unknown: one of random"),
        ("--splt 1", "unknown argument --splt: did you mean --split?"),
        ("--split 1 --dry-run --slurm", "--slurm: not allowed with argument --dry-run"),
        ("--dask 127.0.0.1:9 --jobs 3 --split 0", "--jobs and --gpus are not read with --dask"),
    ],
)
def test_bad_words(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        status = sweep.main(words.split())
    except SystemExit as error:
        status = error.code
    line = capsys.readouterr().err
    assert status == 2 and line.count("\n") == 1 and line.startswith("sweep.py: error: ")
    assert told in line and not list(tmp_path.iterdir())


def test_a_dry_run_is_what_one_could_type(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["--split", "3-4", "--exp-name", "two words", "--wd", "1e-4", "--dry-run"]
    assert sweep.main(words) == 0
    told = capsys.readouterr()
    commands = [shlex.split(line) for line in told.out.splitlines()]
    assert told.err == "2 runs: 2 to do\n" and len(commands) == 2
    for split, (_, main, *rest) in zip((3, 4), commands, strict=True):
        assert main == str(MAIN)
        assert parsed(*rest) == parsed("--split", split, "--exp-name", "two words", "--wd", 1e-4)


SHORT = ["--al-budget", "10", "--al-nb-cycles", "2", "--epochs", "2", "--arch", "small_cnn"]


def swept(folder, *words, **more):
    words = [sys.executable, SWEEP, "--out", folder, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(list(map(str, words)), preexec_fn=hear, **pipes, **more)


def folder_of(out, split):
    (path,) = out.glob(f"digits/*/*/*/*/split{split}")
    return path


def test_a_run_that_waits_for_a_person_has_not_failed(tmp_path):
    words = ["--split", "0-1", *SHORT, "--oracle", "file", "--initial", "random", "--jobs", 2]
    process = swept(tmp_path, *words, "--al-nb-cycles", 1)
    _, told = process.communicate()
    assert process.returncode == 3 and "2 runs: 0 finished, 2 wait for labels" in told
    assert told.count("waiting for labels: open ") == 2 and not (tmp_path / "failed").exists()
    answers = "".join(f"{i},0\n" for i in queried(folder_of(tmp_path, 0)))
    (folder_of(tmp_path, 0) / "labels.csv").write_text(answers)
    process = swept(tmp_path, *words, "--al-nb-cycles", 1)
    _, told = process.communicate()
    assert process.returncode == 3 and "2 runs: 1 finished, 1 wait for labels" in told


def queried(folder) -> list[str]:
    """The indices that a run asks for."""
    with open(folder / "queries.csv", newline="") as file:
        return [row["index"] for row in csv.DictReader(file)]


def test_the_pool_is_main_al_to_the_byte(command, tmp_path, capsys, monkeypatch):
    """With two threads each, so that OpenMP has some to start after the fork.  What fails stops
    nothing, is told, and is tried again on demand."""
    threads = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    threads["AL_DATA_ROOT"] = str(tmp_path / "none")
    pool, alone = tmp_path / "pool", tmp_path / "alone"
    more = ("--al-method", "coreset", "--add-lp")
    words = ("--split", "0-1", *SHORT, *more, "--dataset", "svhn", "digits", "--jobs", 2)
    process = swept(pool, *words, env=threads)
    _, told = process.communicate()
    assert process.returncode == 1 and "4 runs: 2 finished, 2 failed" in told
    assert told.count("svhn is not in") == 2
    logs = sorted((pool / "failed").iterdir())
    assert len(logs) == 2 and "svhn is not in" in logs[0].read_text()
    done = command("python", MAIN, "--out", alone, "--split", 1, *SHORT, *more, env=threads)
    assert done.returncode == 0, done.stderr
    assert_same_run(folder_of(pool, 1), folder_of(alone, 1))
    (start,) = json.loads((folder_of(pool, 1) / "environment.json").read_text())["starts"]
    assert start["threads"] == 2 and start["command"][0] == str(MAIN)
    # What is there is known without a process.
    monkeypatch.setenv("AL_DATA_ROOT", threads["AL_DATA_ROOT"])
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    words = list(map(str, ("--out", pool, *words, "--dry-run")))
    assert sweep.main(words) == 0
    told = capsys.readouterr()
    assert told.out == "" and "4 runs: 0 to do, 2 finished before, 2 failed before" in told.err
    assert sweep.main([*words, "--retry-failed"]) == 0
    assert capsys.readouterr().out.count("--dataset svhn") == 2
    assert sweep.main(words[:-1]) == 1  # they have failed all the same


def test_who_stops_the_sweep_stops_its_runs(tmp_path):
    """Ctrl-C is sent on; a kill -9 of the sweep lets go of them; and there is something to go on
    from."""
    long = ("--split", "0-2", "--al-budget", 10, "--al-nb-cycles", 2, "--epochs", 4000, "--jobs", 2)
    for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = swept(tmp_path, *long)
        wait_for(lambda: len(held(tmp_path)) == 2, process)
        time.sleep(1.0)  # something to save
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == status
        if number == signal.SIGINT:
            assert told == "sweep.py: stopped by SIGINT; the same command goes on\n"
            assert not held(tmp_path)
        wait_for(lambda: not held(tmp_path), seconds=10)
    assert len(below(tmp_path, "checkpoint.pt")) == 2


class Answers:
    """A pool that has nothing but what it answers, run by run."""

    room = True

    def __init__(self, *answers):
        self.answers, self.running = list(answers), []

    def start(self, run):
        self.running.append(run)

    def ended(self, timeout):
        found, self.running = self.running, []
        return [RunOutcome(run, *self.answers.pop(0)) for run in found]


def test_what_another_process_works_at_is_tried_again(tmp_path, monkeypatch, capsys):
    (run,) = planned(None, run_dir=[str(tmp_path / "run")])
    with Lease(tmp_path / "run", "run folder"), pytest.raises(FolderInUse) as caught:
        Lease(tmp_path / "run", "run folder")
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0)
    refused = (2, f"log\nmain_al.py: error: {caught.value}\n")
    pool = Answers(refused, refused, (0, "done\n"))
    assert runner.SweepRunner(pool, [run], ProgressLine(1)).run_all() == (0, 0) and not pool.answers
    assert not run.log_path.exists() and capsys.readouterr().err == ""
    assert runner.SweepRunner(Answers((-9, "")), [run], ProgressLine(1)).run_all() == (1, 0)
    assert "status -9" in capsys.readouterr().err and run.log_path.exists()
    assert runner.select_pending_runs([run], retry_failed=False) == ([], [run])
    assert runner.select_pending_runs([run], retry_failed=True) == ([run], [])
    assert runner.SweepRunner(Answers((0, "")), [run], ProgressLine(1)).run_all() == (0, 0)
    assert not run.log_path.exists()


def test_slurm(command, tmp_path):
    """The script is bash's, and one of its tasks is a run."""
    words = ("--out", "a b", "--split", "0-2", *SHORT, "--slurm")
    told, _ = swept("a b", *words[2:], cwd=tmp_path).communicate()
    script = tmp_path / "array.sh"
    script.write_text(told)
    assert command("bash", "-n", script).returncode == 0
    assert "#SBATCH --array=0-2\n" in told and told.startswith("#!/bin/bash\n")
    task = {**os.environ, "SLURM_ARRAY_TASK_ID": "1", "SLURM_CPUS_PER_TASK": "1"}
    done = command("bash", script, cwd="/", env=task)
    assert done.returncode == 0, done.stderr
    assert folder_of(tmp_path / "a b", 1)
    beyond = command("bash", script, env={**task, "SLURM_ARRAY_TASK_ID": "3"})
    assert beyond.returncode == 2 and "no run 3: 0 to 2" in beyond.stderr


def test_dask(tmp_path):
    """A worker is killed in the middle, then the driver: the same command does the rest."""
    pytest.importorskip("distributed", reason="requirements-sweep.txt is not installed")
    cluster_kills(1, seed=7)
