"""How tests are run on generated input: so many cases, the same ones each time."""

from hypothesis import HealthCheck, settings


def quick(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
    )
