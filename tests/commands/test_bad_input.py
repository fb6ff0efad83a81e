"""Bad input: one line that names option, reason and cure, status 2, and nothing is written."""

import json

import pytest
import torch

import main_al
from data import DATASETS, splits
from experiment.config import SCHEMA
from semisup.lp import LpOptions
from tests.conftest import ROOT
from tests.utils.test_options import parse
from utils.errors import UserError
from utils.graph.graph_options import GraphOptions

SHORT = ["--al-budget", "10", "--al-nb-cycles", "2", "--epochs", "1"]
TOO_LARGE = "too large: at most"
MAX_COUNT, MAX_INTEGER = 2**31 - 1, 2**63 - 1


@pytest.fixture
def error_line(capsys, tmp_path, monkeypatch, home):
    """Run main_al with options that must be refused; returns the line on standard error."""
    monkeypatch.chdir(tmp_path)

    def list_files():
        paths = [*tmp_path.rglob("*"), *home.rglob("*")]
        return sorted(path for path in paths if ".lease" not in path.parts)  # numbers change

    def run(*words, status=2):
        words = [str(word) for word in words]
        before = list_files()
        try:
            exit_status = main_al.main(words)
        except SystemExit as error:
            exit_status = error.code
        line = capsys.readouterr().err
        assert exit_status == status and line.count("\n") == 1, line
        assert line.startswith("main_al.py: error: "), line
        assert list_files() == before  # no split file either
        return line

    return run


def assert_contains(line, parts):
    for part in parts:
        assert part in line, line


@pytest.mark.parametrize(
    "words, parts",
    [
        (["--dataset", "imagenet"], ["--dataset: 'imagenet' is unknown", "digits, mnist,"]),
        (["--al-method", "oracle"], ["--al-method: 'oracle' is unknown", "random,"]),
        (["--arch", "vgg"], ["--arch/-a: 'vgg' is unknown", "cifar_cnn,"]),
        (["--al-budget", "0"], ["--al-budget: '0'", "whole number at least 1"]),
        (["--al-budget", "-5"], ["--al-budget: '-5'", "whole number at least 1"]),
        (["--al-budget", "2.5"], ["--al-budget: '2.5'", "whole number at least 1"]),
        (["--al-budget", "1000", "--al-nb-cycles", "10"],
         ["--al-budget 1000", "--al-nb-cycles 10", "10000 labels", "1437 training images"]),
        (["--al-nb-cycles", "0"], ["--al-nb-cycles: '0'", "whole number at least 1"]),
        (["--initial-size", "1"], ["--initial-size: '1'", "whole number at least 2"]),
        (["--al-budget", "1"], ["--initial-size", "at least 2"]),
        (["--initial-size", "1438"], ["balanced split of 1438 needs", "1390"]),
        (["--epochs", "300", "--lr-rampdown-epochs", "210"],
         ["--lr-rampdown-epochs 210", "below --epochs 300", "at least 300"]),
        (["--lr", "0"], ["--lr/--learning-rate: '0'", "number above 0"]),
        (["--lr", "nan"], ["--lr/--learning-rate: 'nan'", "number above 0"]),
        (["--momentum", "1"], ["--momentum: '1'", "at least 0 and below 1"]),
        (["--momentum", "0", "--nesterov", "True"], ["--nesterov needs", "--momentum above 0"]),
        (["--initial-lr", "0.1"], ["--initial-lr has no effect", "--lr-rampup above 0"]),
        (["--lr-rampup", "300"], ["--lr-rampup 300", "above --epochs 200"]),
        (["--al-method", "bald"],
         ["--al-method bald needs dropout", "--arch sized_cnn", "--head-dropout", "cifar_cnn"]),
        (["--head-dropout", "1"], ["--head-dropout: '1'", "above 0 and below 1"]),
        (["--mc-passes", "5"], ["--mc-passes has no effect", "--al-method bald"]),
        (["--isL2", "maybe"], ["--isL2: 'maybe'", "True", "False"]),
        (["--run-dir", "x", "--out", "y", "--initial", "random"],
         ["--out has no effect", "--run-dir"]),
        (["--run-dir", "x", "--exp-name", "y"], ["--exp-name has no effect", "without --run-dir"]),
        (["--exp-name", "a/b"], ["--exp-name 'a/b'", "without slashes"]),
        (["--al-mehtod", "random"], ["unknown argument --al-mehtod", "--al-method?"]),
        (["--al-budg", "10"], ["unknown argument --al-budg", "--al-budget?"]),
        (["nonsense"], ["unknown argument nonsense", "--help"]),
        (["--arch", "cifar_cnn"],
         ["--arch cifar_cnn needs images of at least 12 pixels", "resnet18"]),
        (["--device", "tpu"], ["--device tpu", "not available", "auto, cpu"]),
        (["--dataset", "cifar10"], ["cifar10 is not in", "--data-root"]),
        (["--split", "-1"], ["--split: '-1'", "whole number at least 0"]),
        (["--amp"], ["--amp needs a GPU"]),
        (["--add-lp", "--add-ceal"], ["--add-lp and --add-ceal exclude each other"]),
        (["--add-fixmatch", "--add-lp"], ["--add-lp and --add-fixmatch exclude each other"]),
        (["--add-ceal", "--add-fixmatch"], ["--add-ceal and --add-fixmatch exclude each other"]),
        (["--lp-k", "5"], ["--lp-k has no effect", "--al-method jlp or --al-method lp_"]),
        (["--al-nb-cycles", "1", "--finetuning"], ["--finetuning has no effect", "--al-nb-cycles"]),
        (["--al-nb-cycles", "1", "--add-ceal", "--ceal-th", "0.2"],
         ["--ceal-th has no effect", "--al-nb-cycles"]),
        (["--al-nb-cycles", "1", "--al-method", "jlp", "--lp-k", "5"],
         ["--lp-k has no effect", "--al-nb-cycles"]),
        (["--run-dir", ""], ["--run-dir: '' is empty"]),
        (["--out", ""], ["--out: '' is empty"]),
        (["--data-root", ""], ["--data-root: '' is empty"]),
        (["--add-unsupervised-pretraining", "False", "--learn-unsupervised-pretraining"],
         ["--learn-unsupervised-pretraining has no effect",
          "--add-unsupervised-pretraining True"]),
        (["--pretraining-method", "deepcluster"],
         ["--pretraining-method has no effect", "--add-unsupervised-pretraining"]),
        (["--pretraining-method", "jigsaw"],
         ["--pretraining-method: 'jigsaw' is unknown", "deepcluster"]),
        (["--ema", "1"], ["--ema: '1'", "at least 0 and below 1"]),
        (["--lp-mode", "best"], ["--lp-mode: 'best' is unknown", "full, certain"]),
        (["--knn", "approx"], ["--knn has no effect", "--al-method jlp or --al-method lp_"]),
        (["--lp-step", "2"], ["--lp-step has no effect", "--add-lp"]),
        (["--is-pW", "False"], ["--is-pW has no effect", "--add-lp"]),
        (["--add-lp", "--lp-mode", "full", "--lp-percent", "0.3"],
         ["--lp-percent has no effect", "--lp-mode"]),
        (["--add-lp", "--weighted-unlabeled-batch"],
         ["--weighted-unlabeled-batch has no effect", "--lp-mode full"]),
        (["--add-lp", "--lp-alpha", "1"], ["--lp-alpha: '1'", "at least 0 and below 1"]),
        (["--add-lp", "--lp-percent", "1.5"], ["--lp-percent: '1.5'", "above 0 and at most 1"]),
        (["--add-lp", "--loss-type", "mse"], ["--loss-type: 'mse' is unknown", "ce, kl"]),
        (["--add-lp", "--b", "100"], ["--labeled-batch-size", "--batch-size 100"]),
        (["--add-lp", "--b", "64", "--labeled-batch-size", "64"],
         ["--labeled-batch-size 64", "no room", "--batch-size 64"]),
        (["--labeled-batch-size", "5"], ["--labeled-batch-size has no effect", "--add-lp"]),
        (["--ceal-th", "0.2"], ["--ceal-th has no effect", "--add-ceal"]),
        (["--ceal-repeat"], ["--ceal-repeat has no effect", "--add-ceal"]),
        (["--mu", "3"], ["--mu has no effect", "--add-fixmatch"]),
        (["--fixmatch-weight", "3"], ["--fixmatch-weight has no effect", "--add-fixmatch"]),
        (["--self-adaptive-threshold"],
         ["--self-adaptive-threshold has no effect", "--add-fixmatch"]),
        (["--add-fixmatch", "--self-adaptive-threshold", "--fixmatch-threshold", "0.9"],
         ["--fixmatch-threshold has no effect", "--self-adaptive-threshold False"]),
        (["--add-fixmatch", "--fixmatch-threshold", "0"],
         ["--fixmatch-threshold: '0'", "above 0 and at most 1"]),
        (["--add-fixmatch", "--b", "1438"], ["--batch-size 1438", "1437 training images"]),
        (["--add-fixmatch", "--b", "32", "--steps-per-epoch", "1000000"],
         ["--mu 7", "--batch-size 32", "2 GiB"]),
        (["--sobel"], ["--sobel has no effect", "--add-unsupervised-pretraining"]),
        (["--pretraining-lr", "1"],
         ["--pretraining-lr has no effect", "--add-unsupervised-pretraining"]),
        (["--add-unsupervised-pretraining", "--pretraining-method", "deepcluster",
          "--pretraining-clusters", "5000", *SHORT],
         ["--pretraining-clusters 5000", "1437 training images", "digits"]),
    ],
)  # fmt: skip
def test_options(error_line, words, parts):
    device = [] if "--device" in words else ["--device", "cpu"]
    assert_contains(error_line(*words, *device), parts)


@pytest.mark.parametrize(
    "words, parts",
    [
        ("--split 4294967296", ["--split: '4294967296'", "at least 0 and below 4294967296"]),
        ("--split " + "9" * 5000,
         ["--split: '9999999999999999999999999999999999999...'", "below 4294967296"]),
        (f"--seed {2**63}", ["--seed: '9223372036854775808'", f"{TOO_LARGE} {MAX_INTEGER}"]),
        ("--device cuda:\u00b2", ["--device cuda:\u00b2", "not available", "auto, cpu"]),
        (f"--lr-rampup {2**64}", ["--lr-rampup", f"{TOO_LARGE} {MAX_INTEGER}"]),
        (f"--checkpoint-epochs {10**30}",
         ["--checkpoint-epochs", f"{TOO_LARGE} {MAX_INTEGER}"]),
        (f"--add-unsupervised-pretraining --pretraining-clusters {2**63}",
         ["--pretraining-clusters", f"{TOO_LARGE} {MAX_INTEGER}"]),
        ("--add-unsupervised-pretraining --pretraining-lr 1e38", ["--pretraining-lr", "AdamW"]),
        (f"--epochs {10**18}",
         ["--epochs: '1000000000000000000'", f"{TOO_LARGE} {MAX_COUNT}"]),
        (f"--al-budget {2**31}", ["--al-budget", f"{TOO_LARGE} {MAX_COUNT}"]),
        (f"--al-nb-cycles {2**31}", ["--al-nb-cycles", f"{TOO_LARGE} {MAX_COUNT}"]),
        (f"--al-method jlp --lp-k {2**31}", ["--lp-k", f"{TOO_LARGE} {MAX_COUNT}"]),
        (f"--batch-size {10**18}", ["--batch-size", f"{TOO_LARGE} {MAX_COUNT}"]),
        (f"--add-lp --b 128 --labeled-batch-size {10**18}",
         ["--labeled-batch-size", f"{TOO_LARGE} {MAX_COUNT}"]),
        (f"--add-unsupervised-pretraining --pretraining-batch-size {10**18}",
         ["--pretraining-batch-size", f"{TOO_LARGE} {MAX_COUNT}"]),
        ("--add-lp --b 2147483647 --labeled-batch-size 2147483646",
         ["--labeled-batch-size 2147483646", "1437 training images", "digits"]),
        (f"--steps-per-epoch {10**12}",
         ["--steps-per-epoch 1000000000000", "--batch-size 32", "357,628 GiB", "fewer steps"]),
        ("--steps-per-epoch 9223372036854775807", ["--steps-per-epoch", "fewer steps"]),
        ("--lr 1e39", ["--lr/--learning-rate: '1e39'", f"{TOO_LARGE} 3.4e+38"]),
        ("--add-lp --lp-gamma 1e39", ["--lp-gamma: '1e39'", f"{TOO_LARGE} 3.4e+38"]),
    ],
)  # fmt: skip
def test_extreme_values(error_line, words, parts):
    device = [] if "--device" in words else ["--device", "cpu"]
    assert_contains(error_line(*words.split(), *device), parts)


def test_missing_device(error_line):
    count = torch.cuda.device_count()
    line = error_line("--device", f"cuda:{count}", *SHORT)
    assert_contains(line, [f"--device cuda:{count}", "available", "cpu"])


class ImageCount:
    """A data set as far as the checks of options look at it: a device and a number of images."""

    num_classes, channels, size = 10, 1, 8

    def __init__(self, device: str, count: int):
        self.images = self
        self.device = torch.device(device)
        self.count = count

    def __len__(self):
        return self.count


def check_group(words: str, group: type, dataset: ImageCount) -> None:
    """The check of one active group of options against the data."""
    options = parse(words)[0]
    assert group in SCHEMA.active_groups(options)
    options.of(group).check_data(options, dataset)


def test_batches_that_would_fill_the_memory():
    """A batch for each of 50,000 images with as many labeled ones is 20 GB of indices."""
    dataset = ImageCount("cpu", 50000)
    with pytest.raises(UserError, match=r"--labeled-batch-size 50000 .*--batch-size 50001.* GiB"):
        check_group("--add-lp --b 50001 --labeled-batch-size 50000", LpOptions, dataset)
    check_group("--add-lp --b 50001 --labeled-batch-size 50", LpOptions, dataset)


@pytest.mark.parametrize("words", ["--al-method jlp", "--add-lp"])
def test_approximate_search_is_refused_on_a_gpu(words):
    """--knn approx would have no effect if the features are on a GPU."""
    check_group(f"{words} --knn approx", GraphOptions, ImageCount("cpu", 1437))
    with pytest.raises(UserError, match=r"--knn approx .*GPU"):
        check_group(f"{words} --knn approx", GraphOptions, ImageCount("cuda", 1437))
    check_group(f"{words} --knn exact", GraphOptions, ImageCount("cuda", 1437))


@pytest.mark.parametrize(
    "line, parts",
    [
        ("1437 3", ["line 10", "index 1437", "1436"]),
        ("-1 3", ["line 10", "index -1"]),
        ("FIRST", ["line 10", "index {first}", "repeated"]),
        ("1436 10", ["line 10", "class 10", "9"]),
        ("1436 WRONG", ["line 10", "image 1436", "class {label}", "{wrong}"]),
        ("one two", ["line 10", "'one two'", "index", "class"]),
        ("1436", ["line 10", "'1436'", "index", "class"]),
        (None, ["9 images", "10", "delete"]),
    ],
)
def test_split_files(error_line, home, line, parts):
    labels = DATASETS["digits"].load("")[0].labels
    path = splits.split_path("digits", 10, 55)
    path.parent.mkdir(parents=True, exist_ok=True)
    split = splits.draw_balanced_split(labels, 10, 55)
    valid = splits.format_split(split, labels[split]).splitlines()
    label, wrong, first = labels[1436], (labels[1436] + 1) % 10, valid[0].split()[0]
    last = {"FIRST": valid[0], "1436 WRONG": f"1436 {wrong}"}.get(line, line)
    path.write_text("\n".join(valid[:9] + ([last] if last else [])))
    try:
        error = error_line("--split", "55", *SHORT)
        assert_contains(error, [p.format(label=label, wrong=wrong, first=first) for p in parts])
        assert str(path) in error
    finally:
        path.unlink()


def test_empty_split_file(error_line):
    path = splits.split_path("digits", 10, 56)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    try:
        assert_contains(error_line("--split", "56", *SHORT), [str(path), "empty", "10"])
    finally:
        path.unlink()


def test_unwritable_run_folder(error_line, tmp_path):
    (tmp_path / "file").write_text("")
    line = error_line("--run-dir", tmp_path / "file" / "run", *SHORT, status=1)
    assert "file/run cannot be written" in line
    assert "cannot be written" in error_line("--out", "/proc/nowhere", *SHORT, status=1)


def test_run_folder_of_other_options(error_line, tmp_path):
    main_al.main(["--run-dir", "run", *SHORT])
    before = (tmp_path / "run" / "config.json").read_bytes()
    line = error_line("--run-dir", "run", *SHORT, "--lr", "0.1")
    assert_contains(line, ["run folder run", "lr = 0.2, not 0.1", "another --run-dir"])
    assert json.loads(before) == json.loads((tmp_path / "run" / "config.json").read_bytes())
    for name in ("checkpoint.pt", "checkpoint.before.pt"):
        (tmp_path / "run" / name).write_bytes(b"torn")
    assert "checkpoint.pt is damaged" in error_line("--run-dir", "run", *SHORT)
    (tmp_path / "run" / "config.json").write_text("{torn")
    assert "config.json cannot be read" in error_line("--run-dir", "run", *SHORT)


def test_the_command_itself(command, capsys):
    done = command("python", ROOT / "main_al.py", "--dataset", "imagenet")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    with pytest.raises(SystemExit) as stopped:
        main_al.main(["--help"])
    assert stopped.value.code == 0 and "--al-method" in capsys.readouterr().out
