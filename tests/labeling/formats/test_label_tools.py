"""Round trips through the real libraries of the label tools (tests.label_tools).

CVAT has no library of its own for its formats; its server uses datumaro."""

import subprocess
from pathlib import Path

import pytest

from labeling.exchange import classes_for_tools, collect_answers, export_tasks
from labeling.formats import FORMATS
from labeling.labels_csv import SKIP_ANSWER
from tests.label_tools import PYTHON, needs_label_tools
from tests.labeling.formats.tasks import ODD_NAMES, SLASH, make_task

NAMES = {"cvat": "cvat", "coco": "coco", "voc": "voc", "imagenet": "imagefolder"}  # datumaro: ours
PATHS = {100 - i: f"folder/pic {i}.x.tif" for i in range(len(ODD_NAMES) + 1)}
ANSWERS = dict(zip(PATHS, (*ODD_NAMES, SKIP_ANSWER), strict=True))

pytestmark = needs_label_tools


def run(script: str, *words) -> str:
    command = [PYTHON, Path(__file__).with_name(script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


def export(name: str, out: Path, answers: dict[int, str], guesses: dict[int, str] | None = None):
    tasks = [
        make_task(
            order, index, PATHS[index], answer=answers.get(index), guess=(guesses or {}).get(index)
        )
        for order, index in enumerate(PATHS)
    ]
    names = [*ODD_NAMES, *([SLASH] if SLASH in answers.values() else [])]
    export_tasks(tasks, classes_for_tools(names), FORMATS[name], out)


def import_again(name: str, out: Path):
    return collect_answers(FORMATS[name].read(out), ODD_NAMES, PATHS, {})


@pytest.fixture(scope="module")
def datumaro(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datumaro")
    for theirs, ours in NAMES.items():
        export(ours, folder / theirs, ANSWERS)
    run("datumaro_copy.py", folder, *NAMES)
    return folder


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_datumaro_reads_and_writes_the_answers(source, target, datumaro):
    imported = import_again(NAMES[target], datumaro / f"{source}_to_{target}")
    boxes_only = source == "coco" and target == "imagenet"  # datumaro makes no class of a box
    assert imported.answers == ({} if boxes_only else ANSWERS)
    assert not imported.unknown and not imported.ties


@pytest.mark.parametrize("name", ["JSON", "JSON_MIN", "CSV", "TSV"])
def test_label_studio_exports_the_answers(name, tmp_path):
    answers = ANSWERS | {100: SLASH}
    export("label-studio", tmp_path / "tasks", answers, guesses={90: "cat"})
    run("label_studio_convert.py", tmp_path / "tasks", tmp_path / "out")
    imported = import_again("label-studio", tmp_path / "out" / name)
    assert imported.answers == answers and not imported.unknown


def test_label_studio_leaves_predictions_alone(tmp_path):
    export("label-studio", tmp_path / "tasks", {}, guesses=dict.fromkeys(PATHS, "cat"))
    run("label_studio_convert.py", tmp_path / "tasks", tmp_path / "out")
    for name in ("JSON", "JSON_MIN", "CSV", "TSV"):
        assert not import_again("label-studio", tmp_path / "out" / name).answers


def test_fiftyone_reads_and_writes_the_answers_in_our_order(tmp_path):
    answers = ANSWERS | {100: SLASH}
    del answers[95]
    export("fiftyone", tmp_path / "in", answers, guesses={95: "cat"})
    files = run("fiftyone_copy.py", tmp_path / "in", tmp_path / "out").split()
    imported = import_again("fiftyone", tmp_path / "out")
    assert imported.answers == answers and imported.num_guesses == 1
    assert [int(name.split("_")[1]) for name in files] == list(PATHS)
