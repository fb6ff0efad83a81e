"""queries.csv and the data within queries.html; test_page.py opens the page in a browser."""

import base64
import csv
import io
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from labeling.labels_csv import SKIP_ANSWER, SKIPPED
from labeling.queries import (
    MAX_EARLIER_SIDE,
    Query,
    render_queries_csv,
    render_queries_page,
)

NOT_UTF8 = os.fsdecode(b"caf\xe9")


def page_content(queries, class_names=("ant", "bee"), **more) -> dict:
    html = render_queries_page(queries, class_names, storage_key="key", folder="run", **more)
    return json.loads(re.search(r'type="application/json">(.*?)</script>', html.decode())[1])


def decode_image(uri: str) -> tuple[str | None, np.ndarray]:
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return image.format, np.asarray(image)


def test_no_cell_of_queries_csv_is_a_formula():
    queries = [
        Query(7, None, "=cmd.png", 0, 0.5),
        Query(3, None, "'+1.png", None),
        Query(8, None, "a/b.png", 1, 0.25),
    ]
    text = render_queries_csv(queries, ("@ant", "bee")).decode()
    assert list(csv.reader(text.splitlines())) == [
        ["order", "index", "path", "guess", "confidence"],
        ["0", "7", "'=cmd.png", "'@ant", "0.5000"],
        ["1", "3", "''+1.png", "", ""],
        ["2", "8", "a/b.png", "bee", "0.2500"],
    ]


def test_the_page_has_the_accepted_answers():
    query = Query(5, None)
    earlier = [
        Query(1, None, answer=SKIP_ANSWER, cycle=0),
        Query(2, None, answer="ant", cycle=0),
        Query(5, None, answer=SKIP_ANSWER, cycle=0),  # is queried again
        Query(1, None, answer="bee", cycle=1),
    ]
    content = page_content([query], earlier=earlier)
    assert [(one["index"], one["answer"], one["cycle"]) for one in content["earlier"]] == [
        (1, 1, 1),
        (2, 0, 0),
    ]
    assert page_content([query], earlier=earlier[:1])["earlier"][0]["answer"] == SKIPPED
    named = page_content([query], ("ant", SKIP_ANSWER), earlier=earlier[:1])
    assert named["earlier"][0]["answer"] == 1  # a class of this name
    with pytest.raises(ValueError, match="not in tuple"):
        page_content([query], earlier=[Query(1, None, answer="gnu", cycle=0)])


def test_what_stands_for_cannot_tell_is_not_the_name_of_a_class():
    query = Query(5, None)
    answers = [SKIP_ANSWER, "skip", "?", "-1", ""]
    for taken, answer in enumerate(answers):
        assert page_content([query], ("ant", *answers[:taken]))["skipAnswer"] == answer


def test_names_that_are_not_utf8_are_printable():
    content = page_content([Query(0, None, f"{NOT_UTF8}/1.png")], ("ant", NOT_UTF8, "two  blanks"))
    assert content["classes"] == ["ant", r"caf\udce9", "two  blanks"]
    assert content["cells"] == content["classes"]
    assert content["queries"][0]["path"] == r"caf\udce9/1.png"


@pytest.mark.parametrize("channels", [1, 3])
def test_small_earlier_images_are_exact_and_large_ones_are_reduced(channels):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (channels, 20, 30)).astype(np.uint8)
    large = np.full((channels, 400, 800), 90, np.uint8)
    earlier = [
        Query(i, pixels, answer="ant", cycle=0) for i, pixels in enumerate((small, large, None))
    ]
    content = page_content([Query(9, large)], earlier=earlier)
    images = [one["image"] for one in content["earlier"]]
    image_format, pixels = decode_image(images[0])
    assert image_format == "PNG"
    np.testing.assert_array_equal(pixels, small[0] if channels == 1 else small.transpose(1, 2, 0))
    image_format, pixels = decode_image(images[1])
    assert image_format == "JPEG"
    assert pixels.shape[:2] == (MAX_EARLIER_SIDE // 2, MAX_EARLIER_SIDE)
    np.testing.assert_allclose(pixels, 90, atol=2)
    assert images[2] is None
    image_format, pixels = decode_image(content["queries"][0]["image"])  # that of a query is not
    assert image_format == "PNG" and pixels.shape[:2] == (400, 800)
