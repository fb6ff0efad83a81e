"""Human labels: labels.csv in all its forms, and whole sessions that are killed in every phase."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from data import DATASETS
from data.active_dataset import Oracle
from experiment import result_tables
from experiment.checkpoint import load_checkpoint
from labeling import queries
from labeling.oracle import OracleOptions, describe_labels_file
from tests.commands.test_main_al import assert_same_run, rows
from tests.labeling.sessions import answer, check_session_killed_in_every_phase, truth_of
from utils.errors import UserError
from utils.options.option import OptionValues

# ---- The queries


def test_names_in_the_page_are_never_html():
    """Class names and paths may contain anything; nothing in them becomes an element."""
    names = ("</script><script>alert(1)</script>", "<!--", "a&b")
    query_list = [queries.Query(3, np.zeros((3, 8, 8), np.uint8), path="<img src=x>/é.png")]
    text = queries.render_queries_page(query_list, names, storage_key="k", folder="/a/<b>").decode()
    assert "alert(1)</script>" not in text and "<img src=x>" not in text
    embedded = text.split('type="application/json">')[1].split("</script>")[0]
    content = json.loads(embedded)
    assert content["classes"] == list(names) and content["folder"] == "/a/<b>"
    assert content["queries"][0]["path"] == "<img src=x>/é.png"
    assert "http://" not in text and "https://" not in text and "/* " not in text[:900]


def test_the_page_of_a_thousand_images_is_small():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1000, 3, 32, 32)).astype(np.uint8)  # compresses worst
    query_list = [queries.Query(i, pixels) for i, pixels in enumerate(noise)]
    page = queries.render_queries_page(query_list, ("a", "b"), storage_key="k", folder="f")
    assert len(page) < 5e6


def test_images_of_unknown_class_need_a_person():
    dataset = SimpleNamespace(oracle=Oracle(np.array([2, -1, 0, -1])), image_paths=None)
    options = OptionValues({"dataset": "mine"})
    OracleOptions(oracle="file").check_data(options, dataset)
    with pytest.raises(UserError, match=r"--dataset mine has 2 .*unknown class.*--oracle file"):
        OracleOptions(oracle="data").check_data(options, dataset)


def test_pseudo_labels_are_evaluated_where_the_truth_is_known():
    used, known = np.array([0, 1, 1, 0, -1]), np.array([0, -1, -1, -1, -1])
    for truth, accuracy in (([0, 1, -1, 1, 1], "50.00"), ([0, -1, -1, -1, 1], None)):
        row = result_tables.pseudo_label_columns(used, known, np.array(truth))
        assert row == {"pseudo_labels": 3, "pseudo_accuracy": accuracy}
    row |= {"cycle": 0, "labeled": 1, "steps": 1, "train_loss": "0.1", "top1": "1"}
    assert "3 pseudo-labels, 1 steps" in result_tables.format_cycle_line(row, 1)


# ---- Whole sessions


def test_a_session_killed_in_every_phase_ends_with_the_same_bytes(tmp_path, session, start):
    check_session_killed_in_every_phase(tmp_path / "run", session, start, answer)


def test_a_session(tmp_path, session, run):
    """Messages, mistakes in labels.csv, and more cycles later."""
    folder, truth = tmp_path / "run", truth_of(session)
    status, line = run()
    assert status == 3 and line.count("\n") == 1 and "error" not in line
    assert "6 images" in line and str(folder / "queries.html") in line
    queried = rows(folder / "queries.csv")
    assert {(row["guess"], row["confidence"], row["path"]) for row in queried} == {("", "", "")}
    first = (folder / "queries.html").read_bytes()
    (folder / "labels (1).csv").write_text("")
    status, line = run()
    assert status == 3 and "'labels (1).csv'" in line and "rename" in line
    assert (folder / "queries.html").read_bytes() == first
    (folder / "labels (1).csv").unlink()

    before = load_checkpoint(folder / "checkpoint.pt")["state"]["queried"].tolist()
    (folder / "labels.csv").write_text(f"{queried[0]['index']},!\n")
    status, lines = run()
    assert status == 2 and lines.count("\n") == 2
    assert "unknown class: '!' (line 1)" in lines and "not labeled" in lines
    assert load_checkpoint(folder / "checkpoint.pt")["state"]["queried"].tolist() == before

    answer(folder, truth)
    first_answers = (folder / "labels.csv").read_bytes()
    assert run()[0] == 3 and not (folder / "labels.csv").exists()
    assert (folder / "answers" / "cycle00.csv").read_bytes() == first_answers
    guesses = [(row["guess"], float(row["confidence"])) for row in rows(folder / "queries.csv")]
    assert all(guess in "0123456789" and 0.1 <= confidence <= 1 for guess, confidence in guesses)
    (folder / "labels.csv").write_bytes(first_answers)  # again, by mistake
    status, lines = run()
    assert status == 2 and "not labeled: image" in lines and (folder / "queries.html").exists()
    answer(folder, truth)
    assert run()[0] == 0
    assert run() == (0, "") and run("--al-nb-cycles", 3)[0] == 3
    answer(folder, truth)
    assert run("--al-nb-cycles", 3)[0] == 0
    assert_same_run(folder, session)


def test_answers_survive_the_loss_of_the_checkpoints(tmp_path, session, run):
    """A fresh start in the same folder makes no query again."""
    folder = tmp_path / "run"
    assert run()[0] == 3
    answer(folder, truth_of(session))
    assert run()[0] == 3
    for path in folder.glob("checkpoint*"):
        path.unlink()
    queries_before = (folder / "queries.csv").read_bytes()
    assert run()[0] == 3 and (folder / "queries.csv").read_bytes() == queries_before


def test_labels_in_the_data_have_no_influence(tmp_path, session, run, monkeypatch):
    """With other labels in the data and the same answers, the bytes are the same."""
    truth, (train, test) = truth_of(session), DATASETS["digits"].load("")
    other = train._replace(labels=(train.labels + 1) % 10)
    spec = dataclasses.replace(DATASETS["digits"], load=lambda root: (other, test), list_files=None)
    monkeypatch.setitem(DATASETS, "digits", spec)
    folder = tmp_path / "run"
    for _ in range(2):
        assert run()[0] == 3
        answer(folder, truth)
    assert run()[0] == 0
    for name in ("results.csv", "acquired.csv"):  # of two cycles; the session has three
        table, longer = ((path / name).read_bytes() for path in (folder, session))
        assert longer.startswith(table) and table.count(b"\n") > 2


def test_answers_may_differ_from_the_data(tmp_path, run):
    """The answer is trained on and recorded."""
    folder = tmp_path / "run"
    assert run("--al-nb-cycles", 1)[0] == 3
    queried = [row["index"] for row in rows(folder / "queries.csv")]
    text = "".join(f"{index},{i}\n" for i, index in enumerate(queried))
    (folder / "labels.csv").write_text(text)
    assert run("--al-nb-cycles", 1)[0] == 0
    with open(folder / "acquired.csv", newline="") as file:
        acquired = [(row["index"], row["label"]) for row in csv.DictReader(file)]
    assert acquired == [(index, str(i)) for i, index in enumerate(queried)]
    labels = load_checkpoint(folder / "checkpoint.pt")["state"]["pool"]["labels"].numpy()
    assert [labels[int(index)] for index in queried] == list(range(6))


@pytest.mark.parametrize(
    "name, cure",
    [
        ("labels.xlsx", "save it as CSV UTF-8 under the name labels.csv"),
        ("Labels.ODS", "save it as CSV UTF-8 under the name labels.csv"),
        ("queries_anna.xls", "save it as CSV UTF-8 under the name labels.csv"),
        ("labels (1).csv", "rename it"),
        ("labels.csv.txt", "rename it"),
        ("LABELS.CSV", "rename it"),
        ("Copy of labels.tsv", "rename it"),
        (".~lock.labels.csv#", None),
        ("~$labels.xlsx", None),
        ("notes.txt", None),
    ],
)
def test_a_file_that_may_be_meant_as_labels_csv_is_named(tmp_path, name, cure):
    (tmp_path / name).touch()
    (tmp_path / "queries.csv").touch()
    hint = describe_labels_file(tmp_path)
    assert hint == (f" (only {name!r} is there: {cure})" if cure else "")


@pytest.mark.parametrize(
    "more, parts",
    [
        ("--initial balanced", ["--oracle file", "balanced split", "--initial"]),
        ("--use-val-set", ["--use-val-set", "--oracle file"]),
        ("--oracle me", ["--oracle", "'me' is unknown", "data, file"]),
    ],
)
def test_errors_are_one_line(tmp_path, run, more, parts):
    status, line = run(*more.split())
    assert status == 2 and line.count("\n") == 1
    assert all(part in line for part in parts), line
    assert not (tmp_path / "run").exists()


def test_a_folder_in_the_place_of_labels_csv(run, tmp_path):
    run()
    (tmp_path / "run" / "labels.csv").mkdir()
    status, error = run()
    assert status == 1 and error.count("\n") == 1
    assert "labels.csv" in error and "move it away or rename it" in error
    (tmp_path / "run" / "labels.csv").rmdir()
    assert run()[0] == 3
