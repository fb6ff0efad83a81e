"""Log messages about pseudo-labels, once for each set of labels."""

import logging
import weakref

from data.pool import Pool, Targets

log = logging.getLogger("al.targets")

# Message -> the pool for which it was logged last.
last_logged_pool: weakref.WeakValueDictionary[str, Pool] = weakref.WeakValueDictionary()


def log_once(pool: Pool, line: str) -> None:
    """Log a line once per pool, not each time that its pseudo-labels are updated."""
    if last_logged_pool.get(line) is not pool:
        last_logged_pool[line] = pool
        log.info(line)


def log_if_no_pseudo_labels(pool: Pool, targets: Targets, reason: str) -> None:
    """Log if there are no pseudo-labels; reason: why, if there are unlabeled images."""
    unlabeled = pool.labels < 0
    if (targets.labels[unlabeled] >= 0).any():
        return
    reason = reason if unlabeled.any() else "no image is left"
    log_once(pool, f"no pseudo-labels: {reason}; training continues with the labels alone")
