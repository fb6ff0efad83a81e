"""The log's line for where an algorithm finds no pseudo-label, which is an answer and no error."""

import logging
import weakref

from data.pool import Pool, Targets

log = logging.getLogger("al.targets")
told = weakref.WeakValueDictionary()  # "last": the pool that was spoken of last


def tell_if_none(pool: Pool, targets: Targets, reason: str) -> None:
    """Log that there is no pseudo-label, once for a pool and not each time that they are renewed.

    reason: why, where there are unlabeled images."""
    unlabeled = pool.labels < 0
    if (targets.labels[unlabeled] >= 0).any() or told.get("last") is pool:
        return
    told["last"] = pool
    reason = reason if unlabeled.any() else "no image is left"
    log.info("no pseudo-labels: %s; training goes on with the labels alone", reason)
