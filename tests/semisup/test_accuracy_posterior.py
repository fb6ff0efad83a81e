"""The posterior of the accuracy, against quadrature by hand and on simulated data."""

import numpy as np
import pytest
import scipy.stats

from semisup import accuracy_posterior
from semisup.accuracy_posterior import (
    DEGREES_OF_FREEDOM,
    OVERDISPERSION,
    AccuracyPrior,
    AccuracyShift,
    AuditedBatch,
    AuditedModel,
    estimate_gain,
    find_posterior,
    find_posterior_beside,
)

PRIOR = AccuracyPrior(1.5, 0.8)
SHIFT = AccuracyShift(0.1, 0.4)
MANY = 10**6  # unlabeled images
NO_DIFFERENCE = AccuracyShift(0.0, 0.0)


def estimate_accuracy(prior, models, shift, unlabeled):
    return accuracy_posterior.estimate_accuracy(find_posterior(prior, models, shift), unlabeled)


def draw_accuracy(rng: np.random.Generator) -> float:
    logit = PRIOR.center + PRIOR.scale * rng.standard_t(DEGREES_OF_FREEDOM)
    return float(1 / (1 + np.exp(-logit)))


def test_without_an_audit_the_interval_is_the_priors():
    found = estimate_accuracy(PRIOR, [], SHIFT, MANY)
    points = PRIOR.center + PRIOR.scale * scipy.stats.t.ppf([0.5, 0.025, 0.975], DEGREES_OF_FREEDOM)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-points)), atol=2e-3)
    assert estimate_accuracy(PRIOR, [AuditedModel([])], SHIFT, MANY) == found
    assert estimate_accuracy(PRIOR, [AuditedModel([AuditedBatch(0, 0)])], SHIFT, MANY) == found


def test_with_a_large_audit_the_interval_is_binomial():
    """Of half as many images, for OVERDISPERSION."""
    found = estimate_accuracy(PRIOR, [AuditedModel([AuditedBatch(3660, 4000)])], SHIFT, MANY)
    exact = scipy.stats.binomtest(1830, 2000).proportion_ci(method="wilson")
    np.testing.assert_allclose(found, [0.915, exact.low, exact.high], atol=1.5e-3)


def test_few_unlabeled_images_are_a_sample_themselves():
    """The variance is the sum of those of the audit and of the unlabeled images."""
    audit = [AuditedModel([AuditedBatch(1600, 2000)])]
    found = estimate_accuracy(AccuracyPrior(0, 3), audit, SHIFT, 1000)
    expected = 2 * 1.96 * (0.16 * (OVERDISPERSION / 2000 + 1 / 1000)) ** 0.5
    assert abs((found.high - found.low) / expected - 1) < 0.03
    exact = [round(1000 * share, 6) for share in found]
    assert exact == [round(number) for number in exact]  # so many of the 1,000


def test_all_of_few_unlabeled_images_may_be_right():
    found = estimate_accuracy(AccuracyPrior(4, 0.5), [], SHIFT, 20)
    assert found.accuracy == found.high == 1 > found.low


def test_images_of_classes_without_another_label_are_not_counted():
    """90 % of the counted images are right, whose classes are those of 80 % of all images."""
    audit = [AuditedModel([AuditedBatch(900, 1000)], class_coverage=0.8)]
    found = estimate_accuracy(AccuracyPrior(0, 3), audit, SHIFT, MANY)
    assert abs(found.accuracy - 0.72) < 0.003


def test_an_audit_overrules_a_wrong_prior():
    """With a normal prior, it would take many more images."""
    certain = AccuracyPrior(4.0, 0.3)
    found = estimate_accuracy(certain, [AuditedModel([AuditedBatch(50, 100)])], SHIFT, MANY)
    assert found.low < 0.5 < found.accuracy < found.high < 0.7


def test_batches_of_one_model_add_up():
    parts = [AuditedBatch(8, 10), AuditedBatch(17, 20)]
    one = estimate_accuracy(PRIOR, [AuditedModel([AuditedBatch(25, 30)])], NO_DIFFERENCE, MANY)
    other = estimate_accuracy(PRIOR, [AuditedModel(parts)], NO_DIFFERENCE, MANY)
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_images_chosen_since_the_draw_are_a_known_stratum():
    """200 of 1,000 images have been labeled since, with 30 % right: 74 % of all and 85 % of the
    others are right."""
    batch = AuditedBatch(740, 1000, pool_share=0.8, chosen_accuracy=0.3)
    found = estimate_accuracy(AccuracyPrior(0, 3), [AuditedModel([batch])], SHIFT, MANY)
    assert abs(found.accuracy - 0.85) < 0.003


def test_another_model_makes_the_estimate_less_certain():
    batches = [AuditedBatch(180, 200)]
    widths = []
    for disagreement in (0.0, 0.1, 0.4):
        found = estimate_accuracy(PRIOR, [AuditedModel(batches, disagreement)], SHIFT, MANY)
        widths.append(found.high - found.low)
    assert widths == sorted(widths) and widths[2] > 1.3 * widths[0]


def test_a_shift_moves_the_estimate():
    """The model is better by 0.5 of the 20 % on which it disagrees with the audited one."""
    shift, batch = AccuracyShift(0.5, 0.0), AuditedBatch(700, 1000)
    found = estimate_accuracy(AccuracyPrior(0, 3), [AuditedModel([batch], 0.2)], shift, MANY)
    assert abs(found.accuracy - 0.8) < 0.005


@pytest.mark.parametrize("batches, disagreement", [(0, 0.2), (1, 0.0), (4, 0.2)])
def test_coverage_on_simulated_data(batches, disagreement):
    """500 data sets from the prior, whose audits are of a model of its own accuracy.  Every image
    of an audit is there twice, so that the counts have twice the binomial variance.  A proportion
    of 0.95 would be below 0.92 or above 0.98 once in 1,000 times."""
    rng = np.random.default_rng(10 * batches + int(10 * disagreement))
    inside = 0
    for _ in range(500):
        truth = draw_accuracy(rng)
        shift = np.clip(SHIFT.center + SHIFT.scale * rng.standard_normal(), -1, 1)
        audited = np.clip(truth - disagreement * shift, 0, 1)
        counts = [AuditedBatch(2 * int(rng.binomial(8, audited)), 16) for _ in range(batches)]
        found = estimate_accuracy(PRIOR, [AuditedModel(counts, disagreement)], SHIFT, MANY)
        assert found.low <= found.accuracy <= found.high
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 500 <= 0.98


@pytest.mark.parametrize("disagreement", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("batches", [[], [AuditedBatch(90, 100)]])
def test_another_model_than_the_audited_one(disagreement, batches):
    """Against 100,000 draws of q from its posterior and of η within its bounds: where they
    disagree, the audited model is right, or the other, or neither."""
    audited = AuditedModel(batches, disagreement)
    known = find_posterior(PRIOR, [AuditedModel(batches)], SHIFT)
    rng = np.random.default_rng(0)
    q = rng.choice(known.accuracy, 100_000, p=known.mass)
    least = np.maximum(-1, -q / disagreement)
    most = np.minimum(1, (2 - disagreement - 2 * q) / disagreement)
    limits = ((limit - SHIFT.center) / SHIFT.scale for limit in (least, most))
    eta = scipy.stats.truncnorm.rvs(*limits, SHIFT.center, SHIFT.scale, random_state=rng)
    is_unknown = rng.random(len(q)) < disagreement
    eta = np.where(is_unknown, rng.uniform(least, most), eta)
    p = q + disagreement * eta
    found = find_posterior_beside(PRIOR, audited, SHIFT)
    assert found.mass.sum() == pytest.approx(1)
    estimate = accuracy_posterior.estimate_accuracy(found, MANY)
    np.testing.assert_allclose(estimate, np.quantile(p, [0.5, 0.025, 0.975]), atol=0.01)


def test_a_model_that_never_disagrees_has_the_audited_accuracy():
    audited = AuditedModel([AuditedBatch(15, 20)])
    found = find_posterior_beside(PRIOR, audited, SHIFT)
    np.testing.assert_array_equal(found.mass, find_posterior(PRIOR, [audited], SHIFT).mass)


@pytest.mark.parametrize("correct", [0, 20])
def test_all_right_and_all_wrong(correct):
    found = estimate_accuracy(PRIOR, [AuditedModel([AuditedBatch(correct, 20)], 0.3)], SHIFT, MANY)
    assert 0 < found.low < found.accuracy < found.high < 1


def test_the_gain_is_the_share_of_the_error_that_goes():
    """80 % right; half of the error goes with twice the labels, three quarters with four times."""
    posterior = find_posterior(AccuracyPrior(np.log(4), 1e-3), [], SHIFT)
    for doublings, gain in ((0, 0.0), (1, 0.1), (2, 0.15)):
        np.testing.assert_allclose(estimate_gain(posterior, [0.5], doublings), gain, atol=2e-3)


def test_the_gain_may_be_negative():
    posterior = find_posterior(PRIOR, [], SHIFT)
    found = estimate_gain(posterior, np.linspace(-0.5, 0.9, 40), 1)
    assert found.low < 0 < found.gain < found.high < 1


def test_coverage_of_the_gain_on_simulated_data():
    rng = np.random.default_rng(3)
    reductions = np.linspace(-0.3, 0.8, 50)
    found = estimate_gain(find_posterior(PRIOR, [], SHIFT), reductions, 0.5)
    truth = np.array([draw_accuracy(rng) for _ in range(2000)])
    gains = (1 - truth) * (1 - (1 - rng.choice(reductions, 2000)) ** 0.5)
    assert abs(np.mean((found.low <= gains) & (gains <= found.high)) - 0.95) < 0.02
