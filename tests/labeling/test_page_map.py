"""queries.html in a real browser: the map of the features, and the filter by predicted class."""

import numpy as np
import pytest

from labeling.feature_map import make_feature_map
from labeling.queries import Query, render_queries_page
from tests.labeling.test_page import press, save, text
from tests.labeling.test_page_controls import (
    ANIMALS,
    CARD_TEXTS,
    DESKTOP,
    PHONE,
    SMALL,
    click,
    focused,
    is_shown,
)
from tests.waiting import wait_for

GUESSES = [0, 1, 1, 0, 2]  # of the five queries


def write_map_page(folder, guesses=GUESSES, with_map=True):
    """A page of five images, which are 10 to 14 of a map of 40; images 20 to 22 are labeled."""
    rng = np.random.default_rng(0)
    labels, queried = np.full(60, -1), np.arange(10, 15)
    labels[[20, 21, 22]] = [0, 1, 2]
    predicted = None
    if guesses[0] is not None:
        predicted = np.arange(40) % 3
        predicted[queried] = guesses
    feature_map = make_feature_map(
        rng.normal(size=(40, 6)),
        np.arange(40),
        labels=labels,
        predicted=predicted,
        queried=queried,
        seed=0,
    )
    page = render_queries_page(
        [Query(100 + n, None, guess=guess, confidence=0.5) for n, guess in enumerate(guesses)],
        tuple(ANIMALS),
        storage_key=str(folder),
        folder=str(folder),
        feature_map=feature_map if with_map else None,
    )
    path = folder / "queries.html"
    path.write_bytes(page)
    return path


def select(window, name: str, option: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    Select(window.find_element(By.ID, name)).select_by_visible_text(option)


def options(window, name: str) -> list[str]:
    script = "return [...document.getElementById(arguments[0]).options].map((one) => one.text)"
    return window.execute_script(script, name)


def current(window) -> str:
    return window.execute_script("return document.querySelector('[aria-current=true]').ariaLabel")


@pytest.mark.parametrize("size", [DESKTOP, PHONE, SMALL])
def test_every_point_is_on_the_map(tmp_path, page, size):
    window = page(write_map_page(tmp_path), size=size)
    click(window, "open-map")
    count = "return document.querySelectorAll(arguments[0]).length"
    assert window.execute_script(count, "#points circle") == 40 - 5 - 3
    assert window.execute_script(count, "#points rect") == 3
    assert window.execute_script(count, "#picks button") == 5
    inside = """const plane = document.getElementById("plane").getBoundingClientRect();
      return [...document.querySelectorAll("#points *:not(title), #picks button")].every((one) => {
        const { left, right, top, bottom } = one.getBoundingClientRect();
        const [x, y] = [(left + right) / 2, (top + bottom) / 2];
        return x >= plane.left - 1 && x <= plane.right + 1 && y >= plane.top - 1
          && y <= plane.bottom + 1; });"""
    assert window.execute_script(inside)
    assert window.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert "40 of 60 images, by the " in text(window, "map-caption")
    sizes = """return [...document.querySelectorAll("#picks button")].every((one) =>
      one.offsetWidth >= 24 && one.offsetHeight >= 24)"""
    assert window.execute_script(sizes)  # WCAG 2.5.8


def test_a_new_image_is_found_by_keyboard(tmp_path, page):
    """Arrow keys move between the new images, Enter goes to one, Escape closes the map."""
    from selenium.webdriver.common.keys import Keys

    window = page(write_map_page(tmp_path))
    press(window, "2")
    click(window, "open-map")
    window.execute_script("document.querySelector('#picks [tabindex=\"0\"]').focus()")
    label = "return document.activeElement.ariaLabel"
    assert window.execute_script(label) == "1: bee, predicted ant"
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_LEFT, Keys.END):
        window.switch_to.active_element.send_keys(key)
    assert window.execute_script(label) == "5: not answered, predicted cat"
    window.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)  # there is no further one
    window.switch_to.active_element.send_keys("1")  # does not answer the image below the map
    window.switch_to.active_element.send_keys(Keys.ENTER)
    assert not is_shown(window, "map")
    assert current(window).startswith("Image 5 of 5, index 104 not answered")
    click(window, "open-map")
    window.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_for(lambda: not is_shown(window, "map") and "card" in focused(window))
    assert save(window, tmp_path) == [["100", "bee", ""]]


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_new_image_is_found_with_the_pointer(tmp_path, page, size):
    window = page(write_map_page(tmp_path), size=size)
    click(window, "open-map")
    window.execute_script("document.querySelectorAll('#picks button')[2].click()")
    assert not is_shown(window, "map") and current(window).startswith("Image 3 of 5")
    click(window, "open-map")
    click(window, "close-map")
    assert not is_shown(window, "map")


def test_the_map_is_filtered_by_predicted_class(tmp_path, page):
    window = page(write_map_page(tmp_path))
    click(window, "open-map")
    assert options(window, "map-predicted")[0] == "All (40)"
    bees = next(one for one in options(window, "map-predicted") if one.startswith("bee"))
    select(window, "map-predicted", bees)
    dim = "return document.querySelectorAll('#map .dim').length"
    count = int(bees.partition("(")[2].rstrip(")"))
    assert window.execute_script(dim) == 40 - count
    assert text(window, "map-status") == f"{count} of 40 points, 2 of them new images."
    select(window, "map-predicted", "All (40)")
    assert window.execute_script(dim) == 0


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_new_images_are_filtered_by_predicted_class(tmp_path, page, size):
    """Answers go on to the next one in view; after the last one all images are back."""
    window = page(write_map_page(tmp_path), size=size)
    assert options(window, "predicted") == ["All (5)", "ant (2)", "bee (2)", "cat (1)"]
    select(window, "predicted", "bee (2)")
    assert len(window.execute_script(CARD_TEXTS)) == 2
    assert text(window, "status").startswith("2 of 5 new images.")
    assert current(window).startswith("Image 2 of 5")
    window.execute_script("document.querySelector('[aria-current=true]').focus()")
    press(window, "1")
    assert current(window).startswith("Image 3 of 5")
    press(window, "2")
    assert len(window.execute_script(CARD_TEXTS)) == 5
    assert current(window).startswith("Image 4 of 5")
    rows = [["101", "ant", ""], ["102", "bee", ""]]
    assert save(window, tmp_path) == rows


def test_before_any_training_there_is_nothing_to_filter(tmp_path, page):
    window = page(write_map_page(tmp_path, guesses=[None] * 5))
    assert not is_shown(window, "predicted")
    click(window, "open-map")
    assert not is_shown(window, "map-choice")
    window.execute_script("document.querySelector('#picks [tabindex=\"0\"]').focus()")
    assert window.execute_script("return document.activeElement.ariaLabel") == "1: not answered"


def test_a_page_without_a_map(tmp_path, page):
    window = page(write_map_page(tmp_path, with_map=False))
    assert not is_shown(window, "open-map")
