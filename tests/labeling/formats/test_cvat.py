"""CVAT for images 1.1."""

import pytest

from labeling.exchange import collect_answers
from labeling.formats import cvat
from utils.errors import UserError

XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><job><labels><label><name>cat</name></label></labels>
</job></meta>
<image id="0" name="0000_10.png" width="8" height="8"><tag label="cat" source="{}"></tag></image>
<image id="1" name="sub/0001_11.png" width="8" height="8">
  <tag label="cat" source="file"></tag><tag label="dog" source="manual"></tag></image>
<image id="2" name="0002_12.png" width="8" height="8">
  <box label="dog" source="manual" xtl="0" ytl="0" xbr="8" ybr="8"></box>
  <polygon label="dog" source="manual" points="0,0;1,1;0,1"></polygon></image>
<image id="3" name="0003_13.png" width="8" height="8"></image>
<image id="4" name="0004_14.png" width="8" height="8">
  <tag label="dog" source="manual"></tag><tag label="cat" source="manual"></tag></image>
</annotations>"""
QUERIES = dict.fromkeys(range(10, 15), "")


@pytest.mark.parametrize("source", ["manual", "semi-auto", "auto", "file"])
def test_only_tags_of_a_person_are_answers(source, tmp_path):
    (tmp_path / "annotations.xml").write_text(XML.format(source))
    imported = collect_answers(cvat.read(tmp_path), ["cat", "dog"], QUERIES, {})
    confirmed = source in ("manual", "semi-auto")
    assert imported.answers == {11: "dog", 12: "dog"} | ({10: "cat"} if confirmed else {})
    assert imported.num_guesses == (not confirmed)
    assert imported.ties == {14: ["cat", "dog"]}


def test_a_video_is_refused(tmp_path):
    (tmp_path / "a.xml").write_text("<annotations><track id='0' label='cat'></track></annotations>")
    with pytest.raises(UserError, match=r"1\.1"):
        cvat.read(tmp_path / "a.xml")
