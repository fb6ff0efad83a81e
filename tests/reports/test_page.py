"""The page of a report: in a real browser, of real runs, and as large as it may get.

Chromium without a window; where there is none, or no selenium, those tests are skipped and say
so."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import main_al
import report
from reports.curves import CURVE_COLORS
from reports.page import render_page
from reports.run_images import RunImages, load_run_images
from reports.runs import group_runs, make_results_frame, read_runs_below
from reports.summary import summarize_runs
from reports.thumbnails import IMAGES_PER_ROW, allot_images, make_sprite
from tests.reports.test_report import runs  # noqa: F401  a fixture

SHORT = "--dataset digits --arch small_cnn --epochs 1 --al-nb-cycles 2 --al-budget 10 --device cpu"
REAL = ("", "--split 1", "--add-lp", "--al-method coreset", "--initial random")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A report of five short runs on digits; -> its folder."""
    home = tmp_path_factory.mktemp("real")
    for words in REAL:
        assert main_al.main([*SHORT.split(), *words.split(), "--out", str(home / "runs")]) == 0
    assert report.main([str(home / "runs"), "--out", str(home / "out")]) == 0
    return home


def drawn(window) -> set[str]:
    """The numbers of the methods whose curves are seen."""
    script = (
        "return [...document.querySelectorAll('.curve')]"
        ".filter(c => getComputedStyle(c).display != 'none').map(c => c.dataset.method)"
    )
    return set(window.execute_script(script))


def counted(window, selector) -> int:
    """How many of these have a place on the page."""
    script = "return [...document.querySelectorAll(arguments[0])].filter(c => c.checkVisibility())"
    return len(window.execute_script(script, selector))


def test_every_control_does_something(real, page):
    from selenium.webdriver.common.keys import Keys

    window = page(real / "out" / "report.html")
    boxes = window.find_elements("name", "method")
    everything = {box.get_attribute("value") for box in boxes}
    assert len(everything) == 3 and drawn(window) == everything
    boxes[1].click()
    assert drawn(window) == everything - {boxes[1].get_attribute("value")}
    window.find_element("id", "none").click()
    assert drawn(window) == set() and not any(box.is_selected() for box in boxes)
    window.find_element("id", "all").click()
    assert drawn(window) == everything
    assert counted(window, ".band") == 1  # of the two splits of random choice
    window.find_element("id", "spread").click()
    assert counted(window, ".band") == 0

    assert counted(window, ".run") == 5 and counted(window, ".picks") == 0
    words = window.find_element("id", "words")
    words.send_keys("Split 0 LP")
    assert counted(window, ".run") == 1
    assert window.find_element("id", "shown").text == "1 of 5 shown"
    window.find_element("id", "open").click()
    assert counted(window, ".picks") == 2
    words.send_keys(
        Keys.CONTROL + "a", Keys.DELETE, Keys.ENTER
    )  # Enter leaves the page where it is
    assert counted(window, ".run") == 5
    window.find_element("id", "close").click()
    assert counted(window, ".picks") == 0


def test_a_keyboard_and_a_phone_will_do(real, page):
    """All that can be clicked is reached by Tab and has a name; nothing sticks out of a phone."""
    window = page(real / "out" / "report.html", (390, 844))
    assert window.execute_script("return document.documentElement.scrollWidth") <= 390
    names = window.execute_script(
        "return [...document.querySelectorAll('input, button, summary, a, .scroll')].map(c => "
        "[c.tabIndex, ((c.labels && c.labels[0] || c).textContent || c.ariaLabel).trim()])"
    )
    assert len(names) > 25 and all(index >= 0 and name for index, name in names)
    small = window.execute_script(
        "return [...document.querySelectorAll('label, button, summary, nav a')].filter("
        "c => c.checkVisibility() && c.getBoundingClientRect().height < 24).length"
    )
    assert small == 0  # WCAG 2.2, target size
    summary = window.find_element("css selector", ".run summary")
    summary.send_keys(" ")
    assert counted(window, ".picks") == 2
    titles = window.execute_script(
        "return [...document.querySelectorAll('svg[role=img]')].map(s => "
        "document.getElementById(s.getAttribute('aria-labelledby')).textContent)"
    )
    assert len(titles) == 2 and all("top1 in percent over labels" in title for title in titles)


def luminance(colour: str) -> float:
    colour = colour * 2 if len(colour) == 3 else colour
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: str, two: str) -> float:
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(real, theme):
    """WCAG 2.2 AA: 4.5 to 1 for text, 3 to 1 for curves and the edges of controls."""
    blocks = re.findall(r":root \{(.*?)\}", (real / "out" / "report.html").read_text(), re.DOTALL)
    assert len(blocks) == 2
    found = dict(re.findall(r"--([\w]+): #(\w+)", blocks[theme == "dark"]))
    for text in ("text", "quiet", "link"):
        for ground in ("back", "stripe"):
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for name in ("edge", *(f"c{i}" for i in range(len(CURVE_COLORS)))):
        assert contrast(found[name], found["back"]) >= 3, name
    if theme == "light":
        for i, colour in enumerate(CURVE_COLORS):
            colour = colour.removeprefix("#")
            assert found[f"c{i}"] in (colour, colour[::2] if colour == "000000" else colour)


def tiles(page, number):
    """(index, name, pixels) of the images that a run shows, as the browser would place them."""
    url = re.search(
        rf"#run{number} .picks i {{ background-image: url\(data:image/png;base64,(.*?)\)", page
    )
    sheet = np.array(Image.open(io.BytesIO(base64.b64decode(url[1]))))
    size = sheet.shape[1] // IMAGES_PER_ROW
    part = page.split(f'id="run{number}"')[1].split("</details>")[0]
    pattern = r'position:(-?\d+)px (-?\d+)px"></i>(.*?)(?: <small>taken.*?)? <small>(\d+)</small>'
    for x, y, name, index in re.findall(pattern, part):
        column, row = -int(x) // 40, -int(y) // 40
        yield int(index), name, sheet[row * size :, column * size :][:size, :size]


def test_the_story_shows_the_images_that_were_chosen(real):
    page = (real / "out" / "report.html").read_text()
    samples = read_runs_below(real / "runs")[0]
    groups = group_runs(samples)
    ordered = [s for g in groups for s in sorted(g.runs, key=lambda s: (s.split, s.seed))]
    for number, sample in enumerate(ordered):
        found = load_run_images(sample.config)
        shown = list(tiles(page, number))
        assert len(shown) == 20  # the first ten, of a split or drawn, and those that were chosen
        chosen = np.loadtxt(sample.folder / "acquired.csv", delimiter=",", skiprows=1, dtype=int)
        assert [index for index, _, _ in shown][-len(chosen) :] == list(chosen[:, 2])
        assert [int(name) for _, name, _ in shown][-len(chosen) :] == list(chosen[:, 3])
        for index, name, pixels in shown:
            assert (pixels == np.asarray(found.images[index, 0])).all()
            assert int(name) == found.labels[index]
    assert "of them right, %" in page and "add_lp:" not in page and "<dt>add_lp</dt>" in page


def test_images_that_are_not_there_are_indices(real, tmp_path):
    config = json.loads(next((real / "runs").rglob("split1/config.json")).read_text())
    assert (
        load_run_images(config).images is not None
        and len(load_run_images(config).initial_indices) == 10
    )
    other = config | {"identity": config["identity"] | {"data": "0" * 16}}
    assert "is another than the run's" in load_run_images(other).reason_missing
    assert (
        "not"
        in load_run_images(config | {"dataset": "mnist", "data_root": str(tmp_path)}).reason_missing
    )
    assert (
        "none that this version reads"
        in load_run_images(config | {"dataset": "lost"}).reason_missing
    )
    split = config | {"split": 2}  # not the images that the run began with
    assert (
        load_run_images(split).initial_indices is None and load_run_images(split).images is not None
    )


def acquired(folder, cycles, budget, classes=10):
    rows = [
        f"{cycle},{order},{cycle * budget + order},{(cycle + order) % classes}"
        for cycle in range(cycles)
        for order in range(budget)
    ]
    (folder / "acquired.csv").write_text("cycle,order,index,label\n" + "\n".join(rows) + "\n")


def test_names_are_escaped_and_guesses_told(runs, tmp_path, page):  # noqa: F811
    evil = "</script><img src=x onerror=alert(1)>'\"&"
    folder = runs(50, 60, al_method=evil, arch="}</style><b>")
    runs(50, 60, al_method="random")
    acquired(folder, 1, 3, 2)
    (folder / "classes.txt").write_text(f"{evil}\ncat\n")
    (folder / "queries.csv").write_text(
        f'order,index,path,guess,confidence\n0,1,a,"{evil[:9]}",1\n'
    )
    (folder.parent / "<i>bad").mkdir()
    (folder.parent / "<i>bad" / "results.csv").touch()
    assert report.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    window = page(tmp_path / "out" / "report.html")
    assert window.find_elements("css selector", "img, b:not(.bars b), li > i:not([style])") == []
    window.find_element("id", "open").click()
    text = window.find_element("tag name", "main").text
    assert text.count(evil) >= 5 and "taken for </script>" in text and "<i>bad" in text
    assert "The images cannot be shown" in text


def test_a_hundred_runs_stay_below_5_mb(runs, tmp_path):  # noqa: F811
    """Of the worst images, noise, in colour, and 460 labels each."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2000, 3, 32, 32), np.uint8)
    curve = np.linspace(20, 90, 10).round(2)
    for number in range(100):
        method = f"method{number % 10}"
        acquired(runs(*curve, split=number // 10, step=40, al_method=method), 9, 40)
    samples = read_runs_below(tmp_path / "runs")[0]
    summary = summarize_runs(make_results_frame(samples), "top1")
    found = RunImages(noise, np.zeros(2000, int), np.arange(1900, 2000))
    page = render_page(group_runs(samples), summary, [], [], "top1", lambda config: found)
    assert 1_000_000 < len(page.encode()) < 5_000_000
    assert page.count("further images are left out") == 100
    found = RunImages(
        noise[:, :1] // 255, found.labels, found.initial_indices
    )  # small: the names are most
    page = render_page(group_runs(samples), summary, [], [], "top1", lambda config: found)
    assert len(page.encode()) < 5_000_000 and page.count("<small>") > 10_000


def test_what_does_not_fit_is_shared_out():
    assert allot_images([10, 10, 10], 30) == [10, 10, 10]
    assert allot_images([10, 10, 10], 12) == [4, 4, 4]
    assert allot_images([2, 10, 10], 12) == [2, 5, 5]
    assert allot_images([], 5) == [] and allot_images([3], 0) == [0]


def test_a_sprite_of_two_channels_and_of_many():
    for channels in (1, 2, 3, 5):
        images = np.random.default_rng(0).integers(0, 256, (40, channels, 6, 6), np.uint8)
        sheet = np.array(Image.open(io.BytesIO(make_sprite(images, np.arange(33)))))
        assert sheet.shape[:2] == (12, 6 * IMAGES_PER_ROW)  # 33 images are two rows
        first = sheet[6:, :6].reshape(6, 6, -1)
        kept = min(channels, 3)
        assert (first[..., :kept] == images[32, :kept].transpose(1, 2, 0)).all()
