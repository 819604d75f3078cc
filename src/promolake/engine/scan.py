"""The main query: one scan of all its topics per micro-batch feeds bronze, silver, quarantine, gold and the ledger.

The batch is brought to the driver as Arrow (it is bounded by `max_offsets`) and parsed by Spark, every topic in one pass; its rows are
split, sorted into new events and repetitions, and committed table by table, side by side. Gold that adds is computed from the new rows,
gold that replaces from silver, read back after its commit. What Spark computes is planned once for all batches (engine/prepared.py).
Every commit carries the query's id and the batch's, so a replayed batch repeats nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from promolake.columns import masking
from promolake.core.flow import Forward, Ingest, Metric, Reads
from promolake.core.table import Table, Written
from promolake.engine import kafka, ledger
from promolake.engine.arrow import arrow_schema
from promolake.engine.forwarding import Forwarder
from promolake.engine.gate import Gate
from promolake.engine.lakehouse import Lakehouse, Txn, time_ranges
from promolake.engine.prepared import Prepared
from promolake.engine.seen import SeenEvents
from promolake.silver.entity import VIOLATIONS, parsed

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
MAX_RANGES = 64  # of minutes in one condition; closer ones are read as one range
ID_CONFLICT = "id_conflict"
WARM_UP_ROWS = 60  # of each example
WARM_UP_ROUNDS = 6


@dataclass(frozen=True)
class Fates:
    """One topic's records of a batch, each in exactly one of three tables (a conflict is quarantined)."""

    bronze: pa.Table
    valid: pa.Table
    quarantined: pa.Table
    duplicate: pa.Table


class Scan:
    """A streaming query over the topics of `ingests`, with the metrics and forwards their entities feed."""

    def __init__(
        self,
        name: str,
        spark: SparkSession,
        lake: Lakehouse,
        ingests: Sequence[Ingest],
        metrics: Sequence[Metric],
        forwards: Sequence[tuple[Forward, Forwarder]],
        threads: int,
        key: bytes,
        spool: Path,
    ) -> None:
        self.name = name
        self.gate = Gate()
        self._spark = spark
        self._lake = lake
        self._ingests = ingests
        self._metrics = metrics
        self._forwards = forwards
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-commit")
        self._seen = {flow.table.name: SeenEvents(lambda days, flow=flow: self._silver_days(flow, days)) for flow in ingests}
        self._app = ""
        self._parse = Prepared(
            spark,
            spool,
            "records",
            [ingests[0].bronze.ddl],
            lambda records: parsed(with_key(records, key), ingests),
            partitions=spark.sparkContext.defaultParallelism,  # one task per core
        )
        self._gold = {flow.table.name: Prepared(spark, spool, flow.table.short, _schemas(flow.reads), flow.function) for flow in metrics}

    @property
    def tables(self) -> list[Table]:
        written = [table for flow in self._ingests for table in (flow.bronze, flow.table, flow.quarantine)]
        return [*written, *(flow.table for flow in self._metrics), ledger.LEDGER]

    def start(self, bootstrap: str, checkpoint: Path, max_offsets: int, trigger: dict[str, object]) -> StreamingQuery:
        """Starts the query; it goes on where its checkpoint ends. Raises what Spark raises when Kafka is away."""
        options = kafka.reader_options(bootstrap, [flow.topic.name for flow in self._ingests], max_offsets)
        records = self._spark.readStream.format("kafka").options(**options).load().select(
            "topic", "partition", "offset", F.col("timestamp").alias("kafka_timestamp"), "key", "value",
            F.coalesce("headers", F.array().cast("array<struct<key:string,value:binary>>")).alias("headers"),
            F.current_timestamp().alias("ingested_at"),  # Spark keeps it in the offset log: a replayed batch has the same
        )  # fmt: skip
        records = records.coalesce(self._spark.sparkContext.defaultParallelism)  # a task per core, not per Kafka partition
        writer = records.writeStream.queryName(self.name).option("checkpointLocation", str(checkpoint)).trigger(**trigger)
        return writer.foreachBatch(self.gate.guarded(self._batch)).start()

    def warm_up(self) -> None:
        """Runs the contracts' examples through every flow, writing nothing: the first real batch then meets a warm JVM.

        Cold, the first batch takes half a minute, and what piles up meanwhile makes the next ones long, too.
        """
        now = datetime.now(UTC)
        lines = [(flow.topic.name, n, example) for flow in self._ingests for n in range(WARM_UP_ROWS) for example in flow.topic.examples]
        rows = [
            {"topic": topic, "partition": 0, "offset": n, "kafka_timestamp": now, "key": b"", "value": line.encode(), "ingested_at": now}
            for topic, n, line in lines
        ]
        examples = pa.Table.from_pylist(rows, arrow_schema(self._ingests[0].bronze))
        for _ in range(WARM_UP_ROUNDS):
            records = self._parse.run(examples)
            valid = {flow.table.name: _unpacked(records.filter(pc.is_valid(records[flow.table.short])), flow) for flow in self._ingests}
            for metric in self._metrics:
                self._computed(metric, [valid[reads.table.name] for reads in metric.reads])

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    # --- one micro-batch -------------------------------------------------------------------------------------------------------

    def _batch(self, frame: DataFrame, batch_id: int) -> None:
        taken = frame.toArrow()
        if not taken.num_rows:
            return
        records = self._parse.run(taken)
        self._app = f"{self.name}@{frame.sparkSession.sparkContext.getLocalProperty('sql.streaming.queryId')}"
        fates = {flow.table.name: self._fates(records, flow) for flow in self._ingests}
        commits = [self._pool.submit(self._commit_topic, flow, fates[flow.table.name], batch_id) for flow in self._ingests]
        done = dict(zip((flow.table.name for flow in self._ingests), commits, strict=True))
        gold = [self._pool.submit(self._commit_metric, metric, fates, done, batch_id) for metric in self._metrics]
        for future in (*commits, *gold):
            future.result()
        for forward, forwarder in self._forwards:
            rows = fates[forward.reads.name].valid
            if rows.num_rows:
                forwarder.send(rows, frame.sparkSession)
        self._write_ledger(fates, batch_id)

    def _fates(self, records: pa.Table, flow: Ingest) -> Fates:
        ours = records.filter(pc.equal(records["topic"], flow.topic.name))
        kept = pc.is_valid(ours[flow.table.short])
        good = ours.filter(kept)
        rows = _unpacked(good, flow)
        sorted_ = self._seen[flow.table.name].sort(rows)
        conflicts = good.filter(pa.array(sorted_.is_conflict)).select(list(_without(flow.quarantine, VIOLATIONS)))
        conflicts = conflicts.append_column(VIOLATIONS, pa.array([[ID_CONFLICT]] * conflicts.num_rows, pa.list_(pa.string())))
        broken = ours.filter(pc.invert(kept)).select(list(flow.quarantine.column_names))
        return Fates(
            bronze=ours.select(list(flow.bronze.column_names)),
            valid=rows.filter(pa.array(sorted_.is_new)),
            quarantined=pa.concat_tables([broken, conflicts.select(broken.column_names).cast(broken.schema)]),
            duplicate=rows.filter(pa.array(sorted_.is_duplicate)),
        )

    def _commit_topic(self, flow: Ingest, fates: Fates, batch_id: int) -> None:
        """Bronze, quarantine, silver, in that order: what silver holds, bronze can always rebuild."""
        for table, rows in ((flow.bronze, fates.bronze), (flow.quarantine, fates.quarantined), (flow.table, fates.valid)):
            self._lake.append(table, rows, self._txn(table, batch_id))
        self._seen[flow.table.name].remember(fates.valid)

    def _commit_metric(self, metric: Metric, fates: dict[str, Fates], done: dict[str, Future[None]], batch_id: int) -> None:
        new = [fates[reads.table.name].valid for reads in metric.reads]
        if not any(rows.num_rows for rows in new):
            return
        if metric.table.written is Written.REPLACE:
            for reads in metric.reads:
                done[reads.table.name].result()
            new = touched_rows(self._lake, metric.reads, [rows["event_time"] for rows in new])
        self._lake.upsert(metric.table, self._computed(metric, new), self._txn(metric.table, batch_id))

    def _computed(self, metric: Metric, inputs: Sequence[pa.Table]) -> pa.Table:
        return self._gold[metric.table.name].run(
            *(rows.select(list(reads.columns)) for rows, reads in zip(inputs, metric.reads, strict=True))
        )

    def _write_ledger(self, fates: dict[str, Fates], batch_id: int) -> None:
        rows = [
            ledger.entries(
                self.name, batch_id, found.bronze, {"valid": found.valid, "quarantined": found.quarantined, "duplicate": found.duplicate}
            )
            for found in fates.values()
            if found.bronze.num_rows
        ]
        self._lake.append(ledger.LEDGER, pa.concat_tables(rows), self._txn(ledger.LEDGER, batch_id))

    def _txn(self, table: Table, batch_id: int) -> Txn:
        return Txn(f"{self._app}:{table.name}", batch_id)

    def _silver_days(self, flow: Ingest, days: list[int]) -> pa.Table:
        start = datetime(1970, 1, 1, tzinfo=UTC)
        ranges = _joined_up([(start + day * _DAY, start + (day + 1) * _DAY) for day in sorted(days)])
        return self._lake.read(
            flow.table, ("event_id", "event_time", "payload_hash", "partition", "offset"), time_ranges("event_time", ranges)
        )


def with_key(records: DataFrame, key: bytes) -> DataFrame:
    """The records with the two pads of the pseudonym key as columns, joined from a frame so that no plan shows their bytes."""
    inner, outer = masking.key_pads(key)
    pads = records.sparkSession.createDataFrame(
        [(bytearray(inner), bytearray(outer))], f"{masking.KEY_INNER} binary, {masking.KEY_OUTER} binary"
    )
    return records.crossJoin(F.broadcast(pads))


def touched_rows(lake: Lakehouse, reads: Sequence[Reads], times: Sequence[pa.ChunkedArray]) -> list[pa.Table]:
    """All rows of silver, per input, of the minutes in which any of the event times lies."""
    minutes = pc.unique(pa.concat_arrays([pc.floor_temporal(t, unit="minute").combine_chunks() for t in times])).sort()
    condition = time_ranges("event_time", _joined_up([(minute, minute + _MINUTE) for minute in minutes.to_pylist()]))
    found = (lake.read(one.table, one.columns, condition) for one in reads)
    # Far apart minutes are read as one range, so what lies between is taken out again.
    return [rows.filter(pc.is_in(pc.floor_temporal(rows["event_time"], unit="minute"), value_set=minutes)) for rows in found]


def _joined_up(ranges: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Sorted half-open ranges with neighbours united, and then the narrowest gaps closed until at most MAX_RANGES are left."""
    united = [list(ranges[0])] if ranges else []
    for low, high in ranges[1:]:
        if low <= united[-1][1]:
            united[-1][1] = high
        else:
            united.append([low, high])
    if len(united) > MAX_RANGES:
        gaps = sorted(range(1, len(united)), key=lambda n: united[n][0] - united[n - 1][1], reverse=True)[: MAX_RANGES - 1]
        starts = [0, *sorted(gaps)]
        ends = [*starts[1:], len(united)]
        return [(united[start][0], united[end - 1][1]) for start, end in zip(starts, ends, strict=True)]
    return [(low, high) for low, high in united]


def _schemas(reads: Sequence[Reads]) -> list[str]:
    """What a flow reads, as Spark DDL."""
    return [", ".join(f"`{c.name}` {c.type}" for name in one.columns for c in one.table.columns if c.name == name) for one in reads]


def _unpacked(good: pa.Table, flow: Ingest) -> pa.Table:
    """The rows of an entity out of the struct they were parsed into."""
    packed = good[flow.table.short].combine_chunks()
    names = [column for column in flow.table.column_names if column != "ingested_at"]
    columns = {name: packed.field(name) for name in names} | {"ingested_at": good["ingested_at"]}
    return pa.table({name: columns[name] for name in flow.table.column_names})


def _without(table: Table, name: str) -> tuple[str, ...]:
    return tuple(column for column in table.column_names if column != name)
