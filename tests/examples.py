"""How many random examples hypothesis tries: the same ones in `make test`, so that a new failure is
one of the last change; new and more of them in `make fuzz`."""

import os

from hypothesis import settings

FACTOR = int(os.environ.get("EXAMPLES_FACTOR", "1"))


def examples(count: int) -> settings:
    """Decorator of a test: `count` examples without a time limit, times EXAMPLES_FACTOR if set."""
    if FACTOR == 1:
        return settings(max_examples=count, deadline=None, derandomize=True, database=None)
    return settings(max_examples=count * FACTOR, deadline=None)
