"""The map of the features on the page of a report, in a real browser."""

import re

import pytest

from tests.labeling.test_page import text
from tests.labeling.test_page_controls import DESKTOP, PHONE, SMALL, click, is_shown
from tests.labeling.test_page_map import options, select
from tests.reports.test_page import contrast

POINTS = "return document.querySelectorAll(arguments[0]).length"
CENTRE = """const mark = document.getElementById("mark");
  return [mark.getAttribute("visibility"), mark.cx.baseVal.value, mark.cy.baseVal.value]"""


def open_report(page, real, size=DESKTOP):
    return page(real / "out" / "report.html", size=size)


@pytest.mark.parametrize("size", [DESKTOP, PHONE, SMALL])
def test_every_point_is_on_the_map(real, page, size):
    window = open_report(page, real, size)
    assert len(options(window, "map-run")) == 4  # one per configuration, not per run
    assert window.execute_script(POINTS, "#points circle") == 1000 - 20
    assert window.execute_script(POINTS, "#points rect") == 20
    assert window.execute_script(POINTS, "#numbers text") == 20
    inside = """const plane = document.getElementById("plane").getBoundingClientRect();
      return [...document.querySelectorAll("#points > *")].every((one) => {
        const { left, right, top, bottom } = one.getBoundingClientRect();
        return right >= plane.left && left <= plane.right && bottom >= plane.top
          && top <= plane.bottom; });"""
    assert window.execute_script(inside)
    assert window.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert "1000 of 1437 images, by the " in text(window, "map-caption")
    sizes = """return [...document.querySelectorAll("#maps select, #maps button")].every((one) =>
      one.offsetWidth >= 24 && one.offsetHeight >= 24)"""
    assert window.execute_script(sizes)  # WCAG 2.5.8


def test_labeled_images_are_described_one_after_the_other(real, page):
    """By keyboard, in the order in which they were labeled, with their pictures."""
    from selenium.webdriver.common.keys import Keys

    window = open_report(page, real)
    assert not is_shown(window, "map-tile") and text(window, "map-point") == ""
    window.find_element("id", "map-next").send_keys(Keys.ENTER)
    first = text(window, "map-point")
    assert re.fullmatch(r"1 of 20: image \d+, labeled \d \(first labels\), predicted \d", first)
    assert is_shown(window, "map-tile") and window.execute_script(CENTRE)[0] == "visible"
    window.find_element("id", "map-previous").send_keys(Keys.ENTER)
    assert re.match(r"20 of 20: .* \(after cycle 1\)", text(window, "map-point"))
    window.find_element("id", "map-next").send_keys(" ")
    assert text(window, "map-point") == first


def test_the_picture_is_that_of_the_image(real, page):
    """The same part of the same picture as among the chosen images of the run."""
    window = open_report(page, real)
    for _ in range(3):
        click(window, "map-next")
    index = re.search(r"image (\d+),", text(window, "map-point"))[1]
    name = window.find_element("id", "map-tile").get_attribute("class").split("tile-")[1]
    same = """const [run, index] = arguments;
      const small = [...document.querySelectorAll(`#${run} .picks li`)].find((one) =>
        one.lastElementChild.textContent === index);
      const [one, other] = [small.querySelector("i"), document.getElementById("map-tile")]
        .map((tile) => getComputedStyle(tile));
      return [one.backgroundPosition === other.backgroundPosition,
        one.backgroundImage === other.backgroundImage, one.backgroundImage.length]"""
    position, image, length = window.execute_script(same, name, index)
    assert position and image and length > 100


def test_a_click_describes_the_nearest_labeled_image(real, page):
    from selenium.webdriver.common.action_chains import ActionChains

    window = open_report(page, real)
    click(window, "map-next")
    point, centre = text(window, "map-point"), window.execute_script(CENTRE)
    click(window, "map-previous")
    assert text(window, "map-point") != point
    plane = window.find_element("id", "plane")
    window.execute_script("arguments[0].scrollIntoView()", plane)
    x, y = ((part / 100 - 0.5) * plane.size["width"] for part in centre[1:])
    ActionChains(window).move_to_element_with_offset(plane, x, y).click().perform()
    assert window.execute_script(CENTRE) == centre and text(window, "map-point") == point


def test_points_are_left_out_by_cycle_and_prediction(real, page):
    window = open_report(page, real)
    assert options(window, "map-cycle") == ["All (20)", "first labels (10)", "after cycle 1 (10)"]
    assert text(window, "map-count") == "1000 of 1000 images, 20 of them labeled."
    click(window, "map-next")  # one of the first labels
    select(window, "map-cycle", "after cycle 1 (10)")
    assert text(window, "map-count") == "990 of 1000 images, 10 of them labeled."
    assert window.execute_script(POINTS, "#points .dim") == 10
    assert window.execute_script(POINTS, "#numbers .dim") == 10
    assert text(window, "map-point") == ""  # it is not in view any more
    click(window, "map-next")
    assert text(window, "map-point").startswith("11 of 20: ")
    select(window, "map-cycle", "All (20)")
    assert window.execute_script(POINTS, ".dim") == 0
    predicted = options(window, "map-predicted")[1]
    count = int(predicted.partition("(")[2].rstrip(")"))
    select(window, "map-predicted", predicted)
    assert text(window, "map-count").startswith(f"{count} of 1000 images")
    assert window.execute_script(POINTS, "#points .dim") == 1000 - count


def test_colours_by_cycle_or_by_class(real, page):
    window = open_report(page, real)
    fills = """return [...document.querySelectorAll("#points rect")].map((one) =>
      [one.querySelector("title").textContent, getComputedStyle(one).fill])"""
    cycles = {
        re.search(r"\((.*)\)", words)[1]: fill for words, fill in window.execute_script(fills)
    }
    assert len(set(cycles.values())) == 2 and is_shown(window, "key-cycle")
    assert window.execute_script(POINTS, "#points circle.unknown") == 980
    select(window, "map-cycle", "first labels (10)")
    select(window, "map-colours", "class")
    assert window.execute_script(POINTS, "#points .dim") == 10  # the choice stays
    labels = {
        re.search(r"labeled (\d)", words)[1]: fill for words, fill in window.execute_script(fills)
    }
    assert len(labels) == len(set(labels.values())) == 10
    assert is_shown(window, "key-class") and not is_shown(window, "key-cycle")
    names = "return [...document.querySelectorAll('#key-classes li')].map((one) => one.innerText)"
    assert window.execute_script(names) == [str(n) for n in range(10)]


def test_every_run_has_its_map(real, page):
    window = open_report(page, real)
    places = set()
    names = options(window, "map-run")
    for name in names[1:] + names[:1]:
        click(window, "map-next")
        select(window, "map-run", name)
        assert text(window, "map-point") == ""
        places.add(window.execute_script("return document.getElementById('points').innerHTML"))
    assert len(places) == 4


@pytest.mark.parametrize("theme", [0, 1])
def test_contrast_of_the_points(real, theme):
    """WCAG 2.2 AA, 1.4.11: 3 to 1 against the page."""
    page = (real / "out" / "report.html").read_text()
    back = re.findall(r"--back: #(\w+)", page)[theme]
    for name in (*(f"class{n}" for n in range(10)), "early", "late", "edge"):
        colour = re.findall(rf"--{name}: #(\w+)", page)[theme]
        assert contrast(colour, back) >= 3, name
