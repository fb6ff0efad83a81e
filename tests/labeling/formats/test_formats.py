"""One contract for all exchange formats: what is exported with answers is imported as the same
answers, and what nobody has answered is not an answer."""

import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.exchange import (
    UNWRITABLE,
    classes_for_tools,
    collect_answers,
    export_file_name,
    export_tasks,
)
from labeling.formats import FORMATS
from labeling.labels_csv import SKIP_ANSWER
from tests.examples import examples
from tests.labeling.formats.tasks import ODD_NAMES, SLASH, make_task, png
from utils.errors import UserError

PATHS = {12: "a/first picture.PNG", 3: "b/zweites Bild (2).tif", 700: "", 41: "dotted.name.jpeg"}


@pytest.fixture(params=FORMATS)
def file_format(request):
    return FORMATS[request.param]


def make_tasks(answers=(), guesses=()):
    answers, guesses = dict(answers), dict(guesses)
    return [
        make_task(order, index, path, answer=answers.get(index), guess=guesses.get(index))
        for order, (index, path) in enumerate(PATHS.items())
    ]


def import_again(out, file_format, **more):
    return collect_answers(file_format.read(out), [], PATHS, {}, **more)


def holds(file_format, name) -> bool:
    return file_format.refuse_class(name) is None


def test_answers_come_back(file_format, tmp_path):
    names = [name for name in ODD_NAMES if holds(file_format, name)]
    assert len(names) == len(ODD_NAMES)
    for start in range(0, len(names), 3):
        answers = dict(zip(PATHS, [*names[start : start + 3], SKIP_ANSWER], strict=True))
        out = tmp_path / str(start)
        export_tasks(make_tasks(answers), classes_for_tools(names), file_format, out)
        imported = import_again(out, file_format)
        assert imported.answers == answers
        assert not imported.ties and not imported.unknown and not imported.num_guesses


names = st.text(min_size=1, max_size=30).filter(
    lambda name: name == name.strip() and not UNWRITABLE.search(name)
)


@given(chosen=st.lists(names, min_size=1, max_size=4, unique=True), data=st.data())
@examples(60)
@pytest.mark.parametrize("file_format", FORMATS.values(), ids=FORMATS.keys())
def test_any_answers_come_back_or_are_refused(file_format, chosen, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    classes = classes_for_tools(chosen)
    answers = {index: data.draw(st.sampled_from(classes)) for index in PATHS}
    if not all(holds(file_format, name) for name in chosen):
        with pytest.raises(UserError):
            export_tasks(make_tasks(answers), classes, file_format, out)
        assert not out.exists()
        return
    export_tasks(make_tasks(answers), classes, file_format, out)
    assert import_again(out, file_format).answers == answers


def test_a_zip_file_is_a_folder(file_format, tmp_path):
    answers = dict.fromkeys(PATHS, "cat")
    export_tasks(make_tasks(answers), ["cat"], file_format, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for file in (tmp_path / "out").rglob("*"):
            archive.write(file, file.relative_to(tmp_path / "out"))
    assert import_again(tmp_path / "export.zip", file_format).answers == answers


def test_guesses_are_no_answers(file_format, tmp_path):
    tasks = make_tasks(guesses={12: "cat", 3: "dog", 700: "cat"}, answers={700: "dog"})
    export_tasks(tasks, ["cat", "dog"], file_format, tmp_path / "out")
    imported = import_again(tmp_path / "out", file_format)
    assert imported.answers == {700: "dog"} and not imported.unknown
    accepted = import_again(tmp_path / "out", file_format, accept_guesses=True).answers
    assert accepted in ({700: "dog"}, {12: "cat", 3: "dog", 700: "dog"})
    assert (len(accepted) == 3) == (imported.num_guesses == 2)


def test_images_are_in_the_export_in_their_order(file_format, tmp_path):
    export_tasks(make_tasks(), ["cat"], file_format, tmp_path / "out")
    files = {file.name: file.read_bytes() for file in (tmp_path / "out").rglob("*.png")}
    assert [files[name] for name in sorted(files)] == [png(order) for order in range(4)]
    assert [name.split("_")[1].split(".")[0] for name in sorted(files)] == ["12", "3", "700", "41"]


@pytest.mark.parametrize("name", ["voc", "imagefolder"])
@pytest.mark.parametrize("class_name", [SLASH, ".hidden", "back\\slash", "é" * 150])
def test_names_that_no_file_can_have_are_refused(name, class_name, tmp_path):
    with pytest.raises(UserError, match="another --format"):
        export_tasks(make_tasks(), [class_name], FORMATS[name], tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("class_name", ["bell\a", "lone\udcff"])
def test_names_that_are_not_text_are_refused(file_format, class_name, tmp_path):
    with pytest.raises(UserError, match="control characters") as error:
        export_tasks(make_tasks(), ["cat", class_name], file_format, tmp_path / "out")
    assert str(error.value).isprintable() and not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(file_format, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="--out"):
        export_tasks(make_tasks(), ["cat"], file_format, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "content", [b"", b"[1, 2]", b"{}", b"\xff\xfe\x00", b"<a><b></a>", b"PK\x03"]
)
def test_other_files_are_refused_in_one_line(file_format, content, tmp_path):
    for name in ("other.json", "other.xml", "labels.json"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            answers = file_format.read(tmp_path / name)
            raise UserError("nothing") if not answers else AssertionError(answers)
        assert "\n" not in str(error.value)


def test_exported_names_are_plain():
    name = export_file_name(3, 57, "bilder/Übung 1, a.b.JPG", ".jpg")
    assert name == "0003_57_bung_1_a_b.jpg" and json.dumps(name) == f'"{name}"'
    assert export_file_name(12345, 6, "", ".png") == "12345_6.png"
