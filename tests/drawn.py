"""Examples of hypothesis, many at once: a property of a Spark column is checked on all of them in one job."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")


def drawn(strategy: SearchStrategy[T], count: int) -> list[T]:
    """About `count` values of the strategy, the same in every run: a failure can be looked at again."""
    found: list[T] = []

    @settings(
        max_examples=count, database=None, derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def take(value: T) -> None:
        found.append(value)

    take()
    return found
