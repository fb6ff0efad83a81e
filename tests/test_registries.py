"""An entry is one file and one line: six entries that only the tests know (tests/plugins) are run,
killed, resumed and reported, with the options that they bring."""

import dataclasses
import hashlib
import json
import signal
import subprocess
import types
from dataclasses import dataclass

import pytest

import main_al
import report
from al_methods import METHODS, jlp
from al_methods.spec import Method
from experiment.checkpoint import load_checkpoint
from experiment.config import SCHEMA
from tests.commands.test_main_al import assert_same_run
from tests.conftest import ROOT
from tests.forked import ForkedCommand
from tests.plugins import ENTRIES, NAME
from tests.waiting import wait_for
from utils.graph.graph_options import GraphOptions
from utils.options.converters import positive_integer
from utils.options.option import OptionGroup, option
from utils.options.schema import ALWAYS_IN_IDENTITY, fill_defaults, identity_options

PLUGINS_MAIN = ROOT / "tests" / "plugins" / "main.py"
RUN = [
    *("--dataset=plugin", "--al-method=plugin", "--add-plugin", "--add-unsupervised-pretraining"),
    *("--pretraining-method=plugin", "--pretraining-epochs=4", "--al-budget=10"),
    *("--al-nb-cycles=3", "--epochs=12", "--checkpoint-epochs=3", "--device=cpu"),
]
OPTIONS = {
    "plugin_upside_down": True,
    "plugin_width": 6,
    "plugin_stride": 2,
    "plugin_strength": 0.5,
    "plugin_darkest": 0.25,
}
FLAGS = {name: f"--{name.replace('_', '-')}" for name in OPTIONS}


@pytest.fixture
def plugins(monkeypatch):
    """The entries are in their registries."""
    for registry, entry in ENTRIES:
        monkeypatch.setitem(registry, NAME, entry)


def run_folder(out):
    method = out / "plugin" / "budget10" / "plugin" / "plugin_with_plugin_pretrained"
    return next(method.glob("*/split0"))


def options_in_identity(file):
    return json.loads(file.read_text())["identity"]["options"]


def test_plugins_are_run_killed_resumed_and_reported(tmp_path, plugins, capsys):
    """The killed run ends with the same results as an uninterrupted one."""
    words = [*RUN, *(f"{FLAGS[name]}={value}" for name, value in OPTIONS.items()), "--out"]
    assert main_al.main([*words, str(tmp_path / "whole")]) == 0
    process = ForkedCommand(PLUGINS_MAIN, *words, tmp_path / "killed")

    def is_within_the_second_cycle() -> bool:
        path = next((tmp_path / "killed").glob("plugin/*/*/*/*/split0/checkpoint.pt"), None)
        state = load_checkpoint(path)["state"] if path else {"cycle": 0}
        return state["cycle"] == 1 and state["epoch"] >= 3

    wait_for(is_within_the_second_cycle, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    capsys.readouterr()
    assert main_al.main([*words, str(tmp_path / "killed")]) == 0
    output = capsys.readouterr().out
    assert "resuming at cycle 2" in output and "pre-trained weights: " in output
    assert_same_run(run_folder(tmp_path / "killed"), run_folder(tmp_path / "whole"))
    assert main_al.main([*words, str(tmp_path / "killed")]) == 0
    assert main_al.ALREADY_FINISHED_MESSAGE in capsys.readouterr().out

    options = options_in_identity(run_folder(tmp_path / "whole") / "config.json")
    assert {name: options[name] for name in OPTIONS} == OPTIONS
    assert options["add_plugin"] and options["pretraining_method"] == "plugin"
    assert options["ema"] == 0.8  # the algorithm's default
    config = next((tmp_path / "whole").glob("pretrained/plugin/plugin/*/config.json"))
    of_weights = set(OPTIONS) & set(options_in_identity(config))
    assert of_weights == {"plugin_upside_down", "plugin_width", "plugin_darkest"}

    assert report.main([str(tmp_path / "whole")]) == 0
    output = capsys.readouterr().out
    assert "PLUGIN" in output and "10 labels" in output


def test_options_of_plugins_at_their_default_are_not_in_the_identity(tmp_path, plugins):
    words = [*RUN, "--al-nb-cycles", "2", "--epochs", "1", "--out", str(tmp_path)]
    assert main_al.main(words) == 0
    config = next(tmp_path.glob("pretrained/plugin/plugin/*/config.json"))
    for file in (config, run_folder(tmp_path) / "config.json"):
        options = options_in_identity(file)
        assert options["dataset"] == "plugin" and not set(OPTIONS) & set(options)


def test_a_plugin_encoder_is_run_and_reported(tmp_path, plugins, capsys):
    """Its features take the place of the pixels of another plugin."""
    words = ["--dataset=plugin", "--encoder=plugin", "--al-budget=10", "--al-nb-cycles=2"]
    words += ["--epochs=2", "--device=cpu", f"--out={tmp_path}"]
    assert main_al.main([*words, "--plugin-gain=2"]) == 0
    config = next(tmp_path.glob("plugin/*/linear/*/*/split0/config.json"))
    assert options_in_identity(config)["encoder"] == NAME
    assert options_in_identity(config)["plugin_gain"] == 2
    identity = json.loads(config.read_text())["identity"]
    assert identity["encoder"]["preprocessing"] == "2 x 2 pixels, times 2.0"
    capsys.readouterr()
    assert main_al.main([*words, "--plugin-gain=2"]) == 0
    assert main_al.ALREADY_FINISHED_MESSAGE in capsys.readouterr().out
    assert main_al.main(words) == 0  # other features, another run
    assert len(list(tmp_path.glob("plugin/*/linear/*/*/split0/config.json"))) == 2
    assert report.main([str(tmp_path)]) == 0


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_unused_plugins_are_refused(plugins, capsys, name):
    with pytest.raises(SystemExit) as stopped:
        main_al.main([f"{FLAGS[name]}={OPTIONS[name]}"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and FLAGS[name] in error and "has no effect" in error
    assert f" {NAME}" in error or f"--add-{NAME}" in error  # how to select the entry


def test_options_of_plugins_are_in_the_help(plugins, capsys):
    with pytest.raises(SystemExit) as stopped:
        main_al.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(flag in text for flag in FLAGS.values())


def test_no_other_code_knows_the_plugins():
    files = subprocess.run(
        f"git grep -il -e {NAME} --and --not -e ImagePlugin -- *.py :!tests".split(),  # Pillow's
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert files.stdout == ""


# ---- An option that no code reads would be accepted and change nothing.


@dataclass(frozen=True)
class UnreadOptions(OptionGroup):
    plugin_unread: int = option(1, "An option that no code reads.", type=positive_integer)


def function_without_effect(*args, unread: UnreadOptions, **kwargs):
    """Takes the group and reads none of its options."""


# One per registry.
FUNCTION_FIELDS = ("load", "make_backbone", "pick", "make_loss", "pretrain", "load")
SELECTORS = (
    "--dataset plugin",
    "--arch plugin",
    "--al-method plugin",
    "--add-plugin",
    "--pretraining-method plugin",
    "--encoder plugin",
)


@pytest.mark.parametrize("number", range(len(ENTRIES)), ids=SELECTORS)
def test_options_that_no_code_reads_are_an_error(monkeypatch, plugins, number):
    """With the flags that select the entry, and the option."""
    SCHEMA.require_all_read()
    registry, entry = ENTRIES[number]
    changed = dataclasses.replace(entry, **{FUNCTION_FIELDS[number]: function_without_effect})
    monkeypatch.setitem(registry, NAME, changed)
    with pytest.raises(TypeError, match=rf"{SELECTORS[number]} .*plugin_unread"):
        SCHEMA.require_all_read()
    with pytest.raises(TypeError, match="plugin_unread"):
        main_al.main(["--help"])


@dataclass(frozen=True)
class GraphOptionsWithUnread(GraphOptions):
    """A copy of the group that jLP takes, with one more option."""

    lp_unread: int = option(1, "An option that no code reads.", type=positive_integer)


@dataclass(frozen=True)
class GraphOptionsCopy(GraphOptions):
    """A copy of the group that jLP takes."""


def jlp_with(group):
    """The picker of jLP, with another group in place of GraphOptions."""
    pick = types.FunctionType(jlp.pick.__code__, vars(jlp), "pick")
    pick.__kwdefaults__ = jlp.pick.__kwdefaults__
    pick.__annotations__ = jlp.pick.__annotations__ | {"graph": group}
    return Method(pick, needs=("features",))


def test_one_unread_option_among_read_ones_is_an_error(monkeypatch):
    for group in (GraphOptionsCopy, GraphOptionsWithUnread):  # as if declared beside the original
        monkeypatch.setattr(group, "__module__", GraphOptions.__module__)
    monkeypatch.setitem(METHODS, NAME, jlp_with(GraphOptionsCopy))
    SCHEMA.require_all_read()
    monkeypatch.setitem(METHODS, NAME, jlp_with(GraphOptionsWithUnread))
    with pytest.raises(TypeError, match="--al-method plugin would accept lp_unread and ignore it"):
        SCHEMA.require_all_read()


# ---- A new option, at its default, changes the identity of no run.


def test_the_list_of_options_that_are_always_in_the_identity_is_frozen():
    """Identities of existing runs contain these options even at their default.  An option that is
    added to the list, or removed from it, changes the identity of every run that reads it: these
    runs could not be resumed or found again.  So the list never changes; a new option stays out of
    it, and is part of the identity only where it differs from its default."""
    names = " ".join(sorted(ALWAYS_IN_IDENTITY))
    assert hashlib.sha256(names.encode()).hexdigest() == (
        "a6d9c8f1a4a06ae4d3a54c34b8139dd4380fb3c76219bac6fcf5d9d1b65a4b5c"
    )


@dataclass(frozen=True)
class NewOptions(OptionGroup):
    plugin_new: int = option(1, "A new option.", type=positive_integer)


WITH_NEW = dataclasses.replace(SCHEMA, groups=(*SCHEMA.groups, NewOptions))
SELECTIONS = [
    {option_name: key, **extra}
    for option_name, entries, extra in (
        ("dataset", ENTRIES[0][0], {}),
        ("arch", ENTRIES[1][0], {}),
        ("al_method", ENTRIES[2][0], {}),
        ("pretraining_method", ENTRIES[4][0], {"add_unsupervised_pretraining": True}),
    )
    for key in entries
] + [{f"add_{key}": True} for key in ENTRIES[3][0] if key != "supervised"]


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_new_options_do_not_change_identities(selection):
    """With every entry of every registry."""
    before = identity_options(SCHEMA, fill_defaults(SCHEMA, selection))
    assert set(selection) <= set(before)
    assert identity_options(WITH_NEW, fill_defaults(WITH_NEW, selection)) == before
    changed = identity_options(WITH_NEW, fill_defaults(WITH_NEW, selection | {"plugin_new": 2}))
    assert changed == before | {"plugin_new": 2}
