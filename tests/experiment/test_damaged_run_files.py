"""A run folder with one damaged file: every command that reads it says so in one line, does without
the file, or goes on from what is intact."""

import contextlib
import functools
import io
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labels
import main_al
import predict
from experiment.checkpoint import Checkpoints, load_checkpoint
from experiment.environment import environment_changes, read_environments
from reports.consistency import find_inconsistencies
from reports.contact_sheets import collect_contact_sheets
from reports.cost import run_cost
from reports.images_seen import count_images_seen
from reports.run_history import read_history
from reports.run_images import load_run_images
from reports.runs import group_runs, read_runs_below
from reports.unseen_classes import describe_unseen_share
from tests.archives import write_array_file
from tests.damage import Reader, files_below, read_damaged
from tests.examples import examples
from tests.labeling.formats.tasks import png

SHORT = ("--arch", "small_cnn", "--al-budget", "10", "--epochs", "1", "--device", "cpu")
SHORT += ("--dataset", "arrays", "--data-root")
UNSEEN = (
    b"cycle,labeled,set_aside,classes,unseen_images,unseen_percent,unseen_low,unseen_high,picks\n"
    b"0,10,2,8,30,1.5,0.5,3.0,random\n"
)


@functools.cache
def root():
    """A folder with the data and two runs: one is finished, one waits for labels."""
    folder = Path(tempfile.mkdtemp())
    words = [*SHORT, str(write_array_file(folder / "few.npz"))]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main_al.main([*words, *FINISHED, "--run-dir", str(folder / "finished")]) == 0
        status = main_al.main([*words, *WAITING, "--run-dir", str(folder / "waiting")])
        assert status == 3
    return folder


FINISHED = ("--al-nb-cycles", "2")
WAITING = ("--al-nb-cycles", "2", "--oracle", "file", "--initial", "random")


def run_files(name, *names):
    """The contents of these files of a run."""
    files = files_below(root() / name)
    return {file: files[file] for file in names}


def others(name, damaged):
    files = {file: text for file, text in files_below(root() / name).items() if file[0] != "."}
    return {file: text for file, text in files.items() if file not in damaged}


def call(main, words):
    """The status of a command and what it printed to standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(word) for word in words])
        except SystemExit as error:
            status = error.code
    return status, out.getvalue(), err.getvalue()


def check_status(called):
    status, _, err = called
    assert status == 0 or (status in (1, 2) and err.count("\n") >= 1), called


TABLES = ("results.csv", "acquired.csv", "timing.csv")


@pytest.mark.parametrize(
    "damaged", ["config.json", "environment.json", "checkpoint.pt", TABLES], ids=str
)
@examples(15)
@given(data=st.data())
def test_the_same_command_again(damaged, data):
    """It ends with the results of before, or with one line."""
    names = (damaged,) if isinstance(damaged, str) else damaged
    files = run_files("finished", *names)
    expected = run_files("finished", "results.csv", "acquired.csv")

    def read(folder):
        words = [*SHORT, root() / "few.npz", *FINISHED, "--run-dir", folder]
        called = call(main_al.main, words)
        return called, {name: (folder / name).read_bytes() for name in expected}

    def check(found):
        called, tables = found
        check_status(called)
        if called[0] == 0:
            assert tables == expected

    read_damaged(Reader(files, read, check, others=others("finished", names)), data)


@pytest.mark.parametrize(
    "name", ["config.json", "checkpoint.pt", "classes.txt", "preprocessing.json"]
)
@examples(15)
@given(data=st.data())
def test_predictions(name, data):
    images = {"new/one.png": png(7), "new/two.png": png(200)}

    def read(folder):
        on_pool = call(predict.main, [folder, "--data-root", root() / "few.npz"])
        return on_pool, call(predict.main, [folder, "--images", folder / "new"])

    def check(both):
        for called in both:
            check_status(called)

    unchanged = others("finished", [name]) | images
    read_damaged(Reader(run_files("finished", name), read, check, others=unchanged), data)


@pytest.mark.parametrize(
    "name", ["config.json", "queries.csv", "acquired.csv", "classes.txt", "preprocessing.json"]
)
@examples(15)
@given(data=st.data())
def test_exchange_with_label_tools(name, data):
    def read(folder):
        out = folder / "out"
        exported = call(labels.main, ["export", folder, out, "--format", "coco"])
        answers = {"images": [], "annotations": [], "categories": []}
        (folder / "answers.json").write_text(json.dumps(answers))
        words = ["import", folder, folder / "answers.json", "--format", "coco"]
        imported = call(labels.main, words)
        return exported, imported

    def check(both):
        for called in both:
            check_status(called)

    reader = Reader(run_files("waiting", name), read, check, others=others("waiting", [name]))
    read_damaged(reader, data)


REPORTED = ("config.json", "environment.json", *TABLES, "classes.txt", "data.png")


@examples(60)
@given(data=st.data())
def test_what_a_report_reads(data):
    """A run is left out with a note, or its numbers are those of its files."""
    extra = {"unseen_classes.csv": UNSEEN, "queries.csv": run_files("waiting", "queries.csv")}
    files = run_files("finished", *REPORTED)
    files |= {"unseen_classes.csv": UNSEEN, **extra["queries.csv"]}

    def read(folder):
        runs, notes = read_runs_below(folder)
        for run in runs:
            images = load_run_images(run.config)
            read_history(run, images.initial_indices, images.labels)
            run_cost(run, count_images_seen)
            describe_unseen_share(run.folder)
        groups = group_runs(runs)
        collect_contact_sheets(groups)
        return runs, notes + find_inconsistencies(groups)

    def check(found):
        runs, notes = found
        assert len(runs) == 1 or notes
        for run in runs:
            assert run.results["top1"].between(0, 100).all()
            assert len(run.results) == run.config["al_nb_cycles"]

    read_damaged(Reader(files, read, check, others=others("finished", files)), data)


@examples(30)
@given(data=st.data())
def test_two_checkpoints(data):
    """The newer one, or else the older one, or one line; never another content."""
    content = (root() / "finished" / "checkpoint.pt").read_bytes()
    intact = load_checkpoint(root() / "finished" / "checkpoint.pt")

    def read(folder):
        return Checkpoints(folder / "checkpoint.pt", lambda checkpoint: None).load_latest()

    def check(loaded):
        assert loaded["identity"] == intact["identity"] and loaded["rows"] == intact["rows"]

    files = {"checkpoint.pt": content}
    older = {"checkpoint.before.pt": content} if data.draw(st.booleans()) else {}
    read_damaged(Reader(files, read, check, others=older), data)


@examples(25)
@given(data=st.data())
def test_environments(data):
    files = run_files("finished", "environment.json")
    now = json.loads(files["environment.json"])["starts"][-1]

    def read(folder):
        starts = read_environments(folder / "environment.json")
        return [environment_changes(start, now) for start in starts]

    read_damaged(Reader(files, read), data)


@pytest.fixture(scope="module", autouse=True)
def remove_root():
    yield
    if root.cache_info().currsize:
        shutil.rmtree(root())
