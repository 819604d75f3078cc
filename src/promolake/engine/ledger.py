"""ops.ledger: what became of every Kafka record, per micro-batch and range of offsets. read = valid + quarantined + duplicate."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.table import Column, Table
from promolake.engine.arrow import arrow_schema

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
        Column("ingested_at", "timestamp", "When the batch was cut, UTC."),
    ),
    stats=("ingested_at",),
)


def entries(query: str, batch_id: int, topic: str, positions: pa.Table, fates: dict[str, pa.Table], ingested_at: datetime) -> pa.Table:
    """The ledger's rows of one topic's batch.

    `positions` has the partition and offset of every record read; `fates` the rows that went to `valid`, `quarantined`, `duplicate`.
    """
    read = positions.group_by("partition").aggregate([("offset", "min"), ("offset", "max"), ("offset", "count")])
    counts = {fate: _counts(rows) for fate, rows in fates.items()}
    rows = [
        {
            "query": query,
            "batch_id": batch_id,
            "topic": topic,
            "partition": partition["partition"],
            "first_offset": partition["offset_min"],
            "last_offset": partition["offset_max"],
            "read_count": partition["offset_count"],
            **{f"{fate}_count": found.get(partition["partition"], 0) for fate, found in counts.items()},
            "ingested_at": ingested_at,
        }
        for partition in read.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(LEDGER))


def _counts(rows: pa.Table) -> dict[int, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["partition"]).to_pylist()}
