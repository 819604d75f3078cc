"""ops.ledger: what became of every Kafka record, per micro-batch and range of offsets. read = valid + quarantined + duplicate."""

from __future__ import annotations

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


def entries(query: str, batch_id: int, read: pa.Table, fates: dict[str, pa.Table]) -> pa.Table:
    """The ledger's rows of one topic's batch.

    `read` has the bronze rows of the batch, at least one; `fates` the rows that became `valid`, `quarantined`, `duplicate`.
    """
    ranges = read.group_by("partition").aggregate([("offset", "min"), ("offset", "max"), ("offset", "count")])
    counts = {fate: _counts(rows) for fate, rows in fates.items()}
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
            "ingested_at": read["ingested_at"][0].as_py(),
        }
        for partition in ranges.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(LEDGER))


def _counts(rows: pa.Table) -> dict[int, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["partition"]).to_pylist()}
