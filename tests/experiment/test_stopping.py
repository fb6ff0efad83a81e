"""--stop-when: which rules there are, when they end a run, and what a run that has ended is."""

import json

import pytest

import main_al
import predict
from experiment.config import SCHEMA
from experiment.stopping import StopRule, parse_rule, stop_reason
from reports.runs import read_runs_below
from tests.commands.test_main_al import assert_same_run, rows
from utils.options.schema import fill_defaults

WORDS = (
    "--dataset digits --add-lp --lp-views pixels --lp-k 10 --al-budget 10 --al-nb-cycles 4 "
    "--epochs 4 --device cpu"
)
ROW = {
    "cycle": 2,
    "model": "network",
    "accuracy": "91.00",
    "low": "85.00",
    "high": "95.00",
    "gain": "0.70",
    "gain_low": "-0.50",
    "gain_high": "3.00",
}


def reason_for(rule, cycle=2, row=ROW):
    options = fill_defaults(SCHEMA, {"dataset": "digits", "add_lp": True, "stop_when": rule})
    other = row | {"model": "propagation", "gain": "0.00", "low": "99.00"}
    return stop_reason(options, cycle, [row | {"cycle": 1}, other, row])


@pytest.mark.parametrize("rule, stops", [("gain:0.71", True), ("gain:0.7", False)])
def test_a_small_gain_ends_a_run(rule, stops):
    reason = reason_for(rule)
    assert bool(reason) == stops
    if reason:
        assert "0.70 percentage points (-0.50 to 3.00), less than --stop-when gain:0.71" in reason


@pytest.mark.parametrize("rule, stops", [("accuracy:85", True), ("accuracy:85.01", False)])
def test_a_high_accuracy_ends_a_run(rule, stops):
    """The lower end counts, so that the accuracy is as high with a probability of 97.5 %."""
    reason = reason_for(rule)
    assert bool(reason) == stops
    assert not reason or "91.00 % (85.00 to 95.00 %), at least --stop-when accuracy:85" in reason


def test_no_rule_or_no_estimate():
    assert reason_for(None) is None
    assert reason_for("accuracy:1", cycle=3) is None


@pytest.mark.parametrize(
    "text, rule", [("gain:0.5", ("gain", 0.5)), ("accuracy:95", ("accuracy", 95))]
)
def test_rules(text, rule):
    assert parse_rule(text) == StopRule(*rule)


@pytest.mark.parametrize(
    "text", ["gain", "gain:", "gain:0", "gain:-1", "accuracy:100", "loss:1", "gain:nan", "5"]
)
def test_other_rules_are_refused_in_one_line(text, capsys):
    with pytest.raises(SystemExit) as stopped:
        main_al.main([*WORDS.split(), "--stop-when", text])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1
    assert "--stop-when" in error and "for example gain:0.5 or accuracy:95" in error


def test_it_needs_an_estimate(capsys):
    with pytest.raises(SystemExit):
        main_al.main(["--dataset", "digits", "--stop-when", "gain:1", "--al-method", "margin"])
    assert "needs an estimate of the accuracy: add --audit N" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        words = "--stop-when gain:1 --lp-views features --al-method margin"
        main_al.main([*WORDS.split(), *words.split()])
    assert "features that training does not change" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [{"add_lp": True, "lp_views": "pixels", "al_method": "margin"}, {"add_lp": True}, {"audit": 2}],
)
def test_what_gives_an_estimate(words):
    """A graph that does not change; random queries with a graph that does; an audit."""
    method = {"al_method": "margin"} if "audit" in words else {}
    fill_defaults(SCHEMA, {"dataset": "digits", "stop_when": "gain:1"} | method | words)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run that ended in its second cycle, and the whole run."""
    root = tmp_path_factory.mktemp("stopped")
    whole, stopped = root / "whole", root / "stopped"
    assert main_al.main([*WORDS.split(), "--run-dir", str(whole)]) == 0
    lows = [float(row["estimated_low"]) for row in rows(whole / "results.csv")]
    first = next(cycle for cycle in range(1, 4) if lows[cycle] > lows[0])
    rule = f"accuracy:{lows[first]:g}"
    words = [*WORDS.split(), "--stop-when", rule]
    assert main_al.main([*words, "--run-dir", str(stopped)]) == 0
    return whole, stopped, words, first + 1


def test_a_run_ends_and_says_why(folders):
    whole, stopped, _, cycles = folders
    assert rows(stopped / "results.csv") == rows(whole / "results.csv")[:cycles]
    assert f"stopped after cycle {cycles} of 4: the accuracy" in (stopped / "log.txt").read_text()
    finished = json.loads((stopped / "config.json").read_text())["finished"]
    assert finished["cycles"] == cycles and "--stop-when accuracy" in finished["stopped"]


def test_it_is_finished_for_every_command(folders, capsys):
    _, stopped, words, cycles = folders
    assert main_al.main([*words, "--run-dir", str(stopped)]) == 0
    assert "Finished before; nothing to do" in capsys.readouterr().out
    runs, notes = read_runs_below(stopped)
    assert len(runs) == 1 and len(runs[0].results) == cycles and not notes
    assert predict.main([str(stopped)]) == 0


def test_without_the_rule_it_goes_on(folders):
    """To the same bytes as without the stop."""
    whole, stopped, _, _ = folders
    assert main_al.main([*WORDS.split(), "--run-dir", str(stopped)]) == 0
    assert_same_run(whole, stopped)
    assert (whole / "estimates.csv").read_bytes() == (stopped / "estimates.csv").read_bytes()
    assert "stopped" not in json.loads((stopped / "config.json").read_text())["finished"]
