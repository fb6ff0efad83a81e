"""Bad input: one line that names the thing and what would be right, status 2, nothing written."""

import json
from types import SimpleNamespace

import pytest
import torch

import main_al
from data import splits
from experiment import experiment
from semisup import lp
from tests.conftest import ROOT
from tests.utils.test_options import parsed
from utils.errors import UserError
from utils.graph.graph_options import GRAPH

SHORT = ["--al-budget", "10", "--al-nb-cycles", "2", "--epochs", "1"]
COUNT, WHOLE = "is too large: at most 2147483647", "is too large: at most 9223372036854775807"


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch, home):
    """Run main_al with options that must be refused; -> the line."""
    monkeypatch.chdir(tmp_path)

    def names():
        found = [*tmp_path.rglob("*"), *home.rglob("*")]
        return sorted(path for path in found if ".lease" not in path.parts)  # it was, and is again

    def run(*words, status=2):
        words = [str(word) for word in words]
        before = names()
        try:
            ended = main_al.main(words)
        except SystemExit as error:
            ended = error.code
        line = capsys.readouterr().err
        assert (
            ended == status and line.count("\n") == 1 and line.startswith("main_al.py: error: ")
        ), line
        assert names() == before  # splits neither
        return line

    return run


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--dataset", "imagenet"], "--dataset: 'imagenet' is unknown: one of digits, mnist,"),
        (["--al-method", "oracle"], "--al-method: 'oracle' is unknown: one of random,"),
        (["--arch", "vgg"], "--arch/-a: 'vgg' is unknown: one of cifar_cnn,"),
        (["--al-budget", "0"], "--al-budget: '0' is not a whole number at least 1"),
        (["--al-budget", "-5"], "--al-budget: '-5' is not a whole number at least 1"),
        (["--al-budget", "2.5"], "--al-budget: '2.5' is not a whole number at least 1"),
        (["--al-budget", "1000"], "--al-budget 1000 over --al-nb-cycles 10 needs 10000 labels"),
        (["--al-nb-cycles", "0"], "--al-nb-cycles: '0'"),
        (["--initial-size", "1"], "--initial-size: '1' is not a whole number at least 2"),
        (["--al-budget", "1"], "--initial-size must be at least 2"),
        (["--initial-size", "1438"], "a balanced split of 1438 needs"),
        (["--epochs", "300", "--lr-rampdown-epochs", "210"],
         "--lr-rampdown-epochs 210 is below --epochs 300: give at least 300, or leave it out"),
        (["--lr", "0"], "--lr/--learning-rate: '0' is not a number above 0"),
        (["--lr", "nan"], "--lr/--learning-rate: 'nan' is not a number above 0"),
        (["--momentum", "1"], "--momentum: '1' is not a number at least 0 and below 1"),
        (["--momentum", "0", "--nesterov", "True"], "--nesterov needs a --momentum above 0"),
        (["--initial-lr", "0.1"], "--initial-lr is read only with --lr-rampup above 0"),
        (["--lr-rampup", "300"], "--lr-rampup 300 is above --epochs 200"),
        (["--al-method", "bald"],
         "--al-method bald needs dropout, which --arch sized_cnn does not have: give its head one "
         "with --head-dropout, or use one of cifar_cnn"),
        (["--head-dropout", "1"], "--head-dropout: '1' is not a number above 0 and below 1"),
        (["--mc-passes", "5"], "--mc-passes is read only with --al-method bald"),
        (["--isL2", "maybe"], "--isL2: 'maybe' is neither True nor False"),
        (["--run-dir", "x", "--out", "y"], "--out is read only with no --run-dir"),
        (["--run-dir", "x", "--exp-name", "y"], "--exp-name is read only with no --run-dir"),
        (["--exp-name", "a/b"], "--exp-name 'a/b' must be a name without slashes"),
        (["--al-mehtod", "random"], "unknown argument --al-mehtod: did you mean --al-method?"),
        (["--al-budg", "10"], "unknown argument --al-budg: did you mean --al-budget?"),
        (["nonsense"], "unknown argument nonsense: see --help"),
        (["--arch", "cifar_cnn"], "--arch cifar_cnn needs images of at least 12 pixels"),
        (["--device", "tpu"], "--device tpu is not here: choose from auto, cpu"),
        (["--dataset", "cifar10"], "cifar10 is not in"),
        (["--split", "-1"], "--split: '-1' is not a whole number at least 0"),
        (["--amp"], "--amp needs a GPU"),
        (["--add-lp", "--add-ceal"], "--add-lp and --add-ceal exclude each other"),
        (["--add-fixmatch", "--add-lp"], "--add-lp and --add-fixmatch exclude each other"),
        (["--add-ceal", "--add-fixmatch"], "--add-ceal and --add-fixmatch exclude each other"),
        (["--lp-k", "5"], "--lp-k is read only with --al-method jlp or --al-method lp_"),
        (["--al-nb-cycles", "1", "--finetuning"], "--finetuning is read only with --al"),
        (["--al-nb-cycles", "1", "--add-ceal", "--ceal-th", "0.2"], "--ceal-th is read only with"),
        (["--al-nb-cycles", "1", "--al-method", "jlp", "--lp-k", "5"], "--lp-k is read only with"),
        (["--run-dir", ""], "--run-dir: '' is empty: give a name, or leave the option out"),
        (["--out", ""], "--out: '' is empty"),
        (["--data-root", ""], "--data-root: '' is empty"),
        (["--add-unsupervised-pretraining", "False", "--learn-unsupervised-pretraining"],
         "--learn-unsupervised-pretraining is read only with --add-unsupervised-pretraining True"),
        (["--pretraining-method", "deepcluster"], "--pretraining-method is read only with --add"),
        (["--pretraining-method", "jigsaw"], "'jigsaw' is unknown: one of deepcluster"),
        (["--ema", "1"], "--ema: '1' is not a number at least 0 and below 1"),
        (["--lp-mode", "best"], "--lp-mode: 'best' is unknown: one of full, certain"),
        (["--knn", "approx"], "--knn is read only with --al-method jlp or --al-method lp_"),
        (["--lp-step", "2"], "--lp-step is read only with --add-lp"),
        (["--is-pW", "False"], "--is-pW is read only with --add-lp"),
        (["--add-lp", "--lp-mode", "full", "--lp-percent", "0.3"], "--lp-percent is read only"),
        (["--add-lp", "--weighted-unlabeled-batch"], "is read only with --lp-mode full"),
        (["--add-lp", "--lp-alpha", "1"], "--lp-alpha: '1' is not a number at least 0 and below 1"),
        (["--add-lp", "--lp-percent", "1.5"], "'1.5' is not a number above 0 and at most 1"),
        (["--add-lp", "--loss-type", "mse"], "--loss-type: 'mse' is unknown: one of ce, kl"),
        (["--add-lp", "--b", "100"], "--labeled-batch-size is needed at --batch-size 100"),
        (["--add-lp", "--b", "64", "--labeled-batch-size", "64"], "leaves no room in --batch"),
        (["--labeled-batch-size", "5"], "--labeled-batch-size is read only with --add-lp"),
        (["--ceal-th", "0.2"], "--ceal-th is read only with --add-ceal"),
        (["--ceal-repeat"], "--ceal-repeat is read only with --add-ceal"),
        (["--mu", "3"], "--mu is read only with --add-fixmatch"),
        (["--fixmatch-weight", "3"], "--fixmatch-weight is read only with --add-fixmatch"),
        (["--self-adaptive-threshold"], "--self-adaptive-threshold is read only with --add-fixm"),
        (["--add-fixmatch", "--self-adaptive-threshold", "--fixmatch-threshold", "0.9"],
         "--fixmatch-threshold is read only with --self-adaptive-threshold False"),
        (["--add-fixmatch", "--fixmatch-threshold", "0"], "'0' is not a number above 0 and at mos"),
        (["--add-fixmatch", "--b", "1438"], "--batch-size 1438 is more than the 1437 training im"),
        (
            ["--add-fixmatch", "--b", "32", "--steps-per-epoch", "1000000"],
            "--mu 7 times --batch-size 32: to l",
        ),
        (["--sobel"], "--sobel is read only with --add-unsupervised-pretraining"),
        (["--pretraining-lr", "1"], "--pretraining-lr is read only with --add-unsup"),
        (
            ["--add-unsupervised-pretraining", "--pretraining-method", "deepcluster",
             "--pretraining-clusters", "5000", *SHORT],
            "--pretraining-clusters 5000 is more than the 1437 training images of digits",
        ),
    ],
)  # fmt: skip
def test_options(refused, words, expected):
    if "--device" not in words:
        words = [*words, "--device", "cpu"]
    assert expected in refused(*words)


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--split 4294967296", "'4294967296' is not a whole number at least 0 and below 42949672"),
        ("--split " + "9" * 5000, "--split: '9999999999999999999999999999999999999...' is not a"),
        (f"--seed {2**63}", f"--seed: '9223372036854775808' {WHOLE}"),
        ("--device cuda:\u00b2", "--device cuda:\u00b2 is not here: choose from auto, cpu"),
        (f"--lr-rampup {2**64}", WHOLE),
        (f"--checkpoint-epochs {10**30}", WHOLE),
        (f"--add-unsupervised-pretraining --pretraining-clusters {2**63}", WHOLE),
        ("--add-unsupervised-pretraining --pretraining-lr 1e38", "is beyond what AdamW can count"),
        (f"--epochs {10**18}", f"--epochs: '1000000000000000000' {COUNT}"),
        (f"--al-budget {2**31}", COUNT),
        (f"--al-nb-cycles {2**31}", COUNT),
        (f"--al-method jlp --lp-k {2**31}", COUNT),
        (f"--batch-size {10**18}", COUNT),
        (f"--add-lp --b 128 --labeled-batch-size {10**18}", COUNT),
        (f"--add-unsupervised-pretraining --pretraining-batch-size {10**18}", COUNT),
        ("--add-lp --b 2147483647 --labeled-batch-size 2147483646",
         "--labeled-batch-size 2147483646 is more than the 1437 training images of digits"),
        (f"--steps-per-epoch {10**12}", "--steps-per-epoch 1000000000000 of --batch-size 32: to "
         "list the images of an epoch takes 357,628 GiB, of at most 1: ask for fewer steps"),
        ("--steps-per-epoch 9223372036854775807", "ask for fewer steps"),
        ("--lr 1e39", "--lr/--learning-rate: '1e39' is too large: at most 3.4e+38"),
        ("--add-lp --lp-gamma 1e39", "is too large: at most 3.4e+38"),
    ],
)  # fmt: skip
def test_odd_values(refused, words, expected):
    device = [] if "--device" in words else ["--device", "cpu"]
    assert expected in refused(*words.split(), *device)


def test_a_device_that_is_not_there(refused):
    count = torch.cuda.device_count()
    assert f"--device cuda:{count} is not here" in refused("--device", f"cuda:{count}", *SHORT)


def images_on(device: str, count: int):
    """As far as what `fits` reads of images."""
    return type("Images", (), {"device": torch.device(device), "__len__": lambda self: count})()


def test_batches_that_would_fill_the_memory():
    """A batch for each of 50,000 images, all with as many labeled ones, is 20 GB of indices."""
    args = parsed("--add-lp --b 50001 --labeled-batch-size 50000")[0]
    with pytest.raises(UserError, match="--labeled-batch-size 50000 of --batch-size 50001: to li"):
        lp.ALGORITHM.fits(args, SimpleNamespace(images=images_on("cpu", 50000)))
    args = parsed("--add-lp --b 50001 --labeled-batch-size 50")[0]
    lp.ALGORITHM.fits(args, SimpleNamespace(images=images_on("cpu", 50000)))


@pytest.mark.parametrize("words", ["--al-method jlp", "--add-lp"])
def test_a_search_that_the_device_does_not_have(words):
    """--knn approx would not be read where the features are on a GPU."""
    args = parsed(f"{words} --knn approx")[0]
    on = lambda device: SimpleNamespace(images=images_on(device, 1437))  # noqa: E731
    rows = [
        row for row in experiment.option_schema().active_components(args) if GRAPH[0] in row.options
    ]
    assert len(rows) == 1
    rows[0].fits(args, on("cpu"))
    with pytest.raises(UserError, match="--knn approx is read only on the CPU"):
        rows[0].fits(args, on("cuda"))
    rows[0].fits(parsed(f"{words} --knn exact")[0], on("cuda"))


@pytest.mark.parametrize(
    "line, expected",
    [
        ("1437 3", "line 10: index 1437 is outside 0 .. 1436"),
        ("-1 3", "line 10: index -1 is outside"),
        ("FIRST", "line 10: index {first} stands here twice"),
        ("1436 10", "line 10: there is no class 10, only 0 .. 9"),
        ("1436 WRONG", "line 10: image 1436 is of class {label} in the data, not {wrong}"),
        ("one two", "line 10: 'one two' is not an index and a class"),
        ("1436", "line 10: '1436' is not an index and a class"),
        (None, "has 9 images, not 10: delete it"),
    ],
)
def test_split_files(refused, home, line, expected):
    from data import DATASETS

    labels = DATASETS["digits"].load("")[0].labels
    path = splits.split_path("digits", 10, 55)
    path.parent.mkdir(parents=True, exist_ok=True)
    split = splits.draw_balanced_split(labels, 10, 55)
    good = splits.format_split(split, labels[split]).splitlines()
    label, wrong, first = labels[1436], (labels[1436] + 1) % 10, good[0].split()[0]
    given = {"FIRST": good[0], "1436 WRONG": f"1436 {wrong}"}.get(line, line)
    path.write_text("\n".join(good[:9] + ([given] if given else [])))
    try:
        line = refused("--split", "55", *SHORT)
        assert expected.format(label=label, wrong=wrong, first=first) in line
        assert str(path) in line
    finally:
        path.unlink()


def test_an_empty_split_file(refused):
    path = splits.split_path("digits", 10, 56)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    try:
        assert "is empty, not 10" in refused("--split", "56", *SHORT)
    finally:
        path.unlink()


def test_an_unwritable_run_folder(refused, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused("--run-dir", tmp_path / "file" / "run", *SHORT, status=1)
    assert "file/run cannot be written" in line
    assert "cannot be written" in refused("--out", "/proc/nowhere", *SHORT, status=1)


def test_a_run_folder_of_other_options(refused, tmp_path):
    main_al.main(["--run-dir", "run", *SHORT])
    before = (tmp_path / "run" / "config.json").read_bytes()
    line = refused("--run-dir", "run", *SHORT, "--lr", "0.1")
    assert "run was made with lr = 0.2, not 0.1: name another --run-dir" in line
    assert json.loads(before) == json.loads((tmp_path / "run" / "config.json").read_bytes())
    for name in ("checkpoint.pt", "checkpoint.before.pt"):
        (tmp_path / "run" / name).write_bytes(b"torn")
    assert "checkpoint.pt is damaged" in refused("--run-dir", "run", *SHORT)
    (tmp_path / "run" / "config.json").write_text("{torn")
    assert "config.json cannot be read" in refused("--run-dir", "run", *SHORT)


def test_the_command_itself(command):
    done = command("python", ROOT / "main_al.py", "--dataset", "imagenet")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    done = command("python", ROOT / "main_al.py", "--help")
    assert done.returncode == 0 and "--al-method" in done.stdout
