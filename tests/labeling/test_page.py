"""queries.html in a real browser, from disk: keys, clicks, undo, progress, labels.csv.

Chromium without a window; the tests are skipped if it or selenium is missing. In all of them no
script fails, and no network request is made."""

import csv
from contextlib import suppress

import numpy as np
import pytest

import main_al
from labeling import queries
from tests.commands.test_main_al import rows
from tests.labeling.sessions import SHORT, truth_of

SCHEMES = {"file", "data", "blob"}  # the last is used for saving
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


def save(window, folder) -> list[list[str]]:
    """Press Ctrl S; index, label and new_class of each row of the labels.csv beside the page."""
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    path = folder / "labels.csv"
    path.unlink(missing_ok=True)
    chord(window, Keys.CONTROL, "s")
    # The browser creates the file before it writes; the last line ends with a line break.
    WebDriverWait(window, 60).until(lambda _: path.exists() and path.read_bytes()[-1:] == b"\n")
    with open(path, newline="", encoding="utf-8") as file:
        header, *answers = csv.reader(file)
    assert header == ["index", "label", "new_class"]
    return answers


def reload(window) -> None:
    """Reload the page, past a warning about answers that are not saved."""
    from selenium.common.exceptions import NoAlertPresentException, UnexpectedAlertPresentException

    with suppress(UnexpectedAlertPresentException):
        window.refresh()
    with suppress(NoAlertPresentException):
        window.switch_to.alert.accept()


def write_page(folder, names, count=12, path="", guess=1, earlier=()):
    """Write a page with this many images; returns its path.

    earlier: answers of earlier cycles, two per cycle, of images 0, 1 and so on."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 1, 8, 8)).astype(np.uint8)
    query_list = [queries.Query(100 + i, pixels[i], path, guess, 0.5) for i in range(count)]
    earlier_list = [
        queries.Query(i, pixels[i % count], answer=answer, cycle=i // 2)
        for i, answer in enumerate(earlier)
    ]
    page_path = folder / "queries.html"
    page_path.write_bytes(
        queries.render_queries_page(
            query_list,
            tuple(names),
            storage_key=str(folder),
            folder=str(folder),
            earlier=earlier_list,
        )
    )
    return page_path


def test_answering_by_keys(tmp_path, page, run, session):
    """One answer is undone and the page reloaded half-way; the run resumes with the saved file."""
    from selenium.webdriver.common.keys import Keys

    folder, truth = tmp_path / "run", truth_of(session)
    assert run()[0] == 3
    queried = [row["index"] for row in rows(folder / "queries.csv")]
    window = page(folder / "queries.html")
    assert text(window, "left") == "0 of 6 answered, 6 left"
    assert not window.execute_script("return document.getElementById('guess').offsetHeight")
    press(window, *(truth[index] for index in queried[:2]), "5", Keys.BACKSPACE)
    assert text(window, "left") == "2 of 6 answered, 4 left"
    reload(window)
    assert text(window, "left") == "2 of 6 answered, 4 left"
    press(window, ".")  # the third is skipped
    press(window, *(truth[index] for index in queried[3:]), truth[queried[2]])
    assert "labels.csv" in text(window, "status")
    assert save(window, folder) == [[i, truth[i], ""] for i in queried]
    assert str(folder) in text(window, "status")
    words = [*SHORT.split(), "--al-nb-cycles", "1", "--run-dir", str(folder)]
    assert main_al.main([*words, "--oracle", "file"]) == 0
    first = (session / "results.csv").read_text().splitlines()[:2]
    assert (folder / "results.csv").read_text().splitlines() == first
    # A later page in the same folder starts without answers.
    assert run()[0] == 3
    window = page(folder / "queries.html")
    assert text(window, "left") == "0 of 6 answered, 6 left"
    press(window, *(truth[row["index"]] for row in rows(folder / "queries.csv")))
    save(window, folder)
    assert run("--al-nb-cycles", 2)[0] == 0
    for name in ("results.csv", "acquired.csv"):  # of two cycles; the session has three
        table, longer = ((path / name).read_bytes() for path in (folder, session))
        assert longer.startswith(table) and table.count(b"\n") > 2


def test_the_guess_is_shown_on_request_or_after_the_answer(tmp_path, page):
    window = page(write_page(tmp_path, NAMES))
    cards = "return [...document.querySelectorAll('.guessed')].map((one) => one.textContent)"
    assert set(window.execute_script(cards)) == {""}
    press(window, "?")
    assert window.execute_script(cards)[:2] == ["? 1, 50 %", ""]
    press(window, "?", "1", "7")
    assert window.execute_script(cards)[:3] == ["= 1, 50 %", "≠ 1, 50 %", ""]
    label = "return document.querySelectorAll('.card')[1].getAttribute('aria-label')"
    assert window.execute_script(label) == "Image 2 of 12, 7 ≠ 1, 50 % by the network"


def test_names_of_many_classes_are_typed(tmp_path, page):
    """A hundred classes with commas and quotes in their names, by keyboard only."""
    from selenium.webdriver.common.keys import Keys

    names = [f'{a}, "{b}"' for a in ("oak", "ash", "elm", "fir", "yew") for b in range(20)]
    window = page(write_page(tmp_path, names, count=3))
    press(window, "f", "i", Keys.ENTER)  # the first match
    press(window, *'yew, "13', Keys.ENTER, *"zzz", Keys.ENTER, Keys.ESCAPE, *'"7"', Keys.ENTER)
    assert text(window, "left") == "3 of 3 answered, 0 left"
    answers = [name for _, name, _ in save(window, tmp_path)]
    assert answers == ['fir, "0"', 'yew, "13"', 'oak, "7"']


@pytest.mark.parametrize(
    "names, keys, answers",
    [
        (["cat", "<b>dog</b>", "emu"], "123", ["cat", "<b>dog</b>", "emu"]),
        ([f"class {i}" for i in range(12)], "ca2", ["class 0", "class 2", "class 11"]),
    ],
)
def test_fewer_classes_have_keys(tmp_path, page, names, keys, answers):
    window = page(write_page(tmp_path, names, count=3))
    shortcuts = (
        "return [...document.querySelectorAll('#classes button')].map((b) => b.ariaKeyShortcuts)"
    )
    keys_of_classes = window.execute_script(shortcuts)
    assert len(set(keys_of_classes)) == len(names)
    assert all(len(key) == 1 for key in keys_of_classes)
    press(window, *(keys_of_classes[names.index(answer)] for answer in answers))
    assert [name for _, name, _ in save(window, tmp_path)] == answers


def test_without_shortcuts_and_with_the_mouse(tmp_path, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    window = page(write_page(tmp_path, NAMES), size=(390, 844))
    press(window, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "image 3 of 12" in text(window, "status")
    switch = window.find_element(By.ID, "keys")
    switch.click()
    press(window, "4")
    assert text(window, "left") == "0 of 12 answered, 12 left"
    window.find_elements(By.CSS_SELECTOR, "#classes button")[4].click()
    window.find_elements(By.CSS_SELECTOR, ".card")[11].click()
    window.find_elements(By.CSS_SELECTOR, "#classes button")[9].click()
    assert save(window, tmp_path) == [["102", "4", ""], ["111", "9", ""]]
    assert "10 images" in text(window, "status")


@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (320, 256)])
def test_controls_are_large_enough_and_have_names(tmp_path, page, size):
    """WCAG 2.2 AA: at least 24 pixels (ours have 44) and a name; no horizontal scrolling."""
    window = page(write_page(tmp_path, NAMES), size=size)
    sizes = """const nameOf = (e) => e.ariaLabel || e.textContent || e.labels[0].textContent;
      const visible = [...document.querySelectorAll("button, input")].filter((e) => e.offsetHeight);
      return visible.map((e) => [e.offsetWidth, e.offsetHeight, nameOf(e)])"""
    controls = window.execute_script(sizes)
    assert len(controls) == 12 + 10 + 9 and all(name.strip() for *_, name in controls)
    assert min(min(width, height) for width, height, _ in controls) >= 24
    fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert window.execute_script(fits)
    tab_stops = (
        "return [...document.querySelectorAll('.card')].filter((e) => e.tabIndex === 0).length"
    )
    assert window.execute_script(tab_stops) == 1  # the arrow keys reach the others


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(tmp_path, page, scheme):
    """WCAG 2.2 AA: at least 4.5 for text, 3 for edges and the mark of the current image."""
    window = page(write_page(tmp_path, NAMES))
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    names = ("back", "front", "quiet", "card", "edge", "mark", "on-mark", "done", "differs")
    value = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0])"
    colour = {name: luminance(window.execute_script(value, f"--{name}")) for name in names}
    window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    texts = [("front", "back"), ("front", "card"), ("front", "done"), ("on-mark", "mark")]
    texts += [("quiet", "card"), ("quiet", "done"), ("quiet", "back")]
    texts += [("differs", "done"), ("differs", "back"), ("differs", "card")]
    edges = [("edge", "back"), ("edge", "card"), ("mark", "back"), ("mark", "card")]
    for pairs, minimum in ((texts, 4.5), (edges, 3)):
        for one, other in pairs:
            low, high = sorted((colour[one], colour[other]))
            assert (high + 0.05) / (low + 0.05) >= minimum, (one, other)
    assert (colour["front"] > colour["back"]) == (scheme == "dark")


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(colour.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_warning_about_unsaved_answers(tmp_path, page):
    window = page(write_page(tmp_path, NAMES))
    warns = """const event = new Event("beforeunload", { cancelable: true });
      window.dispatchEvent(event); return event.defaultPrevented"""
    assert not window.execute_script(warns)
    press(window, "3")
    assert window.execute_script(warns)
    save(window, tmp_path)
    assert not window.execute_script(warns)
    reload(window)
    assert not window.execute_script(warns) and "1 of 12" in text(window, "left")
    press(window, "3")
    assert window.execute_script(warns)
    save(window, tmp_path)
