"""The page of a report: of real runs, in a real browser, and at its largest.

The tests in a browser need chromium and selenium, and are skipped without them."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import main_al
import report
from labeling import feature_map
from reports.curves import CURVE_COLORS
from reports.feature_maps import MAX_LABELED, GroupMap, RunMap
from reports.file_names import MAX_MAPS
from reports.page import render_page
from reports.run_images import RunImages, load_run_images
from reports.runs import group_runs, make_results_frame, read_runs_below
from reports.summary import summarize_runs
from reports.thumbnails import IMAGES_PER_ROW, allot_images, make_sprite
from scripts import digits_as_folder
from tests.reports.conftest import SHORT
from tests.reports.test_report import runs  # noqa: F401  fixture

NAMES = tuple(f"class {number}" for number in range(10))


def visible_methods(window) -> set[str]:
    """The numbers of the methods whose curves are visible."""
    script = (
        "return [...document.querySelectorAll('.curve')]"
        ".filter(c => getComputedStyle(c).display != 'none').map(c => c.dataset.method)"
    )
    return set(window.execute_script(script))


def count_visible(window, selector) -> int:
    """Number of visible elements that match a selector."""
    script = "return [...document.querySelectorAll(arguments[0])].filter(c => c.checkVisibility())"
    return len(window.execute_script(script, selector))


def test_every_control_works(real, page):
    from selenium.webdriver.common.keys import Keys

    window = page(real / "out" / "report.html")
    boxes = window.find_elements("name", "method")
    everything = {box.get_attribute("value") for box in boxes}
    assert len(everything) == 3 and visible_methods(window) == everything
    boxes[1].click()
    assert visible_methods(window) == everything - {boxes[1].get_attribute("value")}
    window.find_element("id", "none").click()
    assert visible_methods(window) == set() and not any(box.is_selected() for box in boxes)
    window.find_element("id", "all").click()
    assert visible_methods(window) == everything
    assert count_visible(window, ".band") == 1  # only random selection has two splits
    window.find_element("id", "spread").click()
    assert count_visible(window, ".band") == 0

    assert count_visible(window, ".run") == 5 and count_visible(window, ".picks") == 0
    words = window.find_element("id", "words")
    words.send_keys("Split 0 LP")
    assert count_visible(window, ".run") == 1
    assert window.find_element("id", "shown").text == "1 of 5 shown"
    window.find_element("id", "open").click()
    assert count_visible(window, ".picks") == 2
    words.send_keys(Keys.CONTROL + "a", Keys.DELETE, Keys.ENTER)  # Enter must not submit the form
    assert count_visible(window, ".run") == 5
    window.find_element("id", "close").click()
    assert count_visible(window, ".picks") == 0


def test_page_works_with_keyboard_and_on_a_phone(real, page):
    """Tab reaches every control, every control has a name, and the page fits a phone."""
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
    assert count_visible(window, ".picks") == 2
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
    colours = dict(re.findall(r"--([\w]+): #(\w+)", blocks[theme == "dark"]))
    for text in ("text", "quiet", "link"):
        for ground in ("back", "stripe"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for name in ("edge", *(f"c{i}" for i in range(len(CURVE_COLORS)))):
        assert contrast(colours[name], colours["back"]) >= 3, name
    if theme == "light":
        for i, colour in enumerate(CURVE_COLORS):
            colour = colour.removeprefix("#")
            assert colours[f"c{i}"] in (colour, colour[::2] if colour == "000000" else colour)


def thumbnails(page, number):
    """Yields (index, class name, pixels) of the images of a run, at their places in the sprite."""
    url = re.search(
        rf"#run{number} .picks i {{ background-image: url\(data:image/png;base64,(.*?)\)", page
    )
    sheet = np.array(Image.open(io.BytesIO(base64.b64decode(url[1]))))
    size = sheet.shape[1] // IMAGES_PER_ROW
    part = page.split(f'id="run{number}"')[1].split("</details>")[0]
    pattern = (
        r'position:(-?\d+)px (-?\d+)px"></i>(.*?)(?: <small>predicted.*?)? <small>(\d+)</small>'
    )
    for x, y, name, index in re.findall(pattern, part):
        column, row = -int(x) // 40, -int(y) // 40
        yield int(index), name, sheet[row * size :, column * size :][:size, :size]


def test_page_shows_the_chosen_images(real):
    page = (real / "out" / "report.html").read_text()
    groups = group_runs(read_runs_below(real / "runs")[0])
    ordered = [r for g in groups for r in sorted(g.runs, key=lambda r: (r.split, r.seed))]
    for number, run in enumerate(ordered):
        images = load_run_images(run.config)
        shown = list(thumbnails(page, number))
        assert len(shown) == 20  # the first ten, from a split or random, and ten chosen ones
        chosen = np.loadtxt(run.folder / "acquired.csv", delimiter=",", skiprows=1, dtype=int)
        assert [index for index, _, _ in shown][-len(chosen) :] == list(chosen[:, 2])
        assert [int(name) for _, name, _ in shown][-len(chosen) :] == list(chosen[:, 3])
        for index, name, pixels in shown:
            assert (pixels == np.asarray(images.images[index, 0])).all()
            assert int(name) == images.labels[index]
    assert "of them correct, %" in page and "add_lp:" not in page and "<dt>add_lp</dt>" in page


def test_reasons_for_missing_images(real, tmp_path):
    config = json.loads(next((real / "runs").rglob("split1/config.json")).read_text())
    complete = load_run_images(config)
    assert complete.images is not None and len(complete.initial_indices) == 10
    other_data = config | {"identity": config["identity"] | {"data": "0" * 16}}
    assert "has changed" in load_run_images(other_data).reason_missing
    not_installed = config | {"dataset": "mnist", "data_root": str(tmp_path)}
    assert str(tmp_path) in load_run_images(not_installed).reason_missing
    unknown = config | {"dataset": "lost"}
    assert "this version cannot read" in load_run_images(unknown).reason_missing
    other_split = load_run_images(config | {"split": 2})  # not the images that the run began with
    assert other_split.initial_indices is None and other_split.images is not None


def write_acquired(folder, cycles, budget, classes=10):
    rows = [
        f"{cycle},{order},{cycle * budget + order},{(cycle + order) % classes}"
        for cycle in range(cycles)
        for order in range(budget)
    ]
    (folder / "acquired.csv").write_text("cycle,order,index,label\n" + "\n".join(rows) + "\n")


def test_text_from_runs_is_escaped(runs, tmp_path, page):  # noqa: F811
    evil = "</script><img src=x onerror=alert(1)>'\"&"
    folder = runs(50, 60, al_method=evil, arch="}</style><b>")
    runs(50, 60, al_method="random")
    write_acquired(folder, 1, 3, 2)
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
    assert text.count(evil) >= 5 and "predicted: </script>" in text and "<i>bad" in text
    assert "The images cannot be shown" in text


def test_page_of_a_hundred_runs_stays_below_5_mb(runs, tmp_path):  # noqa: F811
    """With incompressible images (noise in colour) and 460 labels per run."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2000, 3, 32, 32), np.uint8)
    curve = np.linspace(20, 90, 10).round(2)
    for number in range(100):
        method = f"method{number % 10}"
        write_acquired(runs(*curve, split=number // 10, step=40, al_method=method), 9, 40)
    results = read_runs_below(tmp_path / "runs")[0]
    summary = summarize_runs(make_results_frame(results), "top1")
    images = RunImages(noise, np.zeros(2000, int), np.arange(1900, 2000))
    page = render_page(group_runs(results), summary, [], [], "top1", lambda config: images)
    assert 1_000_000 < len(page.encode()) < 5_000_000
    maps = make_large_maps(results[:MAX_MAPS])
    assert page.count("further images") == 100
    small_images = images._replace(images=noise[:, :1] // 255)  # names take most of the page
    page = render_page(
        group_runs(results), summary, [], [], "top1", lambda config: small_images, maps
    )
    assert len(page.encode()) < 5_000_000 and page.count("<small>") > 10_000


def make_large_maps(results):
    """A map for each of these runs, with as many labeled images as there can be."""
    rng = np.random.default_rng(0)
    count = feature_map.MAX_POINTS
    order = np.where(np.arange(count) < MAX_LABELED, np.arange(count), -1)
    points = feature_map.FeatureMap(
        images=np.arange(count),
        places=rng.random((count, 2)),
        labels=np.full(count, 9),
        predicted=np.full(count, 9),
        queries=order,
        method="UMAP",
        size=10**6,
    )
    run_map = RunMap(points, np.minimum(order, 9), np.arange(count) + 10**5, NAMES)
    return [GroupMap("name", run.folder, run_map) for run in results]


def test_allot_images():
    assert allot_images([10, 10, 10], 30) == [10, 10, 10]
    assert allot_images([10, 10, 10], 12) == [4, 4, 4]
    assert allot_images([2, 10, 10], 12) == [2, 5, 5]
    assert allot_images([], 5) == [] and allot_images([3], 0) == [0]


def test_sprite_of_any_number_of_channels():
    for channels in (1, 2, 3, 5):
        images = np.random.default_rng(0).integers(0, 256, (40, channels, 6, 6), np.uint8)
        sheet = np.array(Image.open(io.BytesIO(make_sprite(images, np.arange(33)))))
        assert sheet.shape[:2] == (12, 6 * IMAGES_PER_ROW)  # 33 images are two rows
        first = sheet[6:, :6].reshape(6, 6, -1)
        used = min(channels, 3)
        assert (first[..., :used] == images[32, :used].transpose(1, 2, 0)).all()


def test_the_look_at_the_data_is_on_the_page(tmp_path, page):
    """Two runs on one folder have one picture; a picture of somebody else is not shown."""
    photos = tmp_path / "photos"
    assert digits_as_folder.main([str(photos)]) == 0
    words = ["--dataset", "folder", "--data-root", str(photos), *SHORT.split()[2:]]
    for seed in ("1", "2"):
        assert main_al.main([*words, "--seed", seed, "--out", str(tmp_path / "runs")]) == 0
    (other, _) = sorted((tmp_path / "runs").rglob("results.csv"))
    shutil.copytree(other.parent, tmp_path / "runs/other")
    Image.new("L", (9, 9)).save(tmp_path / "runs/other/data.png")
    assert report.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    window = page(tmp_path / "out" / "report.html")
    (sheet,) = window.find_elements("css selector", "#data img")
    assert sheet.size["height"] > 400
    lines = [line.text for line in window.find_elements("css selector", "#data li")]
    assert "1437 training and 360 test images, 1797 distinct" in lines[0]
    assert window.find_element("css selector", "#data h3").text == str(photos)
