"""labels.py as a command: a run that waits, a label tool's answers, and the run that continues."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import labels
import main_al
from labeling.formats import FORMATS
from tests.commands.test_main_al import rows
from tests.conftest import ROOT

CLASSES = ("cat", "naïve été", "=dog")
WORDS = "--dataset folder --oracle file --initial random --al-budget 4 --epochs 2 --device cpu"
SETTINGS = ("--al-method", "random", "--al-nb-cycles", "2")


def write_images(folder):
    """Twelve images per class, all but two of each without a label; JPEG, PNG and TIFF."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        for i in range(12):
            part = (f"train/{name}", f"test/{name}")[i] if i < 2 else "unlabeled"
            path = folder / part / f"{number}-{i}{('.png', '.JPG', '.tif')[i % 3]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 60, (10, 10, 3), dtype=np.uint8) + np.uint8(80 * number)
            Image.fromarray(pixels).save(path)


def main(*words) -> int:
    return main_al.main([*WORDS.split(), *SETTINGS, *map(str, words)])


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """The folder of a run that waits for its second labels, and has guesses."""
    folder = tmp_path_factory.mktemp("labels")
    write_images(folder / "photos")
    run = folder / "run"
    words = ["--data-root", folder / "photos", "--run-dir", run]
    assert main(*words) == 3
    queries = rows(run / "queries.csv")
    text = "".join(f"{query['index']},{truth(query['path'])}\n" for query in queries)
    (run / "labels.csv").write_text("index,label\n" + text)
    assert main(*words) == 3
    return folder


@pytest.fixture
def run(waiting, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(waiting / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def call(capsys):
    """labels.py -> exit status, standard output, standard error."""

    def run_command(*words):
        capsys.readouterr()
        try:
            status = labels.main([str(word) for word in words])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return run_command


def truth(path: str) -> str:
    return CLASSES[int(path.rpartition("/")[2][0])]


def test_the_tasks_hold_images_and_guesses_in_the_runs_order(run, waiting, tmp_path, call):
    status, out, err = call("export", run, "--format", "label-studio", "--out", tmp_path / "out")
    assert status == 0 and not err and "4 images" in out
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    queries = rows(run / "queries.csv")
    for task, query in zip(tasks, queries, strict=True):
        data, prediction = task["data"], task["predictions"][0]
        assert (data["index"], data["path"]) == (int(query["index"]), query["path"])
        assert prediction["score"] == pytest.approx(float(query["confidence"]))
        assert prediction["result"][0]["value"]["choices"][0] in CLASSES
        exported = tmp_path / "out" / "images" / data["file"]
        own = waiting / "photos" / query["path"]
        assert (exported.read_bytes() == own.read_bytes()) == (own.suffix != ".tif")
        assert Image.open(exported).size == (10, 10)


@pytest.mark.parametrize("name", FORMATS)
def test_answers_of_every_tool_reach_the_run(name, run, tmp_path, call):
    """Without the tools: guesses taken as answers where the format keeps them, otherwise the
    images are answered by hand as a tool would."""
    out = tmp_path / "out"
    assert call("export", run, "--format", name, "--out", out)[0] == 0
    answer_by_hand(name, out)
    status, text, err = call("import", run, out, "--format", name)
    assert status == 0, (text, err)
    assert text.startswith("4 of 4 queries answered\n")
    written = {row["index"]: row["label"].removeprefix("'") for row in rows(run / "labels.csv")}
    queries = rows(run / "queries.csv")
    assert written == {query["index"]: truth(query["path"]) for query in queries}
    assert list(written) == [query["index"] for query in queries]


def answer_by_hand(name, out):
    """Give every image of an export its class, in the form in which the tool saves it."""
    images = sorted(path for path in out.rglob("*_*_*") if path.suffix in (".png", ".jpg"))
    classes = {path.name: CLASSES[int(path.stem.split("_")[2][0])] for path in images}
    if name == "label-studio":
        tasks = json.loads((out / "tasks.json").read_text())
        for task in tasks:
            [prediction] = task.pop("predictions")
            prediction["result"][0]["value"]["choices"] = [classes[task["data"]["file"]]]
            task["annotations"] = [{"result": prediction["result"], "completed_by": 1}]
        (out / "tasks.json").write_text(json.dumps(tasks))
    elif name == "cvat":
        lines = [
            f'<image name="{image}"><tag label="{label}" source="manual"/></image>'
            for image, label in classes.items()
        ]
        (out / "annotations.xml").write_text(f"<annotations>{''.join(lines)}</annotations>")
    elif name == "fiftyone":
        content = {"classes": None, "labels": {n.split(".")[0]: c for n, c in classes.items()}}
        (out / "labels.json").write_text(json.dumps(content))
    elif name == "coco":
        file = out / "annotations" / "instances_default.json"
        content = json.loads(file.read_text())
        ids = {category["name"]: category["id"] for category in content["categories"]}
        content["annotations"] = [
            {"image_id": image["id"], "category_id": ids[classes[image["file_name"]]]}
            for image in content["images"]
        ]
        file.write_text(json.dumps(content))
    elif name == "voc":
        for image, label in classes.items():
            with open(out / "ImageSets" / "Main" / f"{label}_default.txt", "a") as file:
                file.write(f"{image.split('.')[0]}  1\n")
    else:
        for path in images:
            path.rename(out / classes[path.name] / path.name)


def test_the_run_continues_with_a_tools_answers(run, waiting, tmp_path, call):
    call("export", run, "--format", "imagefolder", "--out", tmp_path / "out")
    answer_by_hand("imagefolder", tmp_path / "out")
    call("import", run, tmp_path / "out", "--format", "imagefolder")
    assert main("--data-root", waiting / "photos", "--run-dir", run) == 0
    status, _, _ = call(
        *("export", run, "--what", "answers", "--format", "imagefolder"),
        *("--out", tmp_path / "answers"),
    )
    files = [path.relative_to(tmp_path / "answers") for path in (tmp_path / "answers").rglob("*.*")]
    assert status == 0 and len(files) == 8
    assert all(CLASSES[int(path.stem.split("_")[2][0])] == path.parent.name for path in files)
    status, _, err = call("import", run, tmp_path / "answers", "--format", "imagefolder")
    assert status == 2 and err.startswith("labels.py: error: ") and err.count("\n") == 1


def test_an_incomplete_import_waits_for_the_rest(run, tmp_path, call):
    out = tmp_path / "out"
    call("export", run, "--format", "imagefolder", "--out", out)
    images = sorted((out / "no_label").iterdir())
    images[0].rename(out / "cat" / images[0].name)
    images[1].rename(out / "cannot tell" / images[1].name)
    (out / "zebra").mkdir()
    images[2].rename(out / "zebra" / images[2].name)
    status, text, _ = call("import", run, out, "--format", "imagefolder")
    missing = rows(run / "queries.csv")[3]["index"]
    assert status == 3
    assert text.startswith(f"2 of 4 queries answered, 1 skipped, 1 missing: {missing}\n")
    assert "'zebra'" in text
    with open(run / "labels.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["label"] for row in written] == ["cat", "cannot tell", "zebra"]
    assert [row["new_class"] for row in written] == ["", "", "yes"]


def test_corrections_only_when_asked_for(run, tmp_path, call):
    out = tmp_path / "out"
    call("export", run, "--what", "all", "--format", "imagefolder", "--out", out)
    answered = sorted((out / "cat").iterdir())[0]
    answered.rename(out / "=dog" / answered.name)
    status, _, err = call("import", run, out, "--format", "imagefolder")
    assert status == 2 and "--corrections" in err and not (run / "labels.csv").exists()
    status, _, _ = call("import", run, out, "--format", "imagefolder", "--corrections")
    assert status == 3
    index = answered.name.split("_")[1]
    assert [row["index"] for row in rows(run / "labels.csv")] == [index]


def test_moved_data_are_named(run, waiting, tmp_path, call):
    shutil.copytree(waiting / "photos", tmp_path / "elsewhere")
    words = ["export", run, "--format", "cvat", "--out", tmp_path / "out"]
    assert call(*words, "--data-root", tmp_path / "elsewhere")[0] == 0
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "elsewhere" / "unlabeled" / "0-2.tif").unlink()
    status, _, err = call(*words, "--data-root", tmp_path / "elsewhere")
    assert status == 2 and "--data-root" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words, reason",
    [
        (["export", "{tmp}", "--format", "cvat", "--out", "{tmp}/o"], "not a run folder"),
        (["export", "{run}", "--format", "cvat", "--out", "{run}"], "--out"),
        (["export", "{run}", "--format", "yolo", "--out", "{tmp}/o"], "label-studio"),
        (
            ["export", "{run}", "--format", "coco", "--out", "{tmp}/o", "--images-prefix", "/d/"],
            "--format label-studio",
        ),
        (["import", "{run}", "{tmp}/none.json", "--format", "coco"], "does not exist"),
        (["import", "{run}", "{run}/config.json", "--format", "coco"], "COCO"),
        (["import", "{tmp}", "{run}/config.json", "--format", "coco"], "not a run folder"),
        ([], "export|import"),
        (["export", "{run}", "--form", "cvat"], "--format"),
    ],
)
def test_bad_input_is_refused_in_one_line(words, reason, run, tmp_path, call):
    before = sorted(path.name for path in run.iterdir())
    status, _, err = call(*(word.format(run=run, tmp=tmp_path) for word in words))
    assert status == 2 and reason in err and err.count("\n") == 1
    assert err.startswith("labels.py")
    assert sorted(path.name for path in run.iterdir()) == before


def test_the_command_as_a_process(run, tmp_path, command, call):
    out = tmp_path / "out"
    assert call("export", run, "--format", "voc", "--out", out)[0] == 0
    done = command("python", ROOT / "labels.py", "import", run, out, "--format", "voc")
    assert done.returncode == 2 and "4 missing" in done.stderr


def test_images_by_address_for_label_studio(run, tmp_path, call):
    out = tmp_path / "out"
    prefix = "/data/local-files/?d=tasks/images/"
    call("export", run, "--format", "label-studio", "--out", out, "--images-prefix", prefix)
    for task in json.loads((out / "tasks.json").read_text()):
        assert task["data"]["image"] == prefix + task["data"]["file"]


def test_a_data_set_without_files(tmp_path, call):
    """The digits: PNG files of what the run sees."""
    words = ["--oracle", "file", "--initial", "random", "--al-budget", "3", "--device", "cpu"]
    assert main_al.main([*words, "--run-dir", str(tmp_path / "run")]) == 3
    status, _, err = call("export", tmp_path / "run", "--format", "voc", "--out", tmp_path / "out")
    assert status == 0, err
    for query in rows(tmp_path / "run" / "queries.csv"):
        name = f"{int(query['order']):04d}_{query['index']}.png"
        assert Image.open(tmp_path / "out" / "JPEGImages" / name).size == (8, 8)
