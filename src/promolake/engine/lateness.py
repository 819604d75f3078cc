"""Late rows are counted, kept, and named: which minutes they restated, and when.

Per entity the watermark is the newest event time of earlier batches less ALLOWED: one silent or slow source holds up no other. A row
before it is late. Gold takes it like any other; `ops.restatements` says that a minute somebody may have looked at has changed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.flow import Ingest
from promolake.core.table import Column, Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import FORWARDS, LEDGER

ALLOWED = timedelta(minutes=10)
"""Allowed lateness: how long after the newest event of its source a minute may still fill up without being called restated."""

RESTATEMENTS = Table(
    "ops.restatements",
    "Which minutes late rows have changed: one row per micro-batch, entity and minute.",
    (
        Column("query", "string", "The query that took the rows in."),
        Column("batch_id", "bigint", "Its micro-batch."),
        Column("source", "string", "The silver table the rows went into; every gold table that reads it has the minute restated."),
        Column("window_start", "timestamp", "The minute, UTC."),
        Column("late_count", "bigint", "Rows that came more than 10 minutes behind the newest event of their source."),
        Column("ingested_at", "timestamp", "When the batch was cut, UTC."),
    ),
    stats=("window_start", "ingested_at"),
    shared=True,
)

BOOKS = (LEDGER, RESTATEMENTS, FORWARDS)
"""The tables a scan keeps of itself, beside those of its flows."""


class Watermarks:
    """The newest event time of each entity, as the ledger has it of the batches of one query before the one in hand."""

    def __init__(self, lake: Lakehouse, query: str) -> None:
        self._lake = lake
        self._query = query
        self._newest: dict[str, datetime] | None = None

    def late(self, valid: pa.Table, flow: Ingest, batch_id: int) -> pa.Table:
        """The late ones of an entity's valid rows. A replayed batch finds the same ones: the ledger is written after everything else."""
        newest = self._of(batch_id).get(flow.topic.name)
        if newest is None:
            return valid.slice(0, 0)
        return valid.filter(pc.less(valid["event_time"], pa.scalar(newest - ALLOWED, pa.timestamp("us", "UTC"))))

    def advance(self, valid: pa.Table, flow: Ingest, batch_id: int) -> None:
        """Takes in rows of a batch that is in the ledger."""
        if valid.num_rows:
            known = self._of(batch_id)
            newest = pc.max(valid["event_time"]).as_py().astimezone(UTC)
            known[flow.topic.name] = max(newest, known.get(flow.topic.name, newest))

    def _of(self, batch_id: int) -> dict[str, datetime]:
        if self._newest is None:
            rows = self._lake.read(LEDGER, ("query", "batch_id", "topic", "newest_event_time"))
            rows = rows.filter(pc.and_(pc.equal(rows["query"], self._query), pc.less(rows["batch_id"], batch_id)))
            newest = rows.group_by("topic").aggregate([("newest_event_time", "max")]).to_pylist()
            found = {row["topic"]: row["newest_event_time_max"] for row in newest}
            self._newest = {topic: time.astimezone(UTC) for topic, time in found.items() if time is not None}
        return self._newest


def restatements(query: str, batch_id: int, source: Table, late: pa.Table) -> pa.Table:
    """The rows of RESTATEMENTS for an entity's late rows of a batch."""
    minutes = pa.table({"window_start": pc.floor_temporal(late["event_time"], unit="minute"), "ingested_at": late["ingested_at"]})
    counted = minutes.group_by("window_start").aggregate([("ingested_at", "max"), ("ingested_at", "count")]).sort_by("window_start")
    rows = [
        {
            "query": query,
            "batch_id": batch_id,
            "source": source.name,
            "window_start": row["window_start"],
            "late_count": row["ingested_at_count"],
            "ingested_at": row["ingested_at_max"],
        }
        for row in counted.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(RESTATEMENTS))
