"""Flows: what is computed from what. A flow declares; the runner decides which flows share a scan and a micro-batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from promolake.core.rule import Row, Rule
from promolake.core.table import Table, Written
from promolake.core.topic import Topic

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

Projection = Callable[[Row], "dict[str, Column]"]
"""From the payload's typed fields to the silver columns, by name."""


@dataclass(frozen=True)
class Ingest:
    """A topic into bronze, and from there into one silver entity or its quarantine.

    `table` holds the valid rows (grain: one per event_id), `quarantine` every row that breaks a rule, whole.
    `dedup` states in words within what horizon a repeated event_id is recognised.
    """

    topic: Topic
    bronze: Table
    table: Table
    quarantine: Table
    projection: Projection
    rules: tuple[Rule, ...]
    dedup: str = "the UTC date of the event, however late the repetition arrives"


@dataclass(frozen=True)
class Reads:
    """What a flow reads of a table: only the columns its function needs."""

    table: Table
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Metric:
    """A gold table fed batch by batch from silver.

    ACCUMULATE: `function` is given the batch's new rows of its one input and returns what to add.
    REPLACE: `function` is given all rows of the minutes the batch touched, of every input, and returns whole new rows.
    """

    table: Table
    reads: tuple[Reads, ...]
    function: Callable[..., DataFrame]

    def __post_init__(self) -> None:
        if self.table.written is Written.ACCUMULATE and len(self.reads) != 1:
            raise ValueError(f"{self.table.name} accumulates, so it reads exactly one table: a replay must find all its input in one place")


@dataclass(frozen=True)
class Join:
    """A gold table from a stream-stream join under watermarks; a query of its own on a slower trigger.

    `function` takes the frames in the order of `reads` and returns candidate rows with the table's columns, several per grain as
    matches come; `settled` reduces candidates to the best row per grain. `settled` must not care about order or repetition
    (settled(settled(a) + b) = settled(a + b)): that alone makes upserting its result exact under replays.
    A match stands at most `reach_minutes` of event time before the row it belongs to.
    """

    table: Table
    reads: tuple[Reads, ...]
    function: Callable[..., DataFrame]
    settled: Callable[[DataFrame], DataFrame]
    reach_minutes: int


@dataclass(frozen=True)
class Forward:
    """Rows of a silver table sent on to a Kafka topic, at least once: `function(rows, levels)` returns `key` and `value` as text."""

    name: str
    reads: Table
    topic: str
    function: Callable[..., DataFrame]


@dataclass(frozen=True)
class Hallway:
    """Every flow of the house, in the order data walks through them."""

    ingests: tuple[Ingest, ...]
    metrics: tuple[Metric, ...]
    joins: tuple[Join, ...]
    forwards: tuple[Forward, ...]
    tables: tuple[Table, ...] = field(init=False)

    def __post_init__(self) -> None:
        found: list[Table] = []
        for ingest in self.ingests:
            found += [ingest.bronze, ingest.table, ingest.quarantine]
        found += [flow.table for flow in (*self.metrics, *self.joins)]
        object.__setattr__(self, "tables", tuple(found))
