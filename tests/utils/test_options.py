"""Options: parser, defaults, refusals, identity and documentation follow from their declaration."""

import argparse
import dataclasses
import functools
import hashlib
import inspect
import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import main_al
from experiment.config import SCHEMA
from tests import generated_docs
from utils.errors import UserError
from utils.options.cli import OneLineErrorParser
from utils.options.converters import (
    comma_separated,
    make_number_type,
    non_empty_text,
    non_negative_integer,
    one_of,
    parse_boolean,
    type_or_word,
)
from utils.options.option import (
    Component,
    Condition,
    OptionGroup,
    OptionValues,
    group_parameters,
    kwargs_for,
    option,
    options_of,
    resolve_needs,
    unread_options,
)
from utils.options.options_table import markdown_tables
from utils.options.schema import (
    ALWAYS_IN_IDENTITY,
    OptionSchema,
    Registry,
    add_options,
    build_parser,
    fill_defaults,
    identity_options,
    options_by_section,
    parse_options,
    refuse_unused_options,
    validate_options,
)

OPTIONS = SCHEMA.options()


def parse(words: str) -> tuple[OptionValues, dict]:
    """All options and those of the command line; nothing is refused."""
    parser = build_parser(SCHEMA, prog="main_al.py", description="", epilog="")
    explicit = vars(parser.parse_args(words.split()))
    return fill_defaults(SCHEMA, explicit), explicit


def error_of(words: str) -> str:
    with pytest.raises(UserError) as caught:
        validate_options(SCHEMA, parse(words)[1])
    return str(caught.value)


# ---- A schema of its own: what a declaration can say.


@dataclass(frozen=True)
class TopOptions(OptionGroup):
    section = "top"
    first: str = option("a", "The entry of the first registry.")
    second: str = option("c", "The entry of the second registry.")
    cycles: int = option(1, "The number of cycles to run.", type=non_negative_integer)
    verbose: bool = option(False, "Whether to print every step.", identity=False)


@dataclass(frozen=True)
class DepthOptions(OptionGroup):
    section = "depth"
    depth: int = option(1, "How deep to go.", type=non_negative_integer, after_first_cycle=True)
    twice: int = option(None, "Twice the depth.", default_from=lambda options: 2 * options.depth)

    def check(self, options: OptionValues) -> None:
        if self.depth > 100:
            raise UserError("--depth is too deep")


@dataclass(frozen=True)
class WidthOptions(OptionGroup):
    section = "width"
    width: int = option(
        2,
        "How wide to be.",
        type=non_negative_integer,
        read_if=Condition(lambda options: options.second == "c", "--second c"),
    )


@dataclass(frozen=True, kw_only=True)
class Entry(Component):
    run: object = None


def use_depth(*, depth: DepthOptions) -> int:
    return depth.depth + depth.twice


def use_width(*, width: WidthOptions) -> int:
    return width.width


FIRST = {"a": Entry(run=use_depth), "b": Entry(defaults={"width": 7})}
SECOND = {
    "c": Entry(run=use_width, defaults_with={"b": {"width": 9}}),
    "d": Entry(run=use_width, defaults_with={"b": {}, "a": {"twice": 50}}),
}
SMALL = OptionSchema(
    groups=(TopOptions,),
    registries=(
        Registry(FIRST, lambda options: options.first, "--first {}"),
        Registry(SECOND, lambda options: options.second, "--second {}", after_first_cycle=True),
    ),
    repeats=Condition(lambda options: options.cycles > 1, "--cycles above 1"),
    last_section="depth",
)


def test_sections_follow_the_groups():
    sections = options_by_section(SMALL)
    assert list(sections) == ["top", "width", "depth"]  # depth was declared to be last
    assert [one.name for one in sections["depth"]] == ["depth", "twice"]


@pytest.mark.parametrize(
    "explicit, expected",
    [
        ({}, {"width": 2, "depth": 1, "twice": 2}),
        ({"depth": 3}, {"twice": 6}),
        ({"depth": 3, "twice": 5}, {"twice": 5}),
        ({"first": "b", "second": "c"}, {"width": 9}),  # defaults_with replaces defaults
        ({"first": "b", "second": "d"}, {"width": 7}),
        ({"first": "b", "width": 3}, {"width": 3}),
        ({"second": "d"}, {"twice": 50}),  # a better default replaces default_from
    ],
)
def test_defaults_of_entries(explicit, expected):
    values = fill_defaults(SMALL, explicit)
    assert {name: getattr(values, name) for name in expected} == expected


def test_defaults_with_apply_in_the_order_of_the_declaration():
    """Also where both registries have an entry of the same name."""
    entries = {"same": Entry(defaults_with={"same": {"width": 3}, "other": {"width": 4}})}
    others = {"same": Entry(), "other": Entry(run=use_width)}
    schema = dataclasses.replace(
        SMALL,
        registries=(
            Registry(others, lambda options: "same", "--third {}"),
            Registry(entries, lambda options: "same", "--first {}"),
            Registry(others, lambda options: "other", "--second {}"),
        ),
    )
    assert fill_defaults(schema, {}).width == 4


def test_a_default_may_select_an_entry():
    """The better default of one registry chooses the entry of a later one."""
    first = {"a": Entry(defaults={"second": "d"}), "b": Entry()}
    schema = dataclasses.replace(
        SMALL,
        registries=(dataclasses.replace(SMALL.registries[0], entries=first), *SMALL.registries[1:]),
    )
    keys = [key for _, key, _ in schema.selections(fill_defaults(schema, {}))]
    assert keys == ["a", "d"]
    keys = [key for _, key, _ in schema.selections(fill_defaults(schema, {"first": "b"}))]
    assert keys == ["b", "c"]


@pytest.mark.parametrize(
    "explicit, flag, needed",
    [
        ({"first": "b", "depth": 3, "cycles": 2}, "--depth", "--first a"),
        ({"depth": 3}, "--depth", "--cycles above 1"),  # after_first_cycle of the option
        ({"width": 3}, "--width", "--cycles above 1"),  # after_first_cycle of the registry
        ({"width": 3, "cycles": 2, "second": "d"}, "--width", "--second c"),  # read_if
    ],
)
def test_options_without_effect_are_refused(explicit, flag, needed):
    with pytest.raises(UserError) as caught:
        refuse_unused_options(SMALL, fill_defaults(SMALL, explicit), explicit)
    message = str(caught.value)
    assert message.startswith(f"{flag} has no effect") and message.endswith(f" {needed}")


def test_options_with_an_effect_are_accepted():
    for explicit in (
        {"depth": 3, "cycles": 2},
        {"width": 3, "cycles": 2},
        {"verbose": False, "first": "b"},  # a switch that is off by default
    ):
        assert validate_options(SMALL, explicit).as_dict().items() >= explicit.items()


def test_groups_and_schema_are_checked():
    with pytest.raises(UserError, match="too deep"):
        validate_options(SMALL, {"depth": 101, "cycles": 2})
    validate_options(SMALL, {"first": "b", "cycles": 2})  # the group of another entry

    def check(options):
        if options.cycles > 5:
            raise UserError("too many cycles")

    schema = dataclasses.replace(SMALL, checks=(check,))
    with pytest.raises(UserError, match="too many cycles"):
        validate_options(schema, {"cycles": 6})


def test_identity_leaves_out_new_options_at_their_default():
    def identity(**explicit):
        return identity_options(SMALL, fill_defaults(SMALL, explicit))

    assert identity() == {"twice": 2}  # which follows from others and has no default of its own
    assert identity(depth=3) == {"depth": 3, "twice": 6}
    assert identity(verbose=True) == identity()
    assert identity(width=3)["width"] == 3 and "width" not in identity(width=3, second="d")
    assert identity(width=3, cycles=1) | {"cycles": 2} == identity(width=3, cycles=2)


def test_old_options_are_always_in_the_identity():
    """A run at the defaults has those of them that it reads."""
    names = {one.name for one in OPTIONS}
    assert names >= ALWAYS_IN_IDENTITY
    values, _ = parse("")
    groups = SCHEMA.active_groups(values)
    read = {
        one.name
        for group in groups
        for one in options_of(group)
        if one.identity and (one.read_if is None or one.read_if.holds(values))
    }
    assert ALWAYS_IN_IDENTITY & read <= set(identity_options(SCHEMA, values))
    assert "initial" in read - ALWAYS_IN_IDENTITY  # newer
    assert "initial" not in identity_options(SCHEMA, values)
    assert "initial" in identity_options(SCHEMA, parse("--initial random")[0])


def test_identity_of_some_groups():
    values = fill_defaults(SMALL, {"depth": 4, "width": 5})
    assert identity_options(SMALL, values, [WidthOptions]) == {"width": 5}


def test_functions_receive_groups():
    values = fill_defaults(SMALL, {"depth": 3})

    def both(*, width: WidthOptions, own: DepthOptions, other: int = 3) -> DepthOptions: ...

    assert kwargs_for(values, use_depth) == {"depth": DepthOptions(3, 6)}
    assert kwargs_for(values, both) == {"width": WidthOptions(2), "own": DepthOptions(3, 6)}
    assert kwargs_for(values, use_depth, use_width).keys() == {"depth", "width"}
    assert kwargs_for(values, functools.partial(both, other=1)) == kwargs_for(values, both)
    assert kwargs_for(values, lambda: 0) == {}
    assert use_depth(**kwargs_for(values, use_depth)) == 9

    class Loss:
        def __init__(self, width: WidthOptions): ...

    assert group_parameters(Loss) == {"width": WidthOptions}


def test_needs_may_follow_from_options():
    def needs(*, width: WidthOptions) -> tuple[str, ...]:
        return ("features",) * width.width

    assert resolve_needs(("probs",), {}) == ("probs",)
    groups = {"width": WidthOptions(3), "depth": DepthOptions(1, 2)}
    assert resolve_needs(needs, groups) == ("features",) * 3


def test_option_values():
    values = OptionValues({"depth": 1, "twice": 2})
    assert values.depth == 1 and values.of(DepthOptions) == DepthOptions(1, 2)
    other = values.replace(depth=5)
    assert (values.depth, other.depth, other.twice) == (1, 5, 2)
    values.as_dict()["depth"] = 9
    assert values.depth == 1
    with pytest.raises(AttributeError, match="no option 'dept'"):
        _ = values.dept


def test_declarations():
    depth, twice = options_of(DepthOptions)
    assert (depth.flag, depth.flags, depth.default_words) == ("--depth", ("--depth",), "1")
    assert twice.default_words == "" and depth.choices == ()
    by_name = {one.name: one for one in OPTIONS}
    assert by_name["arch"].flags == ("--arch", "-a") and by_name["arch"].flag == "--arch"
    assert by_name["sobel"].is_switch and not by_name["flip"].is_switch
    assert "coreset" in by_name["al_method"].choices

    @dataclass(frozen=True)
    class Forgotten(OptionGroup):
        plain: int = 3

    with pytest.raises(TypeError, match=r"Forgotten\.plain"):
        options_of(Forgotten)

    @dataclass(frozen=True)
    class ShortFirst(OptionGroup):
        chosen: int = option(3, "", flags=("-c", "--chosen", "--c"))

    assert options_of(ShortFirst)[0].flag == "--chosen"


MODULE = """
from dataclasses import dataclass
from functools import cached_property, partial
from utils.options.option import Component, Condition, OptionGroup, OptionValues, option

@dataclass(frozen=True)
class Group(OptionGroup):
    knob: int = option(1, "", read_if=Condition(lambda options: options.knob > 0, ""))
    add_guest: bool = option(False, "")

    def check(self, options: OptionValues) -> None:
        assert self.knob

    def check_data(self, options: OptionValues, dataset) -> None:
        assert self.knob

@dataclass(frozen=True, kw_only=True)
class Entry(Component):
    run: object

def run(*, group: Group, other: int = 0): {body}
{more}
ENTRY = Entry(run=run)
PARTIAL = Entry(run=partial(run, other=1))
"""


@pytest.mark.parametrize(
    "body, more, unread",
    [
        ("return 0", "", ["knob"]),  # a check and a condition make no use of an option
        ("return group.knob", "", []),
        ("return [lambda: group.knob]", "", []),
        ("return helper(group)", "def helper(group): return group.knob", []),
        ("return 0", "class A:\n    def read(self, group): return group.knob", []),
        ("return 0", "class A:\n    @property\n    def read(self): return self.group.knob", []),
        ("return 0", "class A:\n    @cached_property\n    def read(self): return self.g.knob", []),
        ("return 0", "class A:\n    @classmethod\n    def read(cls, g): return g.knob", []),
    ],
)
def test_unread_options_are_found(monkeypatch, body, more, unread):
    """--add-guest counts as read, since it selects the entry."""
    module = types.ModuleType("guest_module")
    monkeypatch.setitem(sys.modules, "guest_module", module)
    exec(compile(MODULE.format(body=body, more=more), "guest_module.py", "exec"), vars(module))
    assert unread_options(module.ENTRY) == unread_options(module.PARTIAL) == unread
    entries = {"guest": module.ENTRY}
    registry = Registry(entries, lambda options: "guest", "--add-{}")
    schema = dataclasses.replace(SMALL, registries=(registry,))
    if unread:
        with pytest.raises(TypeError, match=r"--add-guest .*knob"):
            build_parser(schema, prog="", description="", epilog="")
    else:
        build_parser(schema, prog="", description="", epilog="")


# ---- Converters.


@pytest.mark.parametrize(
    "convert, text, value",
    [
        (parse_boolean, "Yes", True),
        (parse_boolean, "0", False),
        (make_number_type(int, at_least=1), "1", 1),
        (make_number_type(float, above=0, at_most=1), "1", 1.0),
        (one_of(("a", "b")), "b", "b"),
        (comma_separated(("a", "b", "c")), "c, a,c", "a,c"),
        (type_or_word(non_negative_integer, auto="auto"), "AUTO", "auto"),
        (type_or_word(non_negative_integer, auto="auto"), "3", 3),
        (non_empty_text, " a", " a"),
    ],
)
def test_converters(convert, text, value):
    assert convert(text) == value and type(convert(text)) is type(value)


@pytest.mark.parametrize(
    "convert, text, parts",
    [
        (parse_boolean, "maybe", ["'maybe'", "True", "False"]),
        (make_number_type(int, at_least=1), "0", ["'0'", "whole number", "at least 1"]),
        (make_number_type(int, at_least=1), "1.5", ["'1.5'", "whole number", "at least 1"]),
        (make_number_type(int), "x", ["'x'", "whole number"]),
        (make_number_type(float, above=0, below=1), "1", ["'1'", "above 0 and below 1"]),
        (make_number_type(float, above=0, below=1), "nan", ["'nan'", "above 0 and below 1"]),
        (make_number_type(float, at_most=1), "1.01", ["'1.01'", "at most 1"]),
        (make_number_type(int), str(2**63), ["too large", "at most 9223372036854775807"]),
        (make_number_type(int, sanity_limit=9), "10", ["'10'", "too large", "at most 9"]),
        (make_number_type(int), "7" * 50 + "x", ["'" + "7" * 37 + "...'"]),
        (one_of(("a", "b")), "c", ["'c' is unknown", "a, b"]),
        (comma_separated(("a", "b")), "a,c", ["'c' is unknown", "a, b"]),
        (comma_separated(("a", "b")), "", ["'' is unknown"]),
        (type_or_word(non_negative_integer, auto="auto"), "-1", ["'-1'", "at least 0"]),
        (non_empty_text, " ", ["empty"]),
    ],
)
def test_converters_refuse(convert, text, parts):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        convert(text)
    assert all(part in str(caught.value) for part in parts)


def test_a_registry_may_grow_after_the_declaration():
    registry = {"a": 1}
    convert = one_of(registry)
    registry["late"] = 2
    assert convert("late") == "late" and list(convert.names) == ["a", "late"]
    assert list(type_or_word(convert, true="a").names) == ["a", "late"]


# ---- The command line of main_al.py.


def test_errors_of_the_command_line(capsys):
    parser = build_parser(SCHEMA, prog="main_al.py", description="", epilog="")
    for words, *parts in (
        ("--al-metod random", "--al-metod", "--al-method?"),
        ("--zzz", "--zzz", "see --help"),
        ("--lp-k 5", "--lp-k", "has no effect", "--add-lp", "--al-method jlp"),
        ("--seed -1", "--seed", "at least 0"),
        ("--split", "--split", "expected one argument"),
    ):
        with pytest.raises(SystemExit) as caught:
            parse_options(parser, SCHEMA, words.split())
        line = capsys.readouterr().err
        assert caught.value.code == 2 and line.count("\n") == 1
        assert line.startswith("main_al.py: error: ") and all(part in line for part in parts)


def test_switches_and_values():
    for words, expected in (("--sobel", True), ("--sobel False", False), ("--sobel yes", True)):
        assert parse(words)[1] == {"sobel": expected}
    assert parse("")[1] == {}


def test_several_values_for_a_sweep():
    parser = OneLineErrorParser()
    add_options(parser, SCHEMA, multiple_values=True)
    args = vars(parser.parse_args(["--lr", "0.1", "0.2", "--sobel", "--seed", "1"]))
    assert args == {"lr": ["0.1", "0.2"], "sobel": [], "seed": ["1"]}


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
def test_defaults_of_a_run(words, expected):
    values, _ = parse(words)
    assert {name: getattr(values, name) for name in expected} == expected


def test_identity_of_a_run_is_what_its_components_read():
    def names(words):
        return set(identity_options(SCHEMA, parse(words)[0]))

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
    for words in ("", "--add-ceal", "--al-method jlp"):  # a run of one cycle can be continued
        assert names(words) == names(f"{words} --al-nb-cycles 1")


def test_every_option_of_an_unselected_entry_is_refused():
    values, _ = parse("--al-method random")
    active = {one.name for group in SCHEMA.active_groups(values) for one in options_of(group)}
    others = [one for one in OPTIONS if one.name not in active]
    assert len(others) > 20
    for one in others:
        with pytest.raises(UserError) as caught:
            refuse_unused_options(SCHEMA, values, {one.name: "anything"})
        message = str(caught.value)
        assert message.startswith(f"{one.flag} has no effect") and "it needs --" in message


# ---- Declarations of all options.


def test_options_page_is_current():
    assert generated_docs.OPTIONS.read_text() == generated_docs.render_options(), "run `make docs`"


def test_options_table():
    lines = markdown_tables(SMALL).splitlines()
    assert [line for line in lines if line.startswith("## ")] == ["## Top", "## Width", "## Depth"]
    assert "| `--width` | 2 | How wide to be. |" in lines
    assert any(line.startswith("| `--twice` |  |") for line in lines)
    table = markdown_tables(SCHEMA)
    assert "`--loss-type` {ce, kl}" in table and "`--arch`, `-a` {" in table


def test_names_and_flags_are_unique():
    names = [one.name for one in OPTIONS]
    flags = [flag for one in OPTIONS for flag in one.flags]
    assert len(set(names)) == len(names) and len(set(flags)) == len(flags)


@pytest.mark.parametrize("one", OPTIONS, ids=lambda one: one.name)
def test_every_help_text_is_a_sentence(one):
    """It is read alone: at least four words, from a capital to a period."""
    assert len(one.help.split()) >= 4
    assert one.help[0].isupper() and one.help.endswith(".")


@pytest.mark.parametrize(
    "one", [one for one in OPTIONS if one.default is not None], ids=lambda one: one.name
)
def test_a_default_can_be_given_on_the_command_line(one):
    """And is read as what it is, so that type and default fit together."""
    if one.name == "head_dropout":  # 0 means none
        assert one.default == 0
    else:
        assert one.type(str(one.default)) == one.default
        assert type(one.type(str(one.default))) is type(one.default)


def test_no_entry_has_a_setting_that_is_no_option():
    """The keyword arguments with a default of an entry's functions come from the caller."""
    from_caller = {"amp", "resume", "after_epoch", "rng", "num_classes"}
    entries = [entry for registry in SCHEMA.registries for entry in registry.entries.values()]
    for function in {function for entry in entries for function in entry.functions()}:
        bound = set(getattr(function, "keywords", {}))
        for name, parameter in inspect.signature(function).parameters.items():
            if (
                parameter.kind is parameter.KEYWORD_ONLY
                and parameter.default is not parameter.empty
            ):
                assert name in from_caller | bound, f"{function}: {name}"


# ---- Every option changes a number.

SHORT = "--dataset arrays --data-root {root}/few.npz --al-budget 10 --al-nb-cycles 2 --epochs 2"
SHORT += " --device cpu"
LP, CEAL = "--add-lp --lp-k 10 --steps-per-epoch 4", "--add-ceal --ceal-th 1"
FIXMATCH = "--add-fixmatch --steps-per-epoch 3 --mu 2 --fixmatch-threshold 0.01"
PRE = "--add-unsupervised-pretraining --pretraining-epochs 1"
MNIST = "--dataset mnist --data-root {root} --arch small_cnn"
FOLDER = "--dataset folder --data-root {root}/folder"

# Option -> (the plain run, what is added to change the option).
CHANGES = {
    "dataset": (MNIST, "--dataset svhn"),
    "flip": (FOLDER, "--flip True"),
    "image_size": (FOLDER, "--image-size 16"),
    "page": ("--dataset folder --data-root {root}/pages", "--page mean"),
    "value_range": (FOLDER, "--value-range 0,4095"),
    "split": ("", "--split 1"),
    "use_val_set": ("--dataset digits", "--use-val-set"),
    "al_method": ("", "--al-method coreset"),
    "initial": ("", "--initial random"),
    "label_noise": ("", "--label-noise 0.3"),
    "second_looks": ("--label-noise 0.3 --initial-size 20", "--second-looks 4"),
    "al_budget": ("", "--al-budget 12 --initial-size 10"),
    "initial_size": ("", "--initial-size 12"),
    "audit": ("--al-method coreset", "--audit 3"),
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
    "lp_k": (LP, "--lp-k 5"),
    "lp_affinity": (LP, "--lp-affinity gaussian"),
    "lp_views": (LP, "--lp-views features,pixels"),
    "lp_view_weights": (f"{LP} --lp-views features,pixels", "--lp-view-weights agreement"),
    "lp_balance": (LP, "--lp-balance True"),
    "lp_solver": (LP, "--lp-solver poisson"),
    "lp_gamma": (LP, "--lp-gamma 1"),
    "lp_alpha": (LP, "--lp-alpha 0.5"),
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
    "self_adaptive_threshold": (
        "--add-fixmatch --mu 2 --steps-per-epoch 3",
        "--self-adaptive-threshold",
    ),
    "add_unsupervised_pretraining": ("", PRE),
    "pretraining_epochs": (PRE, "--pretraining-epochs 2"),
    "pretraining_lr": (PRE, "--pretraining-lr 0.5"),
    "pretraining_batch_size": (PRE, "--pretraining-batch-size 64"),
    "pretraining_method": (PRE, "--pretraining-method simclr"),
    "pretraining_temperature": (
        f"{PRE} --pretraining-method simclr",
        "--pretraining-temperature 1",
    ),
    "pretraining_clusters": (
        f"{PRE} --pretraining-method deepcluster",
        "--pretraining-clusters 20",
    ),
    "seed": ("", "--seed 8"),
    "encoder": (FOLDER, "--encoder mobilenet_v3_small"),
}
TESTED_ELSEWHERE = {
    "amp",  # refused without a GPU: tests/commands/test_bad_input.py
    "oracle",  # a person may answer differently: tests/labeling/test_oracle.py
    "encoder_mean",  # change the features: tests/models/encoders/test_encoders.py
    "encoder_output",
    "encoder_size",
    "encoder_std",
    "duplicates",  # needs identical images: tests/data/test_duplicates.py
    "compile",  # changes only rounding: tests/training/test_training.py
    "knn",  # few images are searched exactly anyway: tests/utils/test_cell_neighbors.py
}


@pytest.fixture(scope="module")
def few_digits(archives):
    """A data root with an array file beside the archives: a fifth of the digits takes a fifth of
    the time."""
    digits = load_digits()
    images, labels = np.uint8(digits.images[:360] * 15), digits.target[:360]
    np.savez(archives / "few.npz", images=images, labels=labels)
    return archives


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Options -> a digest of the results and the last weights of a run with these options.

    Each run is made once; all share the cache of pre-trained weights."""
    root = tmp_path_factory.mktemp("outcomes")

    @functools.cache
    def run(words: str) -> str:
        folder = root / hashlib.sha256(words.encode()).hexdigest()[:8]
        out = ["--out", str(root)] if "pretraining" in words else []
        assert main_al.main([*words.split(), "--run-dir", str(folder), *out]) == 0
        checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
        weights = [checkpoint["model"], checkpoint.get("averaged", {})]
        values = [tensor.numpy().tobytes() for part in weights for tensor in part.values()]
        return hashlib.sha256((folder / "results.csv").read_bytes() + b"".join(values)).hexdigest()

    return run


@pytest.mark.parametrize("name", CHANGES)
def test_every_option_changes_a_number(name, outcome, few_digits):
    short, plain, added = (words.format(root=few_digits) for words in (SHORT, *CHANGES[name]))
    assert outcome(f"{short} {plain}") != outcome(f"{short} {plain} {added}")


def test_no_option_is_forgotten():
    assert {one.name for one in OPTIONS if one.identity} == {*CHANGES, *TESTED_ELSEWHERE}


def test_options_outside_the_identity_change_nothing(outcome, few_digits):
    short = SHORT.format(root=few_digits)
    assert outcome(f"{short} ") == outcome(f"{short} --checkpoint-epochs 1")
    digits = f"{short} --dataset digits"
    assert outcome(digits) == outcome(f"{digits} --data-root nowhere")
