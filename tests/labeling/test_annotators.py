"""Several annotators: what a run and its page say about their answers."""

import json
import re

import pytest

from labeling.queries import Query, SecondLook, render_queries_page
from tests.commands.test_main_al import rows
from tests.labeling.test_page import text
from tests.labeling.test_page_controls import (
    ANIMALS,
    DESKTOP,
    PHONE,
    SCHEMES,  # noqa: F401, the schemes of the requests that the page may make
    click,
)
from tests.labeling.test_page_map import options, select


def page_content(folder) -> dict:
    page = (folder / "queries.html").read_text()
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page)[1])


def test_a_disagreement_is_on_the_page_until_it_is_settled(run, tmp_path):
    folder = tmp_path / "run"
    run()
    queried = [row["index"] for row in rows(folder / "queries.csv")]
    lines = [
        f"{index},{name},{n % 3}" for n, index in enumerate(queried) for name in ("Ann", "bob")
    ]
    lines += [f"{queried[0]},carl,5", f"{queried[0]},dan,?"]
    lines[3] = lines[3].replace("bob", "Bob ")
    (folder / "labels.csv").write_text("index,annotator,label\n" + "\n".join(lines) + "\n")
    assert run()[0] == 3
    log = (folder / "log.txt").read_text()
    votes = "'Ann': '0'; 'bob': '0'; 'carl': '5'"
    assert (
        f"annotators disagree about 1 image; the majority counts: image {queried[0]} ({votes}"
        in log
    )
    assert "annotators 'bob' and 'Bob' are taken for one person" in log
    content = page_content(folder)
    by_index = {str(one["index"]): one["votes"] for one in content["earlier"]}
    assert by_index == {index: votes if index == queried[0] else "" for index in queried}
    assert any(note.startswith("Annotators disagree about 1 image") for note in content["notes"])
    (folder / "labels.csv").write_text(f"index,label\n{queried[0]},5\n")  # a correction
    assert run()[0] == 3
    content = page_content(folder)
    assert all(one["votes"] == "" for one in content["earlier"])
    assert not any("Annotators" in note for note in content["notes"])


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_images_about_which_annotators_disagree_are_found(tmp_path, page, size):
    earlier = [
        Query(0, None, answer="ant", cycle=0),
        Query(1, None, answer="bee", cycle=0, votes="'ann': 'bee'; 'bob': '<b>'"),
        Query(2, None, answer="cat", cycle=0, votes="'ann': 'cat'; 'bob': 'ant'"),
    ]
    content = render_queries_page(
        [Query(9, None)],
        tuple(ANIMALS),
        storage_key=str(tmp_path),
        folder=str(tmp_path),
        earlier=earlier,
        second_looks=[SecondLook(earlier[2], "ant", (earlier[0],))],
    )
    (tmp_path / "queries.html").write_bytes(content)
    window = page(tmp_path / "queries.html", size=size)
    side = window.find_element("css selector", ".side").text
    assert "Annotators disagree: 'ann': 'cat'; 'bob': 'ant'." in side
    click(window, "view-earlier")
    assert "Annotators disagree (1)" in options(window, "filter")
    select(window, "filter", "Annotators disagree (1)")
    shown = """return [...document.querySelectorAll("#earlier-images .card")]
      .filter((card) => card.checkVisibility()).map((card) => card.innerText)"""
    (card,) = window.execute_script(shown)
    assert "'bob': '<b>'" in card
    assert window.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert text(window, "left")
