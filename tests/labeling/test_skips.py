"""Images that a person cannot label: the run goes on without them and does not query them again."""

import pytest

from tests.commands.test_main_al import rows
from tests.labeling.sessions import truth_of


def write_labels(folder, answers):
    text = "".join(f"{index},{answer}\n" for index, answer in answers.items())
    (folder / "labels.csv").write_text("index,label\n" + text)


def queries(folder) -> list[str]:
    return [row["index"] for row in rows(folder / "queries.csv")]


def answers_of(folder, truth, skips: int) -> dict[str, str]:
    """The true classes of all queries but the first ones."""
    return {
        index: "cannot tell" if position < skips else truth[index]
        for position, index in enumerate(queries(folder))
    }


@pytest.mark.parametrize("method", ["coreset", "margin", "jlp", "lp_coverage", "random"])
def test_a_method_does_not_see_skipped_images(tmp_path, session, run, method):
    """Its picks are those of a pool without them, and none of them is queried again."""
    folder, truth = tmp_path / "run", truth_of(session)
    words = ("--al-method", method)
    assert run(*words)[0] == 3
    first = queries(folder)
    write_labels(folder, answers_of(folder, truth, skips=2))
    assert run(*words)[0] == 3
    second = queries(folder)
    assert len(set(second)) == 6 and not set(second) & set(first)
    assert [row["index"] for row in rows(folder / "acquired.csv")] == first[2:]
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["4"]


def test_a_run_waits_until_two_images_are_labeled(tmp_path, session, run):
    """Also where every image is skipped; the answers stay in labels.csv."""
    folder, truth = tmp_path / "run", truth_of(session)
    run()
    for skips in (6, 5):
        write_labels(folder, answers_of(folder, truth, skips))
        before = (folder / "labels.csv").read_bytes()
        status, line = run()
        assert status == 3 and line.count("\n") == 1
        assert f"{skips} of 6 images have no class in" in line and "at least 2" in line
        assert (folder / "labels.csv").read_bytes() == before and queries(folder)
    write_labels(folder, answers_of(folder, truth, skips=4))
    assert run("--al-nb-cycles", 1)[0] == 0
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["2"]


def test_ask_until_answered(tmp_path, session, run):
    folder, truth = tmp_path / "run", truth_of(session)
    words = ("--ask-until-answered", "--al-nb-cycles", 1)
    run(*words)
    write_labels(folder, answers_of(folder, truth, skips=1))
    status, line = run(*words)
    assert status == 3 and "1 of 6 images have no class" in line and words[0] in line
    write_labels(folder, answers_of(folder, truth, skips=0))
    assert run(*words)[0] == 0
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["6"]
    assert run("--al-nb-cycles", 1) == (0, "")  # not part of the identity


def test_ask_until_answered_needs_a_person(run):
    status, line = run("--oracle", "data", "--ask-until-answered")
    assert status == 2 and "--ask-until-answered" in line and "--oracle file" in line


def test_a_cycle_without_any_label(tmp_path, session, run):
    """The run goes on with the labels that it has."""
    folder, truth = tmp_path / "run", truth_of(session)
    run()
    write_labels(folder, answers_of(folder, truth, skips=0))
    run()
    write_labels(folder, answers_of(folder, truth, skips=6))
    assert run()[0] == 0
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["6", "6"]
    assert len(rows(folder / "acquired.csv")) == 6
