"""Which images an audit draws, and which of them have labels later."""

from dataclasses import replace

import numpy as np
import pytest

from data.pool import Pool
from data.state import QueryRecord, State
from experiment.config import SCHEMA
from labeling.audit import AuditOptions, audit_size, draw_audit, list_audits
from utils.errors import UserError
from utils.options.schema import fill_defaults


def options_of(**values):
    return fill_defaults(SCHEMA, {"dataset": "digits", "al_budget": 10, **values})


def answered_state() -> State:
    """Four cycles with queries of 4 images; image 21 of the third has been skipped."""
    queries = [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23], [30, 31, 32, 33]]
    records = []
    pool = Pool.make_unlabeled(50)
    for images in np.array(queries):
        answers = np.where(images == 21, -1, images % 3)
        pool = pool.reveal_labels(images[answers >= 0], answers[answers >= 0])
        records.append(QueryRecord(images, answers))
    return State(pool, cycle=3, history=tuple(records))


def test_the_draw_is_uniform_over_the_unlabeled_candidates():
    labels = np.full(30, -1)
    labels[:10] = 1
    candidates = np.arange(28)  # 28 and 29 have been skipped
    counts = np.zeros(30)
    rng = np.random.default_rng(0)
    for _ in range(3000):
        drawn = draw_audit(options_of(audit=6), labels, candidates, rng)
        assert len(set(drawn.tolist())) == 6
        counts[drawn] += 1
    assert not counts[:10].any() and not counts[28:].any()
    assert abs(counts[10:28] / 1000 - 1).max() < 0.12  # the standard deviation is 0.026


def test_no_audit_draws_nothing():
    assert not len(draw_audit(options_of(), np.full(5, -1), np.arange(5), np.random.default_rng(0)))


@pytest.mark.parametrize(
    "values, size",
    [({"audit": 3, "al_method": "margin"}, 3), ({"al_method": "random"}, 10)],
)
def test_all_queries_of_the_random_method_are_an_audit(values, size):
    assert audit_size(options_of(**values)) == size


def test_the_audits_of_a_run():
    options = options_of(audit=2, al_method="margin", al_budget=4)
    audits = list_audits(options, answered_state())
    assert [audit.cycle for audit in audits] == [1, 2, 3]
    assert [audit.audited.tolist() for audit in audits] == [[10, 11], [20], [30, 31]]
    chosen = [[12, 13, 22, 23, 32, 33], [22, 23, 32, 33], [32, 33]]
    assert [audit.chosen_since.tolist() for audit in audits] == chosen


def test_random_first_labels_are_an_audit_too():
    options = options_of(audit=2, al_method="margin", al_budget=4, initial="random")
    audits = list_audits(options, answered_state())
    assert audits[0].cycle == 0 and audits[0].audited.tolist() == [0, 1, 2, 3]
    assert len(list_audits(options_of(al_method="margin"), answered_state())) == 0


def test_queries_without_answers_do_not_count():
    state = answered_state()
    waiting = replace(state, queried=np.array([30, 31, 32, 33]), history=state.history[:3])
    options = options_of(audit=2, al_method="margin", al_budget=4)
    assert [audit.cycle for audit in list_audits(options, waiting)] == [1, 2]


@pytest.mark.parametrize("audit", [10, 11])
def test_an_audit_leaves_queries_to_the_method(audit):
    options = options_of(audit=audit, al_method="margin")
    with pytest.raises(UserError, match=f"--audit {audit} leaves none of --al-budget 10"):
        options.of(AuditOptions).check(options)
