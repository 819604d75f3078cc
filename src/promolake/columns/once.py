"""A value computed once a row, however often what is made of it refers to it."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F


def once(value: Column, body: Callable[[Column], Column]) -> Column:
    """`body(value)`, of a lambda's variable: Spark would compute an expression again wherever it stands. A column of its own is computed
    once, too, but written to a row, and when an interpreted row reads a field of a struct back out of it Spark asks its settings for each:
    with the cache that keeps those apart, a fifth of the parse pass (DECISIONS.md).

    Spark has no such function by name. To add up nothing, beginning with the value, is one: what `finish` makes of it is the result."""
    return F.aggregate(F.array().cast("array<int>"), value, lambda held, _: held, body)
