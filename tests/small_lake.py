"""A small promotion day in a lake, without Kafka: its records are put into bronze in two batches, all else is computed from there."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from day import happenings
from promolake.core.flow import Ingest
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.ledger import LEDGER
from promolake.engine.rebuilding import Rebuilder
from promolake.hallway import HALLWAY

BATCHES = 2
PARTITIONS = 2


def filled(root: Path, spark: SparkSession, key: bytes, per_topic: int, seed: int) -> Lakehouse:
    """The lake of a day with broken, repeated and conflicting records; `per_topic` good ones of each topic."""
    lake = Lakehouse(root, lambda: spark)
    lake.create([*HALLWAY.tables, LEDGER])
    records = _records(per_topic, seed)
    for flow in HALLWAY.ingests:
        mine = records.filter(pc.equal(records["topic"], flow.topic.name))
        for n, batch in enumerate(_batches(mine)):
            lake.append(flow.bronze, batch, Txn("test", n))
    flows = (*HALLWAY.ingests, *HALLWAY.metrics, *HALLWAY.joins)
    Rebuilder(HALLWAY, spark, lake, key, ()).rebuild([flow.table.name for flow in flows], print)
    for n, flow in enumerate(HALLWAY.ingests):
        lake.append(LEDGER, _entries(lake, flow), Txn("test", n))
    return lake


def _records(per_topic: int, seed: int) -> pa.Table:
    """All records, with Kafka positions: the key chooses the partition, the offset counts up."""
    offsets: Counter[tuple[str, int]] = Counter()
    rows = []
    happened = list(happenings(per_topic, seed))
    end = datetime.fromtimestamp(happened[-1].at / 1000, UTC)
    for number, happening in enumerate(happened):
        message = happening.message
        partition = crc32(message.key or b"") % PARTITIONS
        rows.append(
            {
                "topic": message.topic,
                "partition": partition,
                "offset": offsets[message.topic, partition],
                "kafka_timestamp": datetime.fromtimestamp(happening.at / 1000, UTC),
                "key": message.key,
                "value": message.value,
                "headers": [{"key": name, "value": value} for name, value in message.headers],
                "ingested_at": end + timedelta(seconds=1 + number * BATCHES // len(happened)),
            }
        )
        offsets[message.topic, partition] += 1
    return pa.Table.from_pylist(rows, arrow_schema(HALLWAY.ingests[0].bronze))


def _batches(records: pa.Table) -> list[pa.Table]:
    times = sorted(set(records["ingested_at"].to_pylist()))
    return [records.filter(pc.equal(records["ingested_at"], pa.scalar(at, pa.timestamp("us", "UTC")))) for at in times]


def _entries(lake: Lakehouse, flow: Ingest) -> pa.Table:
    """The ledger's rows of a topic, counted here in plain Python: what neither silver nor quarantine holds was a duplicate."""
    valid, quarantined = (set(_positions(lake.read(table, ("partition", "offset")))) for table in (flow.table, flow.quarantine))
    rows = []
    for n, batch in enumerate(_batches(lake.read(flow.bronze, ("partition", "offset", "ingested_at")))):
        for partition in range(PARTITIONS):
            read = [position for position in _positions(batch) if position[0] == partition]
            counts = {"valid_count": len(valid.intersection(read)), "quarantined_count": len(quarantined.intersection(read))}
            row = {"query": "main", "batch_id": n, "ingested_at": batch["ingested_at"][0].as_py()}
            row |= {"topic": flow.topic.name, "partition": partition}
            row |= {"first_offset": min(read)[1], "last_offset": max(read)[1], "read_count": len(read)} | counts
            rows.append(row | {"duplicate_count": len(read) - sum(counts.values())})
    return pa.Table.from_pylist(rows, arrow_schema(LEDGER))


def _positions(rows: pa.Table) -> list[tuple[int, int]]:
    return list(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))
