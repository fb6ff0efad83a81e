"""A person answers: labels.csv in all its forms, and whole sessions, killed in every phase.

The sessions fork from a server that has imported the program once, so that a process costs no
seconds; the kills are SIGKILL, sent by an audit hook just before a file is renamed or removed."""

import csv
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import main_al
from data import DATASETS
from data.active_dataset import Oracle
from experiment import result_tables
from experiment.checkpoint import load_checkpoint
from labeling import oracle, queries
from labeling.answers import read_labels_csv
from tests.commands.test_main_al import assert_same_run, rows
from tests.conftest import ROOT
from utils.errors import UserError

SHORT = "--initial lp_coverage --al-method coreset --al-budget 6 --epochs 3 --device cpu"
CLASSES = ("cat", "dog, wild", "Zuñi", "a;b", '"q"')
IDS = np.array([17, 4, 105])


# ---- labels.csv


@pytest.mark.parametrize(
    "text",
    [
        b"index,label\n17,cat\n4,a;b\n105,cat\n",
        b"17,0\n4,3\n105,0\n",
        b'\xef\xbb\xbfindex;label\r\n17;cat\r\n105;cat\r\n4;"a;b"\r\n',
        b"\n17\tcat\n4\ta;b\n\n105\t cat \n\t\n",
        b'4, "a;b"\n17 , 0,,\n"105","cat"',
        b"17,cat\r105,cat\r4,3",
        b"order,index,path,guess,confidence,label\n0,17,,cat,0.9,cat\n1,4,,,,a;b\n2,105,,,,0\n",
        b"label,index\ncat,17\na;b,4\ncat,105\n",
    ],
)
def test_answers_in_many_forms(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text)
    assert read_labels_csv(path, IDS, CLASSES).tolist() == [0, 3, 0]


def test_names_with_commas_quotes_and_accents(tmp_path):
    path = tmp_path / "labels.csv"
    for composed in ("Zuñi", "Zun\u0303i"):  # two ways to write one name
        path.write_text(f'17,"dog, wild"\n4,"""q"""\n105,{composed}\n')
        assert read_labels_csv(path, IDS, CLASSES).tolist() == [1, 4, 2]


def test_a_number_is_a_name_where_a_name_is_a_number(tmp_path):
    """Excel makes 1 of 001: that must not become the class number 1."""
    path = tmp_path / "labels.csv"
    path.write_text("17,2\n4,1\n105,1\n")
    assert read_labels_csv(path, IDS, ("1", "2", "3")).tolist() == [1, 0, 0]
    with pytest.raises(UserError, match=r"no class: '2' \(line 1"):
        read_labels_csv(path, IDS, ("001", "002", "003"))


@pytest.mark.parametrize(
    "text, told",
    [
        ("17,cat\n4,cat\n", ["without an answer: image 105"]),
        ("17,cat\n4,\n105,cat", ["without an answer: image 4"]),
        ("17,cat\n17,cat\n4,cat\n105,0", ["answered twice: image 17 (line 2)"]),
        ("17,catt\n4,cat\n105,9", ["no class: 'catt' (line 1, perhaps 'cat'), '9' (line 3)"]),
        ("17,0\n4,0\n105,0\n3,0\n8,0", ["not asked for: image 3 (line 4), image 8 (line 5)"]),
        ("17,0\n4,0\n105,0\nx,0", ["no index of an image: 'x' (line 4)"]),
        ("17,dog, wild\n4,0\n105,0", ["not two columns: line 1 has 3", "answer: image 17"]),
        ("1,0\n2,0", ["not asked for: image 1", "an answer: image 17, image 4, image 105"]),
        ("", ["without an answer"]),
        ("\n".join(f"{i},0" for i in range(300, 320)), ["(line 5) and 15 more", "without"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, told):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_labels_csv(path, IDS, CLASSES)
    assert len(caught.value.args) == len(told)
    for line, words in zip(caught.value.args, told, strict=True):
        assert words in line and str(path) in line


def test_another_encoding_is_named(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes("17,Zuñi\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"not text in UTF-8 \(byte 5\): save it as CSV"):
        read_labels_csv(path, IDS, CLASSES)


# ---- What is asked


def test_the_page_holds_the_data_as_data():
    """A class or a path may be called anything: nothing of it becomes an element."""
    names = ("</script><script>alert(1)</script>", "<!--", "a&b")
    asked = [queries.Query(3, np.zeros((3, 8, 8), np.uint8), path="<img src=x>/é.png")]
    text = queries.render_queries_page(asked, names, storage_key="k", folder="/a/<b>").decode()
    assert "alert(1)</script>" not in text and "<img src=x>" not in text
    found = text.split('type="application/json">')[1].split("</script>")[0]
    content = json.loads(found)
    assert content["classes"] == list(names) and content["folder"] == "/a/<b>"
    assert content["queries"][0]["path"] == "<img src=x>/é.png"
    assert "http://" not in text and "https://" not in text and "/* " not in text[:900]


def test_a_thousand_images_are_a_small_page():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1000, 3, 32, 32)).astype(np.uint8)  # nothing is larger
    asked = [queries.Query(i, pixels) for i, pixels in enumerate(noise)]
    assert len(queries.render_queries_page(asked, ("a", "b"), storage_key="k", folder="f")) < 5e6


def test_images_of_unknown_class_need_a_person():
    problem = SimpleNamespace(oracle=Oracle(np.array([2, -1, 0, -1])))
    oracle.ORACLE.fits(SimpleNamespace(oracle="file", dataset="mine"), problem)
    with pytest.raises(UserError, match="--dataset mine has 2 training images of unknown class"):
        oracle.ORACLE.fits(SimpleNamespace(oracle="data", dataset="mine"), problem)


def test_pseudo_labels_are_judged_where_the_truth_is_known():
    used, known = np.array([0, 1, 1, 0, -1]), np.array([0, -1, -1, -1, -1])
    for truth, accuracy in (([0, 1, -1, 1, 1], "50.00"), ([0, -1, -1, -1, 1], None)):
        row = result_tables.pseudo_label_columns(used, known, np.array(truth))
        assert row == {"pseudo_labels": 3, "pseudo_accuracy": accuracy}
    row |= {"cycle": 0, "labeled": 1, "steps": 1, "train_loss": "0.1", "top1": "1"}
    assert "3 pseudo-labels, 1 steps" in result_tables.format_cycle_line(row, 1)


# ---- Whole sessions


def truth_of(folder: Path) -> dict[str, str]:
    """index -> class, of what a run was told by the data."""
    return {row["index"]: row["label"] for row in rows(folder / "acquired.csv")}


def answer(folder: Path, truth: dict[str, str]) -> None:
    asked = [row["index"] for row in rows(folder / "queries.csv")]
    text = "".join(f"{index},{truth[index]}\n" for index in asked)
    (folder / "labels.csv").write_text("index,label\n" + text)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A run that reads the labels itself, three cycles; -> its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main_al.main([*SHORT.split(), "--al-nb-cycles", "3", "--run-dir", str(folder)]) == 0
    return folder


def in_a_process(words: list[str], event: str, name: str, at: int) -> None:
    """main_al.py, killed when it is about to rename something to, or remove, `name` for the
    at-th time."""
    count = 0

    def hook(what, args):
        nonlocal count
        if what == event and os.path.basename(args[what == "os.rename"]) == name:
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    if event:
        sys.addaudithook(hook)
    sys.exit(main_al.main(words))


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def start(monkeypatch_module):
    """Run main_al.py in a process of its own, killed somewhere; -> its exit status."""
    monkeypatch_module.setenv("PYTHONPATH", str(ROOT))  # the server has no other way to know
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__, "torch._dynamo", "sklearn.model_selection"])

    def run(folder, event="", name="", at=1) -> int:
        words = [*SHORT.split(), "--oracle", "file", "--checkpoint-epochs", "1"]
        words += ["--al-nb-cycles", "3", "--run-dir", str(folder)]
        process = server.Process(target=in_a_process, args=(words, event, name, at))
        process.start()
        process.join(600)
        return process.exitcode

    return run


# Just before what is a process killed, the how manieth time?
BEFORE_ASKING = (("os.rename", "queries.csv"), ("os.rename", "queries.html"))
AFTER_ANSWERING = (
    ("os.rename", "queries.html"),  # labels.csv is there, and not read yet
    ("os.rename", "cycle00.csv"),
    ("os.remove", "queries.csv"),
    ("os.remove", "queries.html"),
    ("os.rename", "acquired.csv", 2),  # the first is written when a run begins
    ("os.rename", "checkpoint.pt", 3),  # within training, the second had the answers
)


def killed_in_every_phase(folder: Path, session: Path, start, answer) -> None:
    """A session of three cycles and ten kills ends as one that reads the labels itself.

    answer: folder, truth -> labels.csv is there."""
    truth, kills = truth_of(session), iter(AFTER_ANSWERING)
    for cycle in range(3):
        for kill in BEFORE_ASKING[cycle != 0 :]:
            assert start(folder, *kill) == -signal.SIGKILL
        assert start(folder) == 3 and (folder / "queries.html").exists()
        answer(folder, truth)
        for kill in (next(kills), next(kills)):
            assert start(folder, *kill) == -signal.SIGKILL
        assert (folder / "labels.csv").exists() == (cycle == 0)
    assert start(folder) == 0 and not list(kills)
    assert_same_run(folder, session)
    assert not [*folder.glob("queries.*"), *folder.glob("labels*"), *folder.glob(".*.*")]
    kept = sorted(path.name for path in (folder / "answers").iterdir())
    assert kept == ["cycle00.csv", "cycle01.csv", "cycle02.csv"]


def test_a_session_killed_in_every_phase_ends_with_the_same_bytes(tmp_path, session, start):
    killed_in_every_phase(tmp_path / "run", session, start, answer)


@pytest.fixture
def run(tmp_path, capsys):
    """main_al.py with --oracle file in one folder; -> status, what it said as errors."""

    def call(*more) -> tuple[int, str]:
        words = [*SHORT.split(), "--oracle", "file", "--al-nb-cycles", "2", *map(str, more)]
        try:
            status = main_al.main([*words, "--run-dir", str(tmp_path / "run")])
        except SystemExit as error:
            status = error.code
        return status, capsys.readouterr().err

    return call


def test_a_session(tmp_path, session, run):
    """What is said, what a mistake costs, more cycles later."""
    folder, truth = tmp_path / "run", truth_of(session)
    status, line = run()
    assert status == 3 and line.count("\n") == 1 and "error" not in line
    assert f"6 images wait for their labels: open {folder / 'queries.html'}" in line
    asked = rows(folder / "queries.csv")
    assert {(row["guess"], row["confidence"], row["path"]) for row in asked} == {("", "", "")}
    first = (folder / "queries.html").read_bytes()
    (folder / "labels (1).csv").write_text("")
    status, line = run()
    assert status == 3 and "only 'labels (1).csv': rename it" in line
    assert (folder / "queries.html").read_bytes() == first
    (folder / "labels (1).csv").unlink()

    before = load_checkpoint(folder / "checkpoint.pt")["state"]["asked"].tolist()
    (folder / "labels.csv").write_text(f"{asked[0]['index']},x\n")
    status, lines = run()
    assert status == 2 and lines.count("\n") == 2
    assert "no class: 'x' (line 1)" in lines and "without an answer" in lines
    assert load_checkpoint(folder / "checkpoint.pt")["state"]["asked"].tolist() == before

    answer(folder, truth)
    earlier = (folder / "labels.csv").read_bytes()
    assert run()[0] == 3 and not (folder / "labels.csv").exists()
    assert (folder / "answers" / "cycle00.csv").read_bytes() == earlier
    guesses = [(row["guess"], float(row["confidence"])) for row in rows(folder / "queries.csv")]
    assert all(guess in "0123456789" and 0.1 <= sure <= 1 for guess, sure in guesses)
    (folder / "labels.csv").write_bytes(earlier)  # once more, by mistake
    status, lines = run()
    assert status == 2 and "not asked for: image" in lines and (folder / "queries.html").exists()
    answer(folder, truth)
    assert run()[0] == 0
    assert run() == (0, "") and run("--al-nb-cycles", 3)[0] == 3
    answer(folder, truth)
    assert run("--al-nb-cycles", 3)[0] == 0
    assert_same_run(folder, session)


def test_answers_outlive_the_checkpoints(tmp_path, session, run):
    """Started anew in the same folder, nobody is asked again."""
    folder = tmp_path / "run"
    assert run()[0] == 3
    answer(folder, truth_of(session))
    assert run()[0] == 3
    for path in folder.glob("checkpoint*"):
        path.unlink()
    queries_before = (folder / "queries.csv").read_bytes()
    assert run()[0] == 3 and (folder / "queries.csv").read_bytes() == queries_before


def test_the_labels_of_the_data_reach_nothing(tmp_path, session, run, monkeypatch):
    """Other labels of all training images, the same answers: the same bytes."""
    truth, (train, test) = truth_of(session), DATASETS["digits"].load("")
    other = train._replace(labels=(train.labels + 1) % 10)
    spec = dataclasses.replace(DATASETS["digits"], load=lambda root: (other, test), list_files=None)
    monkeypatch.setitem(DATASETS, "digits", spec)
    folder = tmp_path / "run"
    for _ in range(2):
        assert run()[0] == 3
        answer(folder, truth)
    assert run()[0] == 0
    for name in ("results.csv", "acquired.csv"):  # of two cycles here, of three there
        found, whole = ((where / name).read_bytes() for where in (folder, session))
        assert whole.startswith(found) and found.count(b"\n") > 2


def test_a_person_may_say_otherwise_than_the_data(tmp_path, run):
    """What is trained on and kept is the answer."""
    folder = tmp_path / "run"
    assert run("--al-nb-cycles", 1)[0] == 3
    asked = [row["index"] for row in rows(folder / "queries.csv")]
    (folder / "labels.csv").write_text("".join(f"{index},{i}\n" for i, index in enumerate(asked)))
    assert run("--al-nb-cycles", 1)[0] == 0
    with open(folder / "acquired.csv", newline="") as file:
        found = [(row["index"], row["label"]) for row in csv.DictReader(file)]
    assert found == [(index, str(i)) for i, index in enumerate(asked)]
    known = load_checkpoint(folder / "checkpoint.pt")["state"]["pool"]["labels"].numpy()
    assert [known[int(index)] for index in asked] == list(range(6))


@pytest.mark.parametrize(
    "more, told",
    [
        ("--initial balanced", "no labels yet that a balanced split could be drawn by"),
        ("--use-val-set", "--use-val-set takes its images by their labels"),
        ("--oracle me", "'me' is unknown: one of data, file"),
    ],
)
def test_refused_in_one_line(tmp_path, run, more, told):
    status, line = run(*more.split())
    assert status == 2 and told in line and line.count("\n") == 1
    assert not (tmp_path / "run").exists()
