"""Options: declaration, keyword argument, README and identity cannot disagree; each one matters."""

import ast
import hashlib
import inspect

import pytest
import torch

import main_al
from data.active_dataset import BUDGET, PROBLEM, load_active_dataset
from data.batches import BATCHES, batches_of_used_images
from experiment import experiment
from models import HEAD, NETWORK, create_model
from tests import generated_docs
from tests.conftest import ROOT
from training.learner import LEARNER, OPTIMIZER, Learner, create_optimizer
from training.lr_schedule import SCHEDULE, learning_rate
from training.network_outputs import OUTPUT_FUNCTIONS
from utils.errors import UserError
from utils.options.converters import non_negative_integer
from utils.options.option import Choice, Option, Part, Row, keywords
from utils.options.schema import (
    Declared,
    build_parser,
    fill_defaults,
    identity_options,
    options_by_section,
    refuse_unused_options,
)

READERS = (
    (PROBLEM, load_active_dataset),
    (BUDGET, load_active_dataset),
    (NETWORK, create_model),
    (HEAD, create_model),
    (SCHEDULE, learning_rate),
    (BATCHES, batches_of_used_images),
    (OPTIMIZER, create_optimizer),
    (LEARNER, Learner),
)
OPTIONS = [
    option for some in options_by_section(experiment.option_schema()).values() for option in some
]


def parsed(words: str):
    parser = build_parser(experiment.option_schema(), prog="main_al.py", description="", epilog="")
    given = vars(parser.parse_args(words.split()))
    return fill_defaults(experiment.option_schema(), given), given


COMMANDS = ("main_al.py", "experiment.py", "oracle.py")


def read_by_hand() -> set[str]:
    """The options that the commands themselves read, as args.NAME."""
    trees = [ast.parse((ROOT / name).read_text()) for name in COMMANDS]
    trees += [
        ast.parse((ROOT / p / "__init__.py").read_text())
        for p in ("al_methods", "semisup", "unsup")
    ]
    attributes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    return {
        node.attr
        for node in attributes
        if (isinstance(node.value, ast.Name) and node.value.id == "args")
        or (isinstance(node.value, ast.Attribute) and node.value.attr == "args")
    }


def functions_of(row: Row) -> list:
    values = [getattr(row, name) for name in vars(row) if name not in ("check", "fits")]
    needs = getattr(row, "needs", ())
    values += (
        []
        if callable(needs)
        else [OUTPUT_FUNCTIONS[name] for name in needs if name in OUTPUT_FUNCTIONS]
    )
    readers = [function for part, function in READERS if part is row]
    return [value for value in values if callable(value)] + readers


def test_a_declared_keyword_and_default_are_the_functions_own():
    """And what is no keyword argument is read by the commands themselves."""
    by_hand = read_by_hand()
    for _, row in experiment.option_schema().components_by_title():
        taking = [inspect.signature(f).parameters for f in functions_of(row)]
        for option in row.options:
            found = [p[option.keyword] for p in taking if option.keyword in p]
            switch = option.name.startswith("add_")
            assert found or switch or option.name in by_hand | {"data_root"}, option.name
            for parameter in found:
                if parameter.default is not inspect.Parameter.empty:
                    assert parameter.default == option.default, option.name


def test_every_keyword_argument_with_a_default_is_an_option():
    """What a row's functions take beside what they are given has been declared."""
    given = {"amp", "resume", "after_epoch", "rng", "num_classes"}
    for _, row in experiment.option_schema().components_by_title():
        if isinstance(row, Part):
            continue
        for function in functions_of(row):
            for name, parameter in inspect.signature(function).parameters.items():
                own = {option.keyword for option in (*row.options, *BATCHES.options)}
                optional = parameter.default is not inspect.Parameter.empty
                keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
                if optional and keyword and name not in given | _bound(function):
                    assert name in own, f"{function}: {name}"


def _bound(function) -> set[str]:
    """The keyword arguments that a partial function has already."""
    return set(getattr(function, "keywords", {}))


def test_the_readme_has_the_options_as_they_are_declared():
    assert generated_docs.README.read_text() == generated_docs.current(), "run `make readme`"


def test_names_are_one_apart():
    names = [option.name for option in OPTIONS]
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(set(names)) == len(names) and len(set(flags)) == len(flags)


def test_the_keywords_of_a_function():
    options = (Option("x_depth", 3, "", keyword="depth"), Option("x_other", 1, ""))
    args, _ = parsed("")
    args.x_depth, args.x_other = 5, 6
    assert keywords(args, options, lambda depth: 0) == {"depth": 5}
    assert keywords(args, options, lambda depth: 0, lambda x_other: 0) == {
        "depth": 5,
        "x_other": 6,
    }
    assert keywords(args, options, lambda: 0) == {}


@pytest.mark.parametrize(
    "words, expected",
    [
        ("", {"epochs": 200, "lr_rampdown_epochs": 210, "batch_size": 32, "arch": "sized_cnn"}),
        ("--epochs 300", {"lr_rampdown_epochs": 315}),
        ("--epochs 2", {"lr_rampdown_epochs": 2}),
        ("--add-lp", {"epochs": 30, "lr_rampdown_epochs": 31, "batch_size": 128}),
        ("--add-lp --epochs 40", {"lr_rampdown_epochs": 42}),
        ("--add-lp --epochs 40 --lr-rampdown-epochs 99", {"lr_rampdown_epochs": 99}),
        ("--add-fixmatch", {"epochs": 60, "lr_rampdown_epochs": 63, "batch_size": 8, "ema": 0.999}),
        ("--dataset cifar10 --add-fixmatch", {"epochs": 200, "batch_size": 32, "ema": 0.999}),
        ("--dataset cifar10 --add-lp", {"epochs": 200, "lr_rampdown_epochs": 210, "lp_k": 50}),
        ("--add-lp --b 64", {"batch_size": 64, "labeled_batch_size": 10}),
        ("--momentum 0", {"nesterov": False}),
        ("--al-budget 30", {"initial_size": 30}),
        ("--al-budget 30 --initial-size 5", {"initial_size": 5}),
        ("--learn-unsupervised-pretraining", {"add_unsupervised_pretraining": True}),
        ("--dataset cifar10", {"arch": "cifar_cnn", "pretraining_epochs": 400}),
    ],
)
def test_defaults_that_follow(words, expected):
    args, _ = parsed(words)
    assert {name: getattr(args, name) for name in expected} == expected


def test_the_identity_is_what_the_active_parts_read():
    def names(words):
        return set(identity_options(experiment.option_schema(), parsed(words)[0]))

    plain = names("")
    assert "lp_k" not in plain and "add_lp" not in plain and "seed" in plain
    assert not {"out", "device", "al_nb_cycles", "checkpoint_epochs", "initial_lr"} & plain
    assert names("--al-method jlp") - plain == {"lp_k", "lp_gamma", "lp_alpha", "knn"}
    assert "lp_percent" in names("--add-lp") - names("--add-lp --lp-mode full")
    assert names("--head-dropout 0.5") - plain == {"head_dropout"}
    assert names("--al-method bald") - plain == {"mc_passes"}
    assert names("--lr-rampup 3") - plain == {"initial_lr"}
    learned = names("--learn-unsupervised-pretraining")
    assert learned == names("--add-unsupervised-pretraining") and "pretraining_lr" in learned
    for words in ("", "--add-ceal", "--al-method jlp"):  # one cycle goes on to be many
        assert names(words) == names(f"{words} --al-nb-cycles 1")


def test_an_option_of_a_row_that_is_not_chosen_is_refused():
    declared = experiment.option_schema()
    for option in OPTIONS:
        readers = [row for choice in declared.choices for row in choice.rows.values()]
        shared = any(option in part.options for part in declared.parts)
        if shared or not any(option in row.options for row in readers):
            continue
        args, _ = parsed("--al-method random")
        with pytest.raises(UserError, match=f"{option.flag} is read only with --"):
            refuse_unused_options(declared, args, {option.name: "anything"})


def test_what_a_declaration_can_say():
    """A guest program: conditions, later options, sections, better defaults beside another row."""
    depth = Option("depth", 1, "", kind=non_negative_integer, later=True)
    width = Option(
        "width", 2, "", kind=non_negative_integer, when=(lambda a: a.depth > 1, "--depth above 1")
    )
    one = {"a": Row(options=(depth,)), "b": Row(defaults={"width": 7})}
    two = {
        "c": Row(options=(width,), defaults_with={"b": {"width": 9}}),
        "d": Row(defaults_with={"b": {}}),
    }
    pick = Option("pick", "a", ""), Option("second", "c", "")
    declared = Declared(
        parts=(Part("top", options=pick),),
        choices=(
            Choice("one", one, lambda a: a.pick, "--pick {}"),
            Choice("two", two, lambda a: a.second, "--second {}"),
        ),
        repeats=(lambda a: False, "more cycles"),
    )
    assert list(options_by_section(declared)) == ["top", "one", "two"]
    assert fill_defaults(declared, {}).width == 2
    assert fill_defaults(declared, {"pick": "b"}).width == 9
    assert fill_defaults(declared, {"pick": "b", "second": "d"}).width == 7
    assert fill_defaults(declared, {"pick": "b", "width": 3}).width == 3
    for given, words in (
        ({"pick": "b", "depth": 3}, "--depth is read only with --pick a"),
        ({"depth": 3}, "--depth is read only with more cycles"),
        ({"width": 3}, "--width is read only with --depth above 1"),
    ):
        with pytest.raises(UserError, match=words):
            refuse_unused_options(declared, fill_defaults(declared, given), given)


SHORT = "--al-budget 10 --al-nb-cycles 2 --epochs 2 --device cpu"
LP, CEAL = "--add-lp --lp-k 10", "--add-ceal --ceal-th 1"
FIXMATCH = "--add-fixmatch --steps-per-epoch 3 --mu 2 --fixmatch-threshold 0.01"
PRE = "--add-unsupervised-pretraining --pretraining-epochs 1"
MNIST = "--dataset mnist --data-root {root} --arch small_cnn"
FOLDER = "--dataset folder --data-root {root}/folder"

# Option: what the run is beside, what is added.
CHANGES = {
    "dataset": (MNIST, "--dataset svhn"),
    "flip": (FOLDER, "--flip True"),
    "image_size": (FOLDER, "--image-size 16"),
    "split": ("", "--split 1"),
    "use_val_set": ("", "--use-val-set"),
    "al_method": ("", "--al-method coreset"),
    "initial": ("", "--initial random"),
    "al_budget": ("", "--al-budget 12 --initial-size 10"),
    "initial_size": ("", "--initial-size 12"),
    "arch": (MNIST, "--arch resnet18"),
    "isL2": ("", "--isL2 False"),
    "head_dropout": ("", "--head-dropout 0.5"),
    "coverage_radius": (f"{PRE} --al-method probcover", "--coverage-radius 0.05"),
    "mc_passes": ("--al-method bald --head-dropout 0.5", "--mc-passes 2"),
    "sobel": (PRE, "--sobel"),
    "epochs": ("", "--epochs 3 --lr-rampdown-epochs 3"),
    "lr": ("", "--lr 0.1"),
    "initial_lr": ("--lr-rampup 2", "--initial-lr 0.1"),
    "lr_rampup": ("", "--lr-rampup 2"),
    "lr_rampdown_epochs": ("", "--lr-rampdown-epochs 9"),
    "batch_size": ("", "--b 4"),
    "steps_per_epoch": ("", "--steps-per-epoch 3"),
    "momentum": ("", "--momentum 0.5"),
    "nesterov": ("--steps-per-epoch 3", "--nesterov False"),
    "weight_decay": ("", "--wd 0.1"),
    "ema": ("--steps-per-epoch 3", "--ema 0.5"),
    "finetuning": ("", "--finetuning"),
    "lp_k": ("--add-lp", "--lp-k 5"),
    "lp_affinity": (LP, "--lp-affinity gaussian"),
    "lp_views": (LP, "--lp-views features,pixels"),
    "lp_view_weights": (f"{LP} --lp-views features,pixels", "--lp-view-weights agreement"),
    "lp_balance": (LP, "--lp-balance True"),
    "lp_gamma": (LP, "--lp-gamma 1"),
    "lp_alpha": (LP, "--lp-alpha 0.5"),
    "knn": (LP, "--knn approx"),
    "add_lp": ("", "--add-lp"),
    "labeled_batch_size": (LP, "--labeled-batch-size 20"),
    "lp_mode": (LP, "--lp-mode certain"),
    "lp_percent": (LP, "--lp-percent 0.2"),
    "lp_step": (LP, "--lp-step 2"),
    "tau": (LP, "--tau 0.5"),
    "loss_type": (LP, "--loss-type kl"),
    "is_pW": (LP, "--is-pW False"),
    "is_cW": (LP, "--is-cW"),
    "weighted_unlabeled_batch": (f"{LP} --lp-mode full", "--weighted-unlabeled-batch"),
    "add_ceal": ("", CEAL),
    "ceal_th": ("--add-ceal", "--ceal-th 1"),
    "ceal_decay": (f"{CEAL} --al-nb-cycles 3", "--ceal-decay 0.9"),
    "ceal_repeat": (CEAL, "--ceal-repeat"),
    "add_fixmatch": ("", "--add-fixmatch"),
    "mu": (FIXMATCH, "--mu 1"),
    "fixmatch_threshold": (FIXMATCH, "--fixmatch-threshold 0.9"),
    "fixmatch_weight": (FIXMATCH, "--fixmatch-weight 0.5"),
    "self_adaptive_threshold": ("--add-fixmatch --mu 2", "--self-adaptive-threshold"),
    "add_unsupervised_pretraining": ("", PRE),
    "pretraining_epochs": (PRE, "--pretraining-epochs 2"),
    "pretraining_lr": (PRE, "--pretraining-lr 0.5"),
    "pretraining_batch_size": (PRE, "--pretraining-batch-size 64"),
    "pretraining_method": (PRE, "--pretraining-method deepcluster"),
    "pretraining_temperature": (
        f"{PRE} --pretraining-method simclr",
        "--pretraining-temperature 1",
    ),
    "pretraining_clusters": (
        f"{PRE} --pretraining-method deepcluster",
        "--pretraining-clusters 20",
    ),
    "seed": ("", "--seed 8"),
}
ELSEWHERE = {
    "amp",  # refused without a GPU: test_bad_input.py
    "oracle",  # a person may say otherwise: test_asking.py
    "compile",  # changes rounding alone: test_training.py
}


def outcome(tmp_path, words: str) -> str:
    """A name for a run's results and last weights."""
    folder = tmp_path / hashlib.sha256(words.encode()).hexdigest()[:8]
    out = ["--out", str(tmp_path)] if "pretraining" in words else []
    assert main_al.main([*words.split(), "--run-dir", str(folder), *out]) == 0
    last = torch.load(folder / "checkpoint.pt", weights_only=True)
    parts = [last["model"], last.get("averaged", {})]
    values = [v.numpy().tobytes() for part in parts for v in part.values()]
    return hashlib.sha256((folder / "results.csv").read_bytes() + b"".join(values)).hexdigest()


@pytest.mark.parametrize("name", CHANGES)
def test_every_option_changes_a_number(name, tmp_path, archives):
    beside, added = (words.format(root=archives) for words in CHANGES[name])
    plain = outcome(tmp_path, f"{SHORT} {beside}")
    assert plain != outcome(tmp_path, f"{SHORT} {beside} {added}")


def test_no_option_is_forgotten():
    assert {o.name for o in OPTIONS if o.identity} == {*CHANGES, *ELSEWHERE}


def test_what_is_no_part_of_the_identity_changes_nothing(tmp_path):
    plain = outcome(tmp_path, SHORT)
    assert plain == outcome(tmp_path, f"{SHORT} --checkpoint-epochs 1")
    assert plain == outcome(tmp_path, f"{SHORT} --data-root nowhere")
