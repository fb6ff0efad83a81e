"""queries.html in a real browser: images of none of the classes, and notes on the labels so far."""

import pytest

from data.state import SET_ASIDE
from labeling.labels_csv import NO_CLASS, NONE_ANSWER
from labeling.queries import Query, render_queries_page
from tests.labeling.test_page import press, reload, save, text, write_page
from tests.labeling.test_page_controls import (
    ANIMALS,
    CARD_TEXTS,
    DESKTOP,
    PHONE,
    SMALL,
    click,
    is_shown,
    read_saved,
)

NOTES = ["7 classes have labels so far.", "The labels cover too few classes: <b>look</b>."]


def write_noted_page(folder, notes=NOTES, earlier=()):
    """A page of three images with notes, and images of earlier cycles."""
    path = folder / "queries.html"
    page = render_queries_page(
        [Query(100 + n, None) for n in range(3)],
        tuple(ANIMALS),
        storage_key=str(folder),
        folder=str(folder),
        earlier=earlier,
        notes=notes,
    )
    path.write_bytes(page)
    return path


def card_answers(window) -> list[str]:
    """The answers on the cards, without the network's guesses."""
    return [
        words.partition(" ≠")[0].partition(" =")[0] for words in window.execute_script(CARD_TEXTS)
    ]


def is_open(window) -> bool:
    return window.execute_script("return document.getElementById('about').open")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_none_of_these_by_key_and_button(tmp_path, page, size):
    from selenium.webdriver.common.keys import Keys

    window = page(write_page(tmp_path, ANIMALS, count=4), size=size)
    press(window, "1", "-", ",")
    click(window, "none")
    assert text(window, "left").startswith("4 of 4 answered (1 cannot tell, 2 none of these)")
    expected = [["100", "ant", ""], ["101", NONE_ANSWER, ""], ["102", "cannot tell", ""],
                ["103", NONE_ANSWER, ""]]  # fmt: skip
    assert save(window, tmp_path) == expected
    labels = read_saved(tmp_path, ANIMALS, count=4).labels.tolist()
    assert labels == [0, SET_ASIDE, -1, SET_ASIDE]
    reload(window)
    assert "2 none of these" in text(window, "left")
    assert save(window, tmp_path) == expected
    press(window, Keys.HOME)
    press(window, Keys.ARROW_RIGHT)
    pressed = "return document.getElementById('none').getAttribute('aria-pressed')"
    assert window.execute_script(pressed) == "true"
    press(window, "3")
    assert card_answers(window)[:3] == ["ant", "cat", "cannot tell"]
    press(window, Keys.BACKSPACE)
    assert card_answers(window)[:3] == ["ant", NONE_ANSWER, "cannot tell"]


def test_it_is_not_the_name_of_a_new_class(tmp_path, page):
    from selenium.webdriver.common.keys import Keys

    window = page(write_page(tmp_path, ANIMALS, count=2))
    press(window, "*")
    press(window, "None of these", Keys.ENTER)
    assert "“None of these” is not the name of a class" in text(window, "status")
    assert "button “None of these”" in text(window, "status")


def test_a_class_of_this_name_has_its_own_answer(tmp_path, page):
    names = ["ant", NONE_ANSWER]
    window = page(write_page(tmp_path, names, count=2))
    press(window, "2", "-")
    cells = [row[1] for row in save(window, tmp_path)]
    assert cells == [NONE_ANSWER, "none of the classes"]
    assert read_saved(tmp_path, names, count=2).labels.tolist() == [1, SET_ASIDE]


def test_an_earlier_image_that_was_set_aside(tmp_path, page):
    """It can be found among the earlier answers, and gets its class."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    earlier = [
        Query(0, None, answer="ant", cycle=0),
        Query(1, None, answer=NO_CLASS, cycle=0),
        Query(2, None, answer=NO_CLASS, cycle=0),
    ]
    window = page(write_noted_page(tmp_path, earlier=earlier))
    click(window, "view-earlier")
    choice = Select(window.find_element(By.ID, "filter"))
    assert [one.text for one in choice.options] == ["All (3)", "None of these (2)", "ant (1)"]
    choice.select_by_visible_text("None of these (2)")
    assert window.execute_script(CARD_TEXTS) == [f"{NONE_ANSWER} cycle 0"] * 2
    window.execute_script("document.querySelector('#earlier-images .card:not([hidden])').focus()")
    press(window, "2")
    assert save(window, tmp_path) == [["1", "bee", ""]]
    click(window, "restore")
    assert text(window, "left").endswith("3 left")


@pytest.mark.parametrize("size", [DESKTOP, PHONE, SMALL])
def test_notes_are_read_on_request(tmp_path, page, size):
    """As text, whatever is in them; the images stay in view."""
    from selenium.webdriver.common.keys import Keys

    window = page(write_noted_page(tmp_path), size=size)
    assert is_shown(window, "about") and not is_open(window)
    window.execute_script("document.querySelector('#about summary').focus()")
    window.switch_to.active_element.send_keys(Keys.SPACE)
    assert is_open(window)
    assert text(window, "notes") == "".join(NOTES)
    wide = "return document.documentElement.scrollWidth <= innerWidth"
    assert window.execute_script(wide)
    window.execute_script("document.querySelector('#about summary').click()")
    assert not is_open(window)


def test_without_notes_there_is_nothing_to_open(tmp_path, page):
    window = page(write_noted_page(tmp_path, notes=()))
    assert not is_shown(window, "about")
