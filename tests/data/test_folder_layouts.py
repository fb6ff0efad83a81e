"""Which files of a folder are what: every image is in a part, or left out and counted."""

import pytest

import main_al
from data import DATASETS, generate_splits
from data.active_dataset import load_active_dataset
from data.custom import FlipOptions, ValueOptions
from data.folder import FolderOptions
from tests.data.folder_files import add_files, add_images, count_parts, read
from utils.errors import UserError
from utils.seeding import rng_for

CLASSES = "{cat,dog}/{1-4}.png"
PARTS = ("train/" + CLASSES, "test/" + CLASSES)
EIGHTS = {"train": 8, "test": 8}

# Files -> the number of images in each part, and words of the lines for the user.
UNDERSTOOD = {
    "capitals": (["Train/" + CLASSES, "TEST/" + CLASSES], EIGHTS, []),
    "training and testing": (["Training/" + CLASSES, "testing/" + CLASSES], EIGHTS, []),
    "one of each": (["train/" + CLASSES, "Testing/" + CLASSES], EIGHTS, []),
    **{
        f"{name} without test": (
            ["train/" + CLASSES, f"{name}/" + CLASSES],
            EIGHTS,
            [f"{name}/ is used as the test part"],
        )
        for name in ("val", "valid", "Validation", "dev", "VAL")
    },
    "three parts": ([*PARTS, "val/{cat,dog}/1.png"], EIGHTS | {"val": 2}, []),
    **{
        f"{name} beside parts": ([*PARTS, f"{name}/{{1-3}}.png"], EIGHTS | {"unlabeled": 3}, [])
        for name in ("unlabeled", "Unlabelled", "no_label", "no label", "NoLabel", "unknown")
    },
    "unlabeled in train": (
        [*PARTS, "train/unlabelled/{1-3}.png", "unlabeled/4.png"],
        EIGHTS | {"unlabeled": 4},
        [],
    ),
    "unlabeled in test": (
        [*PARTS, "test/unlabeled/{1-3}.png"],
        EIGHTS | {"left out": 3},
        ["3 images of unknown class in test/unlabeled/"],
    ),
    "unknown in both parts": (
        [*PARTS, "{train,test}/unknown/1.png"],
        {"train": 9, "test": 9},
        ["unknown/ is in more than one part"],
    ),
    "unknown beside classes": (
        ["{cat,dog,cow}/{1-40}.png", "unknown/{1-3}.png"],
        {"unlabeled": 3},
        [],
    ),
    "flat test": (
        ["train/{cat,dog}/{1-40}.png", "test/{1-3}.png"],
        {"left out": 3},
        ["3 images of unknown class in test/", "predict.py"],
    ),
    "flat test beside val": (
        ["{train,val}/" + CLASSES, "test/{1-3}.png"],
        EIGHTS | {"left out": 3},
        ["val/ is used as the test part", "3 images of unknown class in test/"],
    ),
    "flat val": ([*PARTS, "val/{1-3}.png"], EIGHTS | {"left out": 3}, ["class in val/"]),
    "loose in train": (
        [*PARTS, "train/{1-3}.png"],
        EIGHTS | {"left out": 3},
        ["3 images beside the class folders in train/", "unlabeled/"],
    ),
    "loose in the root": (
        [*PARTS, "{1-3}.png"],
        EIGHTS | {"left out": 3},
        ["3 images beside the folders", "unlabeled/"],
    ),
    "loose beside classes": (
        ["{cat,dog}/{1-40}.png", "{1-3}.JPG"],
        {"left out": 3},
        ["3 images beside the folders"],
    ),
    "another folder": (
        [*PARTS, "extra/cat/{1-3}.png"],
        EIGHTS | {"left out": 3},
        ["3 images in extra/ (not a part)", "val"],
    ),
    "test is empty": (["train/{cat,dog}/{1-40}.png", "test/cat/a.txt"], {}, ["test/ has no im"]),
    "macOS archive": (
        [*PARTS, "__MACOSX/train/._cat", "{train,test}/__MACOSX/cat/._1.png"],
        EIGHTS | {"left out": 2},
        [],
    ),
    "Synology thumbnails": (
        [*PARTS, "train/cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "@eaDir/a.jpg"],
        EIGHTS | {"left out": 2},
        [],
    ),
    "hidden": (
        [*PARTS, ".git/x/1.png", "train/.thumbnails/2.png", "train/cat/._3.png", "test/dog/.4.png"],
        EIGHTS | {"left out": 4},
        [],
    ),
    "notebook copies": (
        [*PARTS, "train/.ipynb_checkpoints/1-checkpoint.png"],
        EIGHTS | {"left out": 1},
        [],
    ),
    "Windows thumbnails": ([*PARTS, "train/cat/Thumbs.db"], EIGHTS, ["Thumbs.db"]),
    "class named train": (
        [*PARTS, "train/train/{1-3}.png", "test/train/1.png"],
        {"train": 11, "test": 9},
        ["train/train/ is read as a class named 'train'"],
    ),
    "vehicles": (
        ["{bus,car,Train}/{1-40}.png"],
        {},
        ["Train/ is read as a class"],
    ),
    "valid and invalid": (["{valid,invalid}/{1-40}.png"], {}, ["valid/ is read as a class"]),
    "labels of boxes beside classes": ([*PARTS, "annotations/a.json", "labels/1.txt"], EIGHTS, []),
    "captions": ([*PARTS, "{train,test}/cat/{1-4}.txt"], EIGHTS, ["files without the extension"]),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_layouts_that_are_understood(name, tmp_path):
    files, expected, words = UNDERSTOOD[name]
    listing = read(add_files(tmp_path / "root", *files))
    counts = count_parts(listing)
    assert expected.items() <= counts.items()
    if "train" in expected:
        assert counts == expected
    for word in words:
        assert any(word in line for line in listing.warnings), listing.warnings
    assert words or not listing.warnings
    assert "cat" in listing.class_names or name in ("vehicles", "valid and invalid")
    assert not any("unlabel" in n or "MACOSX" in n for n in listing.class_names)


# Files -> words of the line that refuses them.
REFUSED = {
    "two training parts": ([*PARTS, "Training/cat/1.png"], ["Training/", "train/", "same part"]),
    "two test parts": ([*PARTS, "Test/cat/1.png"], ["Test/", "test/", "same part"]),
    "two validation parts": ([*PARTS, "{val,dev}/cat/1.png"], ["dev/", "val/", "same part"]),
    "two unlabeled parts": ([*PARTS, "{unlabeled,unknown}/1.png"], ["unknown/", "same part"]),
    "two unlabeled classes": (
        [*PARTS, "train/{unlabeled,unknown}/1.png"],
        ["unknown/", "same part"],
    ),
    "test without train": ([PARTS[1], "others/cat/1.png"], ["test/", "train"]),
    "validation without train": (["val/" + CLASSES, "{cat,dog}/1.png"], ["val/", "train"]),
    "similar names": (["training_set/" + CLASSES, "test_set/" + CLASSES], ["_set/", "rename it"]),
    "COCO parts": (["train2017/{1-9}.jpg", "val2017/{1-9}.jpg"], ["train2017/", "rename it train"]),
    "similar test part": ([PARTS[0], "test_images/{1-3}.png"], ["test_images/", "rename it test"]),
    "no class folders": (["{1-9}.png"], ["0 classes", "9 images lie in no class folder"]),
    "no images": (["cat/1.txt", "dog/2.txt"], ["no images"]),
    "empty": ([], ["no images"]),
    "one class": (["cat/{1-9}.png"], ["1 class ", "two"]),
    "one class with images": (["cat/{1-9}.png", "dog/1.txt"], ["1 class ", "two"]),
    "one class and a system folder": (["cat/{1-9}.png", "@eaDir/1.png"], ["1 class ", "two"]),
    "one folder around the classes": (
        ["photos/{cat,dog}/{1-9}.png"],
        ["1 class ", "--data-root", "photos"],
    ),
    "one folder around the parts": (["data/{train,test}/" + CLASSES], ["--data-root", "data"]),
    "parts in train": (["train/{train,test}/" + CLASSES], ["--data-root", "train"]),
    "parts twice": (["{train/train,test/test}/" + CLASSES], ["train/train/", "up"]),
    "parts below classes": (["{cat,dog}/{train,test}/{1-4}.png"], ["above the classes"]),
    "flat parts": (["{train,test}/{1-9}.png"], ["0 classes", "9 images"]),
    "blank at the end": ([*PARTS, "train/cat /1.png"], ["'cat'", "'cat '", "blanks"]),
    "case": ([*PARTS, "train/Cat/1.png"], ["'Cat'", "'cat'", "case"]),
    "blanks inside": ([*PARTS, "train/{a  b,a b}/1.png"], ["'a b'", "blanks"]),
    "blank name": ([*PARTS, "train/ /1.png"], ["' '", "blank"]),
    "VOC": (["JPEGImages/1.jpg", "Annotations/1.xml", "ImageSets/Main/a.txt"], ["VOC"]),
    "VOC with masks": (["{JPEGImages,SegmentationClass,SegmentationObject}/1.png"], ["VOC"]),
    "VOC development kit": (["VOCdevkit/VOC2012/JPEGImages/1.jpg"], ["VOC"]),
    "VOC of two years": (["VOCdevkit/{VOC2007,VOC2012}/JPEGImages/1.jpg"], ["VOC"]),
    "VOC beside images": (["train/{1-3}.jpg", "train/{1-3}.xml"], ["VOC"]),
    "COCO": (["images/{1-3}.jpg", "annotations/instances.json"], ["COCO"]),
    "COCO 2017": (["{train2017,val2017}/{1-3}.jpg", "annotations/a.json"], ["COCO"]),
    "COCO of Roboflow": (["{train,valid}/1.jpg", "train/_annotations.coco.json"], ["COCO"]),
    "YOLO": (["images/{train,val}/{1-3}.jpg", "labels/{train,val}/{1-3}.txt"], ["YOLO"]),
    "YOLO by parts": (["{train,valid}/images/{1-3}.jpg", "train/labels/{1-3}.txt"], ["YOLO"]),
    "YOLO of Darknet": (["obj_{train,test}_data/1.jpg", "obj.names", "obj.data"], ["YOLO"]),
    "YOLO beside images": (["{1-3}.jpg", "{1-3}.txt"], ["YOLO"]),
    "LabelMe": (["{1-3}.jpg", "{1-3}.json"], ["LabelMe"]),
    "masks": (["{images,masks}/{1-9}.png"], ["segmentation", "masks/"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layouts_that_are_refused(name, tmp_path):
    files, words = REFUSED[name]
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(UserError) as error:
        read(add_files(root, *files))
    message = str(error.value)
    assert str(root) in message and "\n" not in message
    for word in words:
        assert word in message


def test_one_line_counts_all_images(tmp_path):
    root = add_files(
        tmp_path,
        *PARTS,
        "unlabeled/{1-3}.png",
        "val/cat/1.png",
        ".hidden/a/{1-2}.png",
        "train/cat/@eaDir/{1-4}.png",
        "train/cat/{.a,._b}.png",
        "__MACOSX/1.png",
    )
    line = read(root).describe_counts()
    assert line.startswith("29 images: 8 train, 8 test, 1 validation, 3 unlabeled, 9 left out (")
    for words in ("2 in hidden f", "4 thumbnails in @eaDir", "2 hidden files", "1 in __MACOSX"):
        assert words in line


def load(root, **options):
    return DATASETS["folder"].load_and_check(
        str(root), flip=FlipOptions(False), folder=FolderOptions(**options), values=ValueOptions()
    )


def test_unreadable_images_are_counted(tmp_path):
    root = add_images(tmp_path, *PARTS)
    add_files(root, "train/cat/bad.png", ".hidden.png")
    loaded = load(root, skip_corrupt=True)
    assert loaded.notes[0].startswith(f"{root}: 18 images: 8 train, 8 test, 2 left out (")
    assert "1 that cannot be read" in loaded.notes[0] and "1 hidden files" in loaded.notes[0]


def test_fewer_than_two_classes_with_readable_images(tmp_path):
    root = add_images(tmp_path, "{train,test}/cat/{1-4}.png")
    add_files(root, "{train,test}/dog/{1-4}.png")
    with pytest.raises(UserError, match="1 class with images"):
        load(root, skip_corrupt=True)


def test_second_evaluated_part(tmp_path):
    root = add_images(tmp_path, *PARTS)
    without = load(root)
    add_images(root, "val/{cat,dog}/{1-2}.png")
    loaded = load(root)
    assert loaded.validation.labels.tolist() == [0, 1, 0, 1] and without.validation is None
    assert loaded.fingerprint != without.fingerprint
    assert loaded.image_paths == without.image_paths

    def open_dataset(**options):
        return load_active_dataset(
            DATASETS["folder"],
            str(root),
            name="folder",
            size=None,
            from_split=False,
            rng=rng_for(0, "validation"),
            device="cpu",
            flip=FlipOptions(False),
            folder=FolderOptions(),
            values=ValueOptions(),
            **options,
        )

    dataset = open_dataset()
    assert list(dataset.eval_sets) == ["", "val_"] and len(dataset.images) == 8
    images, labels = dataset.eval_sets["val_"]
    assert len(images) == len(labels) == 4 and images.mean == dataset.images.mean
    assert any("4 validation" in line for line in dataset.warnings)
    with pytest.raises(UserError, match="--use-val-set"):
        open_dataset(validation=True)
    add_images(root, "val/cow/1.png")
    with pytest.raises(UserError, match=r"validation part.*'cow'"):
        load(root)


def test_image_in_two_class_folders(tmp_path):
    root = add_images(tmp_path, *PARTS)
    assert not load(root).warnings
    for copy in ("train/dog/copy.png", "test/dog/copy.png"):
        (root / copy).write_bytes((root / "train/cat/1.png").read_bytes())
    (line,) = load(root).warnings
    assert "1 images are in the folders of two classes" in line and "copy.png" in line


def test_fifth_is_the_test_part_where_there_is_none(tmp_path):
    listing = read(add_files(tmp_path, "{cat,dog}/{0-19}.png"))
    paths = [p for p, is_test in zip(listing.image_paths, listing.is_test, strict=True) if is_test]
    expected = [f"{name}/{n}.png" for n in (0, 14, 18, 6, 7, 8) for name in ("cat", "dog")]
    assert paths == expected


def test_a_run_with_three_parts_counts_and_evaluates_them(tmp_path, monkeypatch, capsys):
    """Splits of the generator are those of the run; both say how many images there are."""
    monkeypatch.setenv("AL_LABELS_ROOT", str(tmp_path / "labels"))
    root = add_images(tmp_path / "root", *PARTS, "Val/{cat,dog}/{1-2}.png", ".hidden/1.png")
    words = ["--dataset", "folder", "--data-root", str(root)]
    assert generate_splits.main([*words, "--split-size", "4", "--nr-splits", "1"]) == 0
    line = f"{root}: 21 images: 8 train, 8 test, 4 validation, 1 left out (1 in hidden folders)"
    assert line in capsys.readouterr().out
    (split,) = (tmp_path / "labels").rglob("00.txt")
    run = ["--run-dir", str(tmp_path / "run"), "--al-nb-cycles", "1", "--epochs", "1"]
    options = ["--al-method", "random", "--al-budget", "4", "--device", "cpu", *run]
    assert main_al.main([*words, *options]) == 0
    assert line in (tmp_path / "run" / "log.txt").read_text()
    assert list((tmp_path / "labels").rglob("00.txt")) == [split]
    header = (tmp_path / "run" / "results.csv").read_text().splitlines()[0]
    assert "val_top1" in header and "val_top5" in header
    assert "validation" in capsys.readouterr().out
    assert main_al.main([*words, *options, "--use-val-set"]) == 2
    assert "--use-val-set" in capsys.readouterr().err


def test_images_of_unknown_class_are_named_where_nobody_can_label_them(tmp_path, capsys):
    root = add_images(tmp_path / "root", *PARTS, "train/unlabelled/{1-2}.png")
    words = ["--dataset", "folder", "--data-root", str(root), "--al-budget", "2"]
    methods = ["--initial", "random", "--al-method", "random"]
    assert main_al.main([*words, *methods, "--run-dir", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert "2 training images of unknown class" in line and "train/unlabelled/1.png" in line
