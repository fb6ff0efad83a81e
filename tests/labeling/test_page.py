"""queries.html in a real browser, from disk: keys, clicks, undo, progress, labels.csv.

Chromium without a window; where there is none, or no selenium, these tests are skipped and say so.
Whatever they do, no script fails, and nothing is asked of any network."""

import csv
from contextlib import suppress

import numpy as np
import pytest

import main_al
from labeling import queries
from tests.commands.test_main_al import rows
from tests.labeling.test_oracle import (
    SHORT,
    killed_in_every_phase,
    truth_of,
)

SCHEMES = {"file", "data", "blob"}  # the last is what is saved
NAMES = [str(i) for i in range(10)]
TEXT = "return document.getElementById(arguments[0]).textContent"


def press(window, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(window).send_keys(key).perform()


def chord(window, key, letter):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(window).key_down(key).send_keys(letter).key_up(key).perform()


def text(window, name: str) -> str:
    return window.execute_script(TEXT, name)


def saved(window, folder) -> list[list[str]]:
    """What Ctrl S leaves in the folder of the page."""
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    chord(window, Keys.CONTROL, "s")
    path = folder / "labels.csv"
    WebDriverWait(window, 10).until(lambda _: path.exists())
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def leave(window) -> None:
    """Reload; -> was there a warning of answers that are not saved?"""
    from selenium.common.exceptions import NoAlertPresentException, UnexpectedAlertPresentException

    with suppress(UnexpectedAlertPresentException):
        window.refresh()
    with suppress(NoAlertPresentException):
        window.switch_to.alert.accept()


def write(folder, names, count=12, path="", guess=1):
    """A page of so many images in a folder; -> where."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)
    asked = [queries.Query(100 + i, pixels[i], path, guess, 0.5) for i in range(count)]
    where = folder / "queries.html"
    where.write_bytes(
        queries.render_queries_page(
            asked, tuple(names), storage_key=str(folder), folder=str(folder)
        )
    )
    return where


def test_a_cycle_of_a_session_is_answered_by_keys(tmp_path, page, run, session):
    """All by keys, one undone, the page reloaded half-way; the run goes on with what is saved."""
    from selenium.webdriver.common.keys import Keys

    folder, truth = tmp_path / "run", truth_of(session)
    assert run()[0] == 3
    asked = [row["index"] for row in rows(folder / "queries.csv")]
    window = page(folder / "queries.html")
    assert text(window, "left") == "0 of 6 answered, 6 left"
    assert not window.execute_script("return document.getElementById('guess').offsetHeight")
    press(window, *(truth[index] for index in asked[:2]), "5", Keys.BACKSPACE)
    assert text(window, "left") == "2 of 6 answered, 4 left"
    leave(window)
    assert text(window, "left") == "2 of 6 answered, 4 left"
    press(window, ".")  # the third is left for later
    press(window, *(truth[index] for index in asked[3:]), truth[asked[2]])
    assert "All are answered: save labels.csv." in text(window, "status")
    assert saved(window, folder) == [["index", "label"], *([i, truth[i]] for i in asked)]
    assert str(folder) in text(window, "status")
    words = [*SHORT.split(), "--al-nb-cycles", "1", "--run-dir", str(folder)]
    assert main_al.main([*words, "--oracle", "file"]) == 0
    first = (session / "results.csv").read_text().splitlines()[:2]
    assert (folder / "results.csv").read_text().splitlines() == first
    # A later page of the same folder begins with nothing answered.
    assert run()[0] == 3
    window = page(folder / "queries.html")
    assert text(window, "left") == "0 of 6 answered, 6 left"
    press(window, *(truth[row["index"]] for row in rows(folder / "queries.csv")))
    saved(window, folder)
    assert run("--al-nb-cycles", 2)[0] == 0
    for name in ("results.csv", "acquired.csv"):  # of three cycles there, of two here
        found, whole = ((where / name).read_bytes() for where in (folder, session))
        assert whole.startswith(found) and found.count(b"\n") > 2


def test_a_whole_session_is_answered_here_and_killed_in_every_phase(
    tmp_path,
    page,
    session,
    start,
):
    def answer(folder, truth):
        window = page(folder / "queries.html")
        press(window, *(truth[row["index"]] for row in rows(folder / "queries.csv")))
        saved(window, folder)

    killed_in_every_phase(tmp_path / "run", session, start, answer)


def test_the_guess_is_shown_on_request_or_after_the_answer(tmp_path, page):
    window = page(write(tmp_path, NAMES))
    cards = "return [...document.querySelectorAll('.guessed')].map((one) => one.textContent)"
    assert set(window.execute_script(cards)) == {""}
    press(window, "?")
    assert window.execute_script(cards)[:2] == ["? 1, 50 %", ""]
    press(window, "?", "1", "7")
    assert window.execute_script(cards)[:3] == ["= 1, 50 %", "≠ 1, 50 %", ""]
    label = "return document.querySelectorAll('.card')[1].getAttribute('aria-label')"
    assert window.execute_script(label) == "Image 2 of 12, 7, guess 1, 50 %"


def test_many_classes_are_typed(tmp_path, page):
    """A hundred, with a comma and quotes in the names, by the keyboard alone."""
    from selenium.webdriver.common.keys import Keys

    names = [f'{a}, "{b}"' for a in ("oak", "ash", "elm", "fir", "yew") for b in range(20)]
    window = page(write(tmp_path, names, count=3))
    press(window, "f", "i", Keys.ENTER)  # the first that begins so
    press(window, *'yew, "13', Keys.ENTER, *"zzz", Keys.ENTER, Keys.ESCAPE, *'"7"', Keys.ENTER)
    assert text(window, "left") == "3 of 3 answered, 0 left"
    found = [name for _, name in saved(window, tmp_path)[1:]]
    assert found == ['fir, "0"', 'yew, "13"', 'oak, "7"']


@pytest.mark.parametrize(
    "names, keys, answers",
    [
        (["cat", "<b>dog</b>", "emu"], "123", ["cat", "<b>dog</b>", "emu"]),
        ([f"class {i}" for i in range(12)], "ca2", ["class 0", "class 2", "class 11"]),
    ],
)
def test_fewer_classes_have_keys(tmp_path, page, names, keys, answers):
    window = page(write(tmp_path, names, count=3))
    given = (
        "return [...document.querySelectorAll('#classes button')].map((b) => b.ariaKeyShortcuts)"
    )
    found = window.execute_script(given)
    assert len(set(found)) == len(names) and all(len(key) == 1 for key in found)
    press(window, *(found[names.index(answer)] for answer in answers))
    assert [name for _, name in saved(window, tmp_path)[1:]] == answers


def test_without_single_keys_and_with_the_mouse(tmp_path, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    window = page(write(tmp_path, NAMES), size=(390, 844))
    press(window, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "image 3 of 12" in text(window, "status")
    switch = window.find_element(By.ID, "keys")
    switch.click()
    press(window, "4")
    assert text(window, "left") == "0 of 12 answered, 12 left"
    window.find_elements(By.CSS_SELECTOR, "#classes button")[4].click()
    window.find_elements(By.CSS_SELECTOR, ".card")[11].click()
    window.find_elements(By.CSS_SELECTOR, "#classes button")[9].click()
    assert [*saved(window, tmp_path)] == [["index", "label"], ["102", "4"], ["111", "9"]]
    assert "10 images have no answer yet" in text(window, "status")


@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (320, 256)])
def test_what_can_be_pressed_is_large_enough_and_has_a_name(tmp_path, page, size):
    """WCAG 2.2 AA: 24 pixels (ours are 44), a name; and nothing is wider than the screen."""
    window = page(write(tmp_path, NAMES), size=size)
    sizes = """const nameOf = (e) => e.ariaLabel || e.textContent || e.labels[0].textContent;
      const seen = [...document.querySelectorAll("button, input")].filter((e) => e.offsetHeight);
      return seen.map((e) => [e.offsetWidth, e.offsetHeight, nameOf(e)])"""
    found = window.execute_script(sizes)
    assert len(found) == 12 + 10 + 4 + 1 and all(name.strip() for *_, name in found)
    assert min(min(width, height) for width, height, _ in found) >= 24
    wide = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert window.execute_script(wide)
    stops = "return [...document.querySelectorAll('.card')].filter((e) => e.tabIndex === 0).length"
    assert window.execute_script(stops) == 1  # the arrow keys do the rest


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(tmp_path, page, scheme):
    """WCAG 2.2 AA, by its formula: 4.5 for text, 3 for edges and what marks the current image."""
    window = page(write(tmp_path, NAMES))
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    names = ("back", "front", "quiet", "card", "edge", "mark", "on-mark", "done", "apart")
    value = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0])"
    colour = {name: luminance(window.execute_script(value, f"--{name}")) for name in names}
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    texts = [("front", "back"), ("front", "card"), ("front", "done"), ("on-mark", "mark")]
    texts += [("quiet", "card"), ("quiet", "done"), ("quiet", "back")]
    texts += [("apart", "done"), ("apart", "back"), ("apart", "card")]
    edges = [("edge", "back"), ("edge", "card"), ("mark", "back"), ("mark", "card")]
    for pairs, least in ((texts, 4.5), (edges, 3)):
        for one, other in pairs:
            low, high = sorted((colour[one], colour[other]))
            assert (high + 0.05) / (low + 0.05) >= least, (one, other)
    assert (colour["front"] > colour["back"]) == (scheme == "dark")


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    shares = [int(colour.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_leaving_with_unsaved_answers_is_warned_of(tmp_path, page):
    window = page(write(tmp_path, NAMES))
    warned = """const event = new Event("beforeunload", { cancelable: true });
      window.dispatchEvent(event); return event.defaultPrevented"""
    assert not window.execute_script(warned)
    press(window, "3")
    assert window.execute_script(warned)
    saved(window, tmp_path)
    assert not window.execute_script(warned)
    leave(window)
    assert not window.execute_script(warned) and "1 of 12" in text(window, "left")
    press(window, "3")
    assert window.execute_script(warned)
    saved(window, tmp_path)
