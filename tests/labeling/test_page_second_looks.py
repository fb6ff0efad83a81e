"""Doubtful labels on queries.html in a real browser: first, with others beside them."""

import numpy as np
import pytest

from labeling import queries
from tests.labeling.test_page import press, reload, save, text
from tests.labeling.test_page_controls import (
    ANIMALS,
    CARD_TEXTS,
    DESKTOP,
    PHONE,
    SCHEMES,  # noqa: F401, the schemes of the requests that the page may make
    choose,
    click,
    focused,
    is_shown,
)

SIDES = """return [...document.querySelectorAll(".side")].map((side) => side.innerText)"""


def write_looks_page(folder, count=3, side=8):
    """A page with two doubtful labels, images 0 (ant, perhaps bee) and 1 (bee, perhaps cat), and
    `count` new images from 100 on."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 1, side, side)).astype(np.uint8)
    earlier = [
        queries.Query(i, pixels[i], answer=name, cycle=0)
        for i, name in enumerate(["ant", "bee", "ant", "bee", "bee"])
    ]
    looks = [
        queries.SecondLook(earlier[0], "bee", (earlier[2], earlier[3], earlier[4])),
        queries.SecondLook(earlier[1], "cat", (earlier[3],)),
    ]
    page_path = folder / "queries.html"
    page_path.write_bytes(
        queries.render_queries_page(
            [queries.Query(100 + i, pixels[5], guess=1, confidence=0.5) for i in range(count)],
            tuple(ANIMALS),
            storage_key=str(folder),
            folder=str(folder),
            earlier=earlier,
            second_looks=looks,
        )
    )
    return page_path


def keep_buttons(window):
    from selenium.webdriver.common.by import By

    return window.find_elements(By.CSS_SELECTOR, ".side button")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_doubtful_labels_come_first_beside_their_neighbours(tmp_path, page, size):
    window = page(write_looks_page(tmp_path), size=size)
    assert text(window, "left") == "0 of 3 answered, 3 left, 2 to look at again"
    cards = window.execute_script(CARD_TEXTS)
    assert cards == ["ant cycle 0", "bee cycle 0", "–", "–", "–"]
    first, second = window.execute_script(SIDES)
    assert "Is it ant? The other labels suggest bee." in first
    assert "Labeled ant:" in first and "Labeled bee:" in first
    assert "Labeled bee:" in second and "No other image is labeled cat." in second
    shown = "return [...document.querySelectorAll('.side')].map((one) => one.querySelectorAll"
    assert window.execute_script(shown + "('img').length)") == [3, 1]
    # Everything fits into the width of the window.
    wide = "return document.documentElement.scrollWidth <= innerWidth"
    assert window.execute_script(wide)
    assert window.execute_script(
        "return [...document.querySelectorAll('.comparison')]"
        ".every((one) => one.scrollWidth <= one.clientWidth)"
    )


def test_answering_by_keys(tmp_path, page):
    """One label is kept and one changed; all are in labels.csv."""
    from selenium.webdriver.common.keys import Keys

    window = page(write_looks_page(tmp_path))
    press(window, "=")
    assert "Doubtful label 1 of 2: kept ant." in text(window, "status")
    press(window, "3", "1")
    assert window.execute_script(CARD_TEXTS)[:3] == ["ant kept", "cat was bee", "ant ≠ bee, 50 %"]
    assert text(window, "left") == "1 of 3 answered, 2 left, 1 corrected"
    press(window, "=")  # nothing: the current image has no label to keep
    assert text(window, "left") == "1 of 3 answered, 2 left, 1 corrected"
    press(window, "2", "2")
    assert "All images are answered" in text(window, "status")
    expected = [["0", "ant", ""], ["1", "cat", ""]]
    expected += [["100", "ant", ""], ["101", "bee", ""], ["102", "bee", ""]]
    assert save(window, tmp_path) == expected
    reload(window)
    assert text(window, "left") == "3 of 3 answered, 0 left, 1 corrected"
    assert save(window, tmp_path) == expected
    press(window, Keys.BACKSPACE)  # the history of undoing is gone after reloading
    assert text(window, "left") == "3 of 3 answered, 0 left, 1 corrected"


def test_undo_and_skip(tmp_path, page):
    from selenium.webdriver.common.keys import Keys

    window = page(write_looks_page(tmp_path))
    press(window, "=", Keys.BACKSPACE)
    assert text(window, "left").endswith("2 to look at again")
    press(window, ".", ".")  # both are left for later
    press(window, "1", "1", "1")
    assert text(window, "left") == "3 of 3 answered, 0 left, 2 to look at again"
    assert len(save(window, tmp_path)) == 3
    assert "Saved. 2 doubtful labels stay." in text(window, "status")


def test_the_mouse_and_the_arrow_keys(tmp_path, page):
    from selenium.webdriver.common.keys import Keys

    window = page(write_looks_page(tmp_path, count=9))
    keep_buttons(window)[1].click()
    assert "Doubtful label 2 of 2: kept bee." in text(window, "status")
    assert "card" in focused(window)
    press(window, Keys.HOME, Keys.ARROW_DOWN)
    assert text(window, "status").startswith("Now doubtful label 2 of 2")
    press(window, Keys.ARROW_DOWN)
    assert text(window, "status").startswith("Now image 1 of 9")
    press(window, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert text(window, "status").startswith("Now doubtful label 2 of 2")
    press(window, Keys.ARROW_UP)
    choose(window, "cat")
    assert window.execute_script(CARD_TEXTS)[0] == "cat was ant"
    click(window, "view-earlier")
    assert is_shown(window, "earlier")
    assert window.execute_script(CARD_TEXTS) == ["ant cycle 0", "bee cycle 0", "bee cycle 0"]


def test_a_page_without_doubtful_labels_has_no_sides(tmp_path, page):
    from tests.labeling.test_page import write_page

    window = page(write_page(tmp_path, ANIMALS, count=2))
    press(window, "=")
    assert text(window, "left") == "0 of 2 answered, 2 left"
    assert not keep_buttons(window)
