"""Estimates of the accuracy in a run: what they are made from, what they do not move, and resuming.

The data are clusters as feature vectors, so that the graph is the same in all cycles; and digits,
where the graph changes with the network."""

import numpy as np
import pytest

import main_al
from data.pool import Pool
from data.state import State, from_dict, to_dict
from experiment import estimates, setup
from experiment.checkpoint import load_checkpoint, save_checkpoint
from experiment.config import SCHEMA, component_needs, has_static_graph
from experiment.result_tables import ESTIMATE_COLUMNS
from experiment.static_features import make_static_features
from labeling.audit import Audit
from semisup import ALGORITHMS
from tests.commands.test_main_al import assert_same_run, rows
from utils.options.schema import fill_defaults
from utils.signals import StoppedBySignal

CLASSES = 4
SHORT = "--al-budget 8 --al-nb-cycles 3 --epochs 2 --device cpu".split()  # noqa: SIM905
PRETRAINED = {"add_unsupervised_pretraining": True, "pretraining_method": "simclr"}
LP = "--add-lp --lp-k 10 --arch linear".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of overlapping clusters, and the classes of its training rows."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLASSES, 8))
    labels = np.arange(280) % CLASSES
    features = (centers[labels] + 0.7 * rng.normal(size=(280, 8))).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "clusters.npz"
    arrays = {"features": features[:240], "labels": labels[:240]}
    np.savez(path, **arrays, test_features=features[240:], test_labels=labels[240:])
    return path, labels[:240]


@pytest.fixture
def run(data, tmp_path):
    """Execute main_al.py on the clusters, with further options; -> its folder."""

    def execute(name, *words, features=True):
        folder = tmp_path / name
        source = ["--dataset", "features", "--data-root", data[0]] if features else []
        words = [*SHORT, *source, "--run-dir", folder, *words]
        assert main_al.main([str(word) for word in words]) == 0
        return folder

    return execute


def without_estimates(folder):
    return [
        {name: value for name, value in row.items() if name not in ESTIMATE_COLUMNS}
        for row in rows(folder / "results.csv")
    ]


def test_estimates_of_a_run_with_propagation(run, data):
    folder = run("run", *LP, "--al-method", "margin", "--audit", 3)
    table = rows(folder / "estimates.csv")
    assert [(row["cycle"], row["model"]) for row in table] == [
        (str(cycle), model) for cycle in range(3) for model in ("network", "propagation")
    ]
    assert [row["audited"] for row in table] == ["0", "0", "3", "3", "6", "6"]
    for row, result in zip(table[::2], rows(folder / "results.csv"), strict=True):
        assert [result[name] for name in ESTIMATE_COLUMNS] == [
            row[name] for name in ("accuracy", "low", "high")
        ]
        assert 0 <= float(row["low"]) < float(row["accuracy"]) < float(row["high"]) <= 100
    counts = [8 + 8 * int(row["cycle"]) - int(row["audited"]) for row in table]
    assert [row["left_out"] for row in table] == [str(count) for count in counts]  # 2 per class
    state = from_dict(load_checkpoint(folder / "checkpoint.pt")["state"])
    assert [predicted.shape for predicted in state.predictions] == [(240,), (240,)]


def test_a_network_that_learned_nothing_is_not_estimated_as_the_propagation(run):
    """The labels that it should learn are right, so that nothing but their difference says so."""
    folder = run("run", *LP, "--lr", "1e-9", "--stop-when", "accuracy:75")
    results, table = rows(folder / "results.csv"), rows(folder / "estimates.csv")
    assert len(results) == 3  # not stopped
    for result, network in zip(results, table[::2], strict=True):
        assert float(network["low"]) <= float(result["top1"]) <= float(network["high"])
    assert float(table[-2]["accuracy"]) < 60 < float(table[-1]["accuracy"])  # in the last cycle


def test_the_audit_is_drawn_at_random_and_comes_first(run):
    folders = [
        run(name, *LP, "--al-method", method, "--audit", 3)
        for name, method in {"a": "margin", "b": "coreset"}.items()
    ]
    picks = [[row["index"] for row in rows(folder / "acquired.csv")] for folder in folders]
    assert picks[0][:3] == picks[1][:3] and picks[0][3:8] != picks[1][3:8]
    assert all(len(set(own)) == 16 for own in picks)


def test_the_method_does_not_see_the_audit(run, monkeypatch):
    """It could pick an audited image a second time, or the audit would depend on it."""
    seen = []
    original = main_al.Experiment.select_queries

    def select_queries(self, *words):
        picks = original(self, *words)
        seen.append(picks)
        return picks

    monkeypatch.setattr(main_al.Experiment, "select_queries", select_queries)
    run("a", *LP, "--al-method", "margin", "--audit", 7)
    assert all(len(picks) == 8 == len(set(picks.tolist())) for picks in seen)


def test_estimates_move_no_number(run, monkeypatch):
    plain = run("plain", *LP, "--al-method", "margin")
    monkeypatch.setattr("experiment.experiment.makes_estimates", lambda options: False)
    other = run("other", *LP, "--al-method", "margin")
    assert not (other / "estimates.csv").exists()
    assert without_estimates(plain) == without_estimates(other)
    assert {row["estimated_low"] for row in rows(other / "results.csv")} == {""}
    assert (plain / "acquired.csv").read_bytes() == (other / "acquired.csv").read_bytes()


@pytest.mark.parametrize("words", [["--arch", "linear"], ["--arch", "linear", "--add-ceal"]])
def test_no_estimate_without_graph_and_audit(run, words):
    folder = run("run", *words, "--al-method", "margin")
    assert not (folder / "estimates.csv").exists()
    assert {row["estimated_accuracy"] for row in rows(folder / "results.csv")} == {""}
    assert "estimate" not in {row["stage"] for row in rows(folder / "timing.csv")}


def test_an_audit_without_a_graph(run):
    """The estimate is of the network, from what the network before said about audited images."""
    folder = run("run", "--arch", "linear", "--al-method", "margin", "--audit", 3)
    table = rows(folder / "estimates.csv")
    assert [row["model"] for row in table] == ["network"] * 2
    assert [row["audited"] for row in table] == ["3", "6"]  # none in the first cycle
    assert {row["left_out"] for row in table} == {""}
    assert float(table[1]["disagreement"]) > 0
    state = from_dict(load_checkpoint(folder / "checkpoint.pt")["state"])
    right = 0
    for cycle, record in enumerate(state.history[1:]):
        audited = record.queried[:3]
        right += int((state.predictions[cycle][audited] == state.pool.labels[audited]).sum())
    assert table[1]["audited_right"] == str(right)


def test_a_graph_that_changes_with_the_network(run):
    """Leave-one-out and confidences would be too good: the features have been trained on the
    labels."""
    words = ("--add-lp", "--al-method", "margin", "--audit", 3)
    folder = run("run", *words, features=False)
    table = rows(folder / "estimates.csv")
    assert [row["audited"] for row in table] == ["3", "3", "6", "6"]
    assert {(row["confidence"], row["left_out"]) for row in table} == {("", "")}
    assert rows(folder / "results.csv")[0]["estimated_accuracy"] == ""
    state = from_dict(load_checkpoint(folder / "checkpoint.pt")["state"])
    audited = state.history[1].queried[:3]
    right = int((state.predictions[0][audited] == state.pool.labels[audited]).sum())
    assert table[0]["audited_right"] == table[1]["audited_right"] == str(right)


def test_without_an_audit_a_graph_that_changes_gives_no_estimate(run):
    """With ten labels of digits it would be above 98 %, whatever the truth."""
    folder = run("run", "--add-lp", "--al-method", "margin", features=False)
    assert not (folder / "estimates.csv").exists()
    assert {row["estimated_accuracy"] for row in rows(folder / "results.csv")} == {""}


@pytest.mark.parametrize(
    "dataset, words, is_static",
    [
        ("features", {"arch": "linear"}, True),
        ("features", {"arch": "mlp"}, False),
        ("features", {"arch": "mlp", "lp_views": "pretrained_features"}, True),
        ("digits", {}, False),
        ("digits", {"lp_views": "pixels"}, True),
        ("digits", PRETRAINED, True),
        ("digits", PRETRAINED | {"lp_views": "features,pixels"}, False),
    ],
)
def test_which_graphs_do_not_change(data, dataset, words, is_static):
    """By the options alone, as by the features of a run."""
    values = {"dataset": dataset, "data_root": str(data[0]), "add_lp": True, **words}
    options = fill_defaults(SCHEMA, values)
    assert has_static_graph(options) == is_static
    dataset, options = setup.open_dataset(options)
    make_network = setup.network_factory(options, dataset)
    weights = make_network().backbone.state_dict() if "pretraining_method" in words else None
    static = make_static_features(dataset, make_network, weights, seed=0, amp=False)
    needs = component_needs(options, ALGORITHMS["lp"])
    assert (set(needs) <= set(static)) == is_static


def test_poisson_learning_is_compared_with_the_diffusion(run):
    folder = run("run", *LP, "--lp-solver", "poisson", "--al-method", "margin", "--audit", 3)
    table = rows(folder / "estimates.csv")
    assert {row["disagreement"] for row in table if row["model"] == "propagation"} != {"0.00"}


@pytest.mark.parametrize("training", [LP, ["--arch", "linear"]])
@pytest.mark.parametrize("stop", ["estimate", "select", "label"])
def test_a_stopped_run_resumes_with_the_same_estimates(run, monkeypatch, training, stop):
    words = (*training, "--al-method", "margin", "--audit", 3)
    whole = run("whole", *words)
    names = {
        "estimate": "estimate_accuracy",
        "select": "add_predictions",
        "label": "label_queried_images",
    }
    owner = main_al if stop == "label" else main_al.Experiment
    original = getattr(owner, names[stop])

    def stop_in_second_cycle(self, state, *others):
        if state.cycle == 1:
            raise StoppedBySignal(15)
        return original(self, state, *others)

    with monkeypatch.context() as patch:
        patch.setattr(owner, names[stop], stop_in_second_cycle)
        with pytest.raises(AssertionError):  # the exit status of a stopped run is not 0
            run("stopped", *words)
    stopped = run("stopped", *words)
    assert_same_run(whole, stopped)
    assert (whole / "estimates.csv").read_bytes() == (stopped / "estimates.csv").read_bytes()


def test_a_run_of_an_earlier_version_is_continued(run, tmp_path):
    """Its checkpoint has neither estimates nor predictions."""
    words = (*LP, "--al-method", "margin", "--audit", 3)
    folder = run("run", *words, "--al-nb-cycles", 2)
    path = folder / "checkpoint.pt"
    checkpoint = load_checkpoint(path)
    checkpoint["state"].pop("predictions")
    checkpoint["rows"].pop("estimates")
    for row in checkpoint["rows"]["results"]:
        for name in ESTIMATE_COLUMNS:
            del row[name]
    save_checkpoint(path, checkpoint)
    (folder / "estimates.csv").unlink()
    (folder / "results.csv").unlink()
    run("run", *words)
    results = rows(folder / "results.csv")
    assert [bool(row["estimated_accuracy"]) for row in results] == [False, False, True]
    assert {row["cycle"] for row in rows(folder / "estimates.csv")} == {"2"}


def test_predictions_survive_a_checkpoint():
    state = State.initial(np.array([1, 2]), 5).reveal_labels(np.array([0, 1]))
    state = state.next_cycle(np.array([3]), {}).reveal_labels(np.array([1]))
    state = state.next_cycle(np.array([4]), {}).add_predictions(np.arange(5))
    again = from_dict(to_dict(state))
    assert again.predictions[0] is None  # of a cycle before the audit
    np.testing.assert_array_equal(again.predictions[1], np.arange(5))
    with pytest.raises(ValueError, match="read-only"):
        again.predictions[1][0] = 7
    assert again.back_to(1).predictions == (None,)


def test_the_only_image_of_a_class_does_not_count():
    """Without its label the class is missing, and any answer is wrong."""
    pool = Pool.make_unlabeled(9).reveal_labels(np.array([7, 1, 4, 2]), np.array([0, 1, 0, 2]))
    assert estimates.images_of_shared_classes(pool, 3).tolist() == [7, 4]


@pytest.mark.parametrize(
    "audited, classes, expected",
    [
        ([], 5, 0.6),  # three of five classes have a label
        ([7, 4], 5, 1.0),  # both of a class that was drawn again: other classes are rare
        ([7, 1], 5, 0.6),
        ([1, 2, 7], 3, 1.0),  # no class is missing
    ],
)
def test_the_share_of_images_whose_class_has_a_label(audited, classes, expected):
    pool = Pool.make_unlabeled(9).reveal_labels(np.array([7, 1, 4, 2]), np.array([0, 1, 0, 2]))
    audits = [Audit(1, np.array(audited, dtype=np.int64), np.empty(0, dtype=np.int64))]
    assert estimates.class_coverage(pool, audits, classes) == expected


def test_at_most_so_many_images_are_left_out(monkeypatch):
    monkeypatch.setattr(estimates, "MAX_LEFT_OUT", 5)
    labeled, none = np.arange(20), np.empty(0, dtype=np.int64)
    audits = [Audit(1, np.array([7, 3]), none), Audit(2, np.array([11]), none)]
    assert estimates.choose_left_out(labeled, audits).tolist() == [7, 3, 11, 0, 19]
    assert estimates.choose_left_out(labeled, []).tolist() == [0, 5, 10, 14, 19]
    audits = [Audit(1, labeled[:9], none)]
    assert estimates.choose_left_out(labeled, audits).tolist() == [0, 2, 4, 6, 8]
    assert sorted(estimates.choose_left_out(labeled[:4], [])) == [0, 1, 2, 3]


def test_the_log_says_the_estimate(run):
    folder = run("run", *LP, "--al-method", "margin")
    row = rows(folder / "results.csv")[-1]
    words = f"estimated without test set {row['estimated_accuracy']} % ({row['estimated_low']} to"
    assert words in (folder / "log.txt").read_text()
