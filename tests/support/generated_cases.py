"""How tests are run on generated input: so many cases, the same ones each time."""

import os

from hypothesis import HealthCheck, settings


def quick(count: int) -> settings:
    """A third of ``count`` cases; all of them where TP1_ALL_CASES is set, as in ``make test-long``."""
    return settings(
        max_examples=count if os.environ.get("TP1_ALL_CASES") else max(count // 3, 5),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
    )
