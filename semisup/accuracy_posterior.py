"""The accuracy on the unlabeled images, with an interval, from few or no audited images.

An empirical Bayes estimate: the prior says how far the accuracy was from the one that confidences
suggest, over data sets for which both are known (semisup.accuracy_prior); the images of an audit
are drawn at random, so that the number of right answers among them is binomial.

    logit p ~ μ + σ t_ν          p: the accuracy that is estimated; Student's t, so that an audit
                                 that contradicts the prior overrules it
    k_b ~ Binomial(n_b, q_b)     of the n_b images of the audited batch b, k_b are right
    q_b = w_b (p − δ η) + (1 − w_b) c_b

The audited answers may be those of another model than the one whose accuracy p is: before a label
is known, the model of the next cycle does not exist.  The two differ on a share δ of the unlabeled
images, and the accuracies by δ η with η ~ N(m, s²), |η| <= 1, the same for all earlier models.

The prior may be that of the audited model, too: confidences and leave-one-out tell the accuracy q
of the diffusion, not that of a network, which may have learned little from it.  Then the posterior
is that of q, and p = q + δ η.  Where two models disagree, at most one is right, so that

    max(q − δ, 0) <= p <= min(q + δ, 2 − δ − q)

m and s are those of networks that have learned from the diffusion and rarely disagree with it.  Of
one that always disagrees nothing is known: with probability δ, p is uniform between these bounds.

w_b is the share of the unlabeled images among those that batch b was drawn from, less the audited
ones.  The others have been chosen and labeled since; the share of them on which the model was right
is known: c_b.  (Stratification, as the estimate of a stratum that is known has no error; Cochran,
"Sampling Techniques", chapter 5.)

Without its only label, a class has none, and the answer for an image of it is wrong.  Such images
are not counted, so that a model that knows the classes of a share s of the unlabeled images is
right on p / s of those that are counted.

The accuracy is wanted over the U unlabeled images that are left, which are themselves a sample of
what p is the accuracy on: the interval is that of K / U with K ~ Binomial(U, p).

Audited images share labels, neighbours and a network, so that their errors are not independent: the
likelihood of the counts is raised to 1 / OVERDISPERSION (McCullagh & Nelder, "Generalized Linear
Models", section 4.5), chosen on the tables of docs/estimate.md.

Without audited images the interval is that of the prior.  With many it is the binomial one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

DEGREES_OF_FREEDOM = 5.0  # ν
COVERAGE = 0.95
OVERDISPERSION = 2.0
LOGIT_GRID = np.arange(-7.0, 9.0, 0.02)  # p from 0.1 % to 99.99 %
SHIFT_NODES = np.linspace(-3, 3, 15)  # of a standard normal variable
SHIFT_SHARES = (np.arange(41) + 0.5) / 41  # at whose quantiles η is taken, within its bounds


class AccuracyPrior(NamedTuple):
    """What is known of the accuracy without an audit: μ and σ of the module's docstring."""

    center: float
    scale: float


class AuditedBatch(NamedTuple):
    """Images that were drawn at random from the unlabeled ones of their time.

    correct, total: k and n.
    pool_share, chosen_accuracy: w and c."""

    correct: int
    total: int
    pool_share: float = 1.0
    chosen_accuracy: float = 0.0


class AuditedModel(NamedTuple):
    """The batches whose answers are of one model.

    disagreement: δ, the share of the unlabeled images on which the model disagrees with the one
    whose accuracy is estimated.
    class_coverage: s, where answers for the only image of a class are not counted."""

    batches: Sequence[AuditedBatch]
    disagreement: float = 0.0
    class_coverage: float = 1.0


class AccuracyShift(NamedTuple):
    """How the accuracies of two models differ where they disagree: m and s."""

    center: float
    scale: float


class Posterior(NamedTuple):
    """Values of p and their probabilities: (G,) each."""

    accuracy: np.ndarray
    mass: np.ndarray


class AccuracyEstimate(NamedTuple):
    """Median and 95 % interval, as shares."""

    accuracy: float
    low: float
    high: float


class GainEstimate(NamedTuple):
    """By how much the accuracy will rise: median and 95 % interval, as shares."""

    gain: float
    low: float
    high: float


def find_posterior(
    prior: AccuracyPrior, models: Sequence[AuditedModel], shift: AccuracyShift
) -> Posterior:
    """The posterior of p, whose prior is given; see the module's docstring."""
    accuracy = scipy.special.expit(LOGIT_GRID)
    log_density = _log_density(prior) + _log_likelihood(accuracy, models, shift)
    mass = np.exp(log_density - log_density.max())
    return Posterior(accuracy, mass / mass.sum())


def find_posterior_beside(
    prior: AccuracyPrior, audited: AuditedModel, shift: AccuracyShift
) -> Posterior:
    """The posterior of p, where the prior is that of q, the accuracy of the audited model."""
    known = find_posterior(prior, [audited._replace(disagreement=0.0)], shift)
    if not audited.disagreement:
        return known
    q, disagreement = known.accuracy[:, None], audited.disagreement
    lowest = np.maximum(q - disagreement, 0)
    highest = np.minimum(q + disagreement, 2 - disagreement - q)
    below, above = (
        scipy.special.ndtr(((p - q) / disagreement - shift.center) / shift.scale)
        for p in (lowest, highest)
    )
    eta = shift.center + shift.scale * scipy.special.ndtri(below + SHIFT_SHARES * (above - below))
    learned = np.clip(q + disagreement * eta, lowest, highest)  # (G, nodes)
    unknown = lowest + SHIFT_SHARES * (highest - lowest)
    mass = np.zeros_like(known.mass)
    borders = (known.accuracy[1:] + known.accuracy[:-1]) / 2
    for p, share in ((learned, 1 - disagreement), (unknown, disagreement)):
        weights = np.repeat(known.mass * share / len(SHIFT_SHARES), len(SHIFT_SHARES))
        mass += np.bincount(np.searchsorted(borders, p.ravel()), weights, minlength=len(mass))
    return Posterior(known.accuracy, mass)


def estimate_accuracy(posterior: Posterior, unlabeled: int) -> AccuracyEstimate:
    """The accuracy on U unlabeled images."""
    tail = (1 - COVERAGE) / 2
    low, median, high = (
        _mixture_quantile(posterior, unlabeled, share) / unlabeled
        for share in (tail, 0.5, 1 - tail)
    )
    return AccuracyEstimate(median, low, high)


def estimate_gain(
    posterior: Posterior, error_reductions: Sequence[float], doublings: float
) -> GainEstimate:
    """The gain in accuracy with more labels: (1 − p) (1 − (1 − r)^d).

    error_reductions: equally likely values of r, the share of the error that goes when the number
    of labels doubles; doublings: d, the base-2 logarithm of how many times as many labels."""
    shares = 1 - (1 - np.asarray(error_reductions)) ** doublings
    gains = ((1 - posterior.accuracy)[:, None] * shares).ravel()
    mass = np.repeat(posterior.mass / len(shares), len(shares))
    order = np.argsort(gains)
    tail = (1 - COVERAGE) / 2
    cumulative = np.cumsum(mass[order])
    places = np.searchsorted(cumulative, [0.5, tail, 1 - tail])
    return GainEstimate(*gains[order][places].tolist())


def _mixture_quantile(posterior: Posterior, unlabeled: int, share: float) -> int:
    """The smallest number k with P(K <= k) >= share, where K ~ Binomial(U, p)."""
    accuracy, mass = posterior
    below, above = -1, unlabeled
    while above - below > 1:
        middle = (below + above) // 2
        if mass @ scipy.special.bdtr(middle, unlabeled, accuracy) >= share:
            above = middle
        else:
            below = middle
    return above


def _log_density(prior: AccuracyPrior) -> np.ndarray:
    """Of Student's t distribution on the grid of logits, up to a constant: (G,).

    Not by scipy.stats, whose import would take a sixth of the start of main_al.py."""
    scaled = (LOGIT_GRID - prior.center) / prior.scale
    return -(DEGREES_OF_FREEDOM + 1) / 2 * np.log1p(scaled**2 / DEGREES_OF_FREEDOM)


def _log_likelihood(
    accuracy: np.ndarray, models: Sequence[AuditedModel], shift: AccuracyShift
) -> np.ndarray:
    """Of the counts of all models, for each value of p: (G,) -> (G,)."""
    eta = np.clip(shift.center + shift.scale * SHIFT_NODES, -1, 1)
    weights = -(SHIFT_NODES**2) / 2  # of the normal distribution, up to a constant
    total = np.zeros((len(accuracy), len(eta))) + weights - scipy.special.logsumexp(weights)
    for model in models:
        # A share of at least 1 - δ is common to both, so that p - δη stays within [0, 1].
        shifted = np.clip(accuracy[:, None] - model.disagreement * eta, 0, 1)  # (G, nodes)
        shifted = np.minimum(shifted / model.class_coverage, 1)
        for batch in model.batches:
            q = batch.pool_share * shifted + (1 - batch.pool_share) * batch.chosen_accuracy
            log_q = scipy.special.xlogy(batch.correct, q)
            log_q += scipy.special.xlog1py(batch.total - batch.correct, -q)
            total += log_q / OVERDISPERSION
    return np.asarray(scipy.special.logsumexp(total, axis=1))
