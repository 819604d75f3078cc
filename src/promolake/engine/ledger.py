"""ops.ledger: what became of every Kafka record, per micro-batch and range of offsets. read = valid + quarantined + duplicate.

A row that read nothing (`read_count` 0) is a correction: records let out of quarantine by `promolake quarantine replay`, or judged
anew by `promolake rebuild silver...` after a rule has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.table import Column, Table
from promolake.engine.arrow import arrow_schema

REBUILD = "rebuild"
LEDGER = Table(
    "ops.ledger",
    "What became of every Kafka record: one row per micro-batch, topic and partition.",
    (
        Column("query", "string", "The streaming query."),
        Column("batch_id", "bigint", "Its micro-batch."),
        Column("topic", "string", "Kafka topic."),
        Column("partition", "int", "Kafka partition."),
        Column("first_offset", "bigint", "First offset read."),
        Column("last_offset", "bigint", "Last offset read."),
        Column("read_count", "bigint", "Records read: valid + quarantined + duplicate."),
        Column("valid_count", "bigint", "Rows that went into silver."),
        Column("quarantined_count", "bigint", "Rows that went into quarantine."),
        Column("duplicate_count", "bigint", "Repetitions of an event already in silver."),
        Column("late_count", "bigint", "Of the valid ones, those more than 10 minutes behind the newest event of their topic: kept, too."),
        Column("newest_event_time", "timestamp", "The latest event time of the valid rows, UTC."),
        Column("ingested_at", "timestamp", "When the batch was cut, UTC."),
    ),
    stats=("ingested_at",),
    shared=True,
)

FORWARDS = Table(
    "ops.forwards",
    "What had to be sent on to Kafka, and by whom it was: one row per micro-batch with such events, and flow.",
    (
        Column("query", "string", "The query whose micro-batch audited it."),
        Column("batch_id", "bigint", "That micro-batch."),
        Column("flow", "string", "What sends."),
        Column("topic", "string", "Kafka topic it is sent to."),
        Column("due_count", "bigint", "Events of the batch that must stand on the topic."),
        Column("sent_count", "bigint", "Of them, those the micro-batch sent itself; the others its lane had sent before."),
        Column("ingested_at", "timestamp", "When the batch was cut, UTC."),
    ),
    stats=("ingested_at",),
    shared=True,
)


def entries(query: str, batch_id: int, read: pa.Table, rows_by_fate: dict[str, pa.Table]) -> pa.Table:
    """The ledger's rows of one topic's batch.

    `read` has the bronze rows of the batch, at least one; `rows_by_fate` the rows that became `valid`, `quarantined`, `duplicate`, and
    which of the valid ones are `late`.
    """
    ranges = read.group_by("partition").aggregate([("offset", "min"), ("offset", "max"), ("offset", "count")])
    counts = {fate: _counts(rows) for fate, rows in rows_by_fate.items()}
    valid = rows_by_fate["valid"]
    newest = {row["partition"]: row["event_time_max"] for row in valid.group_by("partition").aggregate([("event_time", "max")]).to_pylist()}
    rows = [
        {
            "query": query,
            "batch_id": batch_id,
            "topic": read["topic"][0].as_py(),
            "partition": partition["partition"],
            "first_offset": partition["offset_min"],
            "last_offset": partition["offset_max"],
            "read_count": partition["offset_count"],
            **{f"{fate}_count": found.get(partition["partition"], 0) for fate, found in counts.items()},
            "newest_event_time": newest.get(partition["partition"]),
            "ingested_at": read["ingested_at"][0].as_py(),
        }
        for partition in ranges.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(LEDGER))


def readmitted(entries_: pa.Table) -> pa.Table:
    """Entries of records read again out of quarantine, as a correction of what the ledger says of them already.

    Nothing was read from Kafka, and what is no longer quarantined was counted so before: 0 = valid - quarantined + duplicate.
    """
    rows = entries_.to_pylist()
    for row in rows:
        row["read_count"], row["quarantined_count"] = 0, -(row["valid_count"] + row["duplicate_count"])
    return pa.Table.from_pylist(rows, schema=entries_.schema)


def recounted(topic: str, booked: pa.Table, held: Mapping[str, Callable[[int, int], int]], batch_id: int, at: datetime) -> pa.Table:
    """Corrections that make the books of a topic (`booked`: its rows of the ledger) agree with rebuilt tables; none where they agree.

    `held` says how many rows of a partition, up to an offset, are `valid` now, and how many `quarantined`. Nothing was read, so what is
    neither is a duplicate. Rows beyond the last offset in the books belong to a batch that has yet to be finished, and to be booked by it.
    """
    sums = booked.group_by("partition").aggregate(
        [("valid_count", "sum"), ("quarantined_count", "sum"), ("first_offset", "min"), ("last_offset", "max")]
    )
    rows = []
    for entry in sums.to_pylist():
        more = {fate: rows_of(entry["partition"], entry["last_offset_max"]) - entry[f"{fate}_count_sum"] for fate, rows_of in held.items()}
        if any(more.values()):
            counts = {f"{fate}_count": count for fate, count in more.items()} | {"duplicate_count": -sum(more.values())}
            place = {"first_offset": entry["first_offset_min"], "last_offset": entry["last_offset_max"], "partition": entry["partition"]}
            who = {"query": REBUILD, "batch_id": batch_id, "topic": topic, "ingested_at": at}
            rows.append(who | place | counts | {"read_count": 0, "late_count": 0})
    return pa.Table.from_pylist(rows, schema=arrow_schema(LEDGER))


def _counts(rows: pa.Table) -> dict[int, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["partition"]).to_pylist()}
