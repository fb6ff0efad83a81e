"""The log's lines for what an algorithm finds to be so, which is an answer and no error."""

import logging
import weakref

from data.pool import Pool, Targets

log = logging.getLogger("al.targets")
last_logged_pool = weakref.WeakValueDictionary()  # a line: the pool that it was last logged of


def log_once(pool: Pool, line: str) -> None:
    """Log a line once for a pool, and not each time that its pseudo-labels are renewed."""
    if last_logged_pool.get(line) is not pool:
        last_logged_pool[line] = pool
        log.info(line)


def log_if_no_pseudo_labels(pool: Pool, targets: Targets, reason: str) -> None:
    """Log that there is no pseudo-label; reason: why, where there are unlabeled images."""
    unlabeled = pool.labels < 0
    if (targets.labels[unlabeled] >= 0).any():
        return
    reason = reason if unlabeled.any() else "no image is left"
    log_once(pool, f"no pseudo-labels: {reason}; training goes on with the labels alone")
