"""Exact distinct counts as an aggregate like any other."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def distinct_count(column: Column | str) -> Column:
    """How many different non-NULL values a group has, exactly (bigint).

    Several `count(DISTINCT ...)` in one aggregation make Spark expand every row once per count and shuffle twice; a set per group does
    neither, so a small batch stays in one task and its plan can be kept (engine/prepared.py). A group is a minute: its sets are small.
    """
    return F.size(F.collect_set(column)).cast("bigint")
