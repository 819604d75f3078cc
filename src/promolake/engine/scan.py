"""The main query: one scan of all its topics per micro-batch feeds bronze, silver, quarantine, gold and the ledger.

The batch is brought to the driver as Arrow (it is bounded by `max_offsets`) and parsed by Spark, every topic in one pass; its rows are
split, sorted into new events and repetitions, and committed table by table, side by side. Gold that adds is computed from the new rows,
gold that replaces from all rows of their minutes (engine/minutes.py). What Spark computes is planned once for all batches
(engine/prepared.py). Every commit carries the query's id and the batch's, so a replayed batch repeats nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from promolake.core.flow import Forward, Ingest, Metric, Reads
from promolake.core.table import Table, Written
from promolake.core.watch import Watcher
from promolake.engine import kafka, ledger
from promolake.engine.arrow import arrow_schema
from promolake.engine.fates import Fates, fates, unpacked
from promolake.engine.forwarding import Forwarder
from promolake.engine.gate import Gate
from promolake.engine.lakehouse import WINDOW, Lakehouse, Txn, time_ranges
from promolake.engine.lateness import BOOKS, RESTATEMENTS, Watermarks, restatements
from promolake.engine.minutes import Minutes, joined_up
from promolake.engine.parsing import Parser
from promolake.engine.prepared import Part, Prepared
from promolake.engine.records import kafka_records
from promolake.engine.seen import SeenEvents
from promolake.engine.supervision import Failure
from promolake.silver.entity import ROW

_DAY = timedelta(days=1)
WARM_UP_ROWS = 100  # of each example
WARM_UP_SECONDS = 10
IDLE_SECONDS = 60.0  # without a record, until the watchers look by the clock; and between two such looks


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
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.name = name
        self.gate = Gate()
        self._spark = spark
        self._lake = lake
        self._ingests = ingests
        self._metrics = metrics
        self._forwards = forwards
        self._watchers = list(watchers)
        self._looked_at = time.monotonic()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-commit")
        self._seen = {flow.table.name: SeenEvents(lambda days, flow=flow: self._silver_days(flow, days)) for flow in ingests}
        self.failure: Failure | None = None
        self._watermarks = Watermarks(lake, name)
        self._minutes = Minutes(lake, metrics)
        self._parser = Parser(spark, spool, ingests, key)
        self._spool = spool
        self._gold = self._planned()

    def _planned(self) -> Prepared:
        parts = {flow.table.short: Part(_schemas(flow.reads), flow.function) for flow in self._metrics}
        return Prepared(self._spark, self._spool, parts, tasks=self._spark.sparkContext.defaultParallelism)

    @property
    def tables(self) -> list[Table]:
        written = [table for flow in self._ingests for table in (flow.bronze, flow.table, flow.quarantine)]
        return [*written, *(flow.table for flow in self._metrics), *BOOKS, *(table for one in self._watchers for table in one.tables)]

    def start(self, bootstrap: str, checkpoint: Path, max_offsets: int, trigger: dict[str, object]) -> StreamingQuery:
        """Starts the query; it goes on where its checkpoint ends. Raises what Spark raises when Kafka is away."""
        options = kafka.reader_options(bootstrap, [flow.topic.name for flow in self._ingests], max_offsets)
        taken = kafka_records(self._spark, options)
        taken = taken.withColumn("ingested_at", F.current_timestamp())  # in the offset log: a replayed batch has the same
        taken = taken.coalesce(self._spark.sparkContext.defaultParallelism)  # a task per core, not per Kafka partition
        writer = taken.writeStream.queryName(self.name).option("checkpointLocation", str(checkpoint)).trigger(**trigger)
        return writer.foreachBatch(self.gate.guarded(self._batch)).start()

    def examples(self) -> dict[str, pa.Table]:
        """The contracts' examples as rows of the silver tables, many of each, by table. Nothing is written."""
        now = datetime.now(UTC)
        empty = {"partition": 0, "kafka_timestamp": now, "key": b"", "ingested_at": now}
        records = {}
        for flow in self._ingests:
            values = [example.encode() for example in flow.topic.examples] * WARM_UP_ROWS
            rows = [empty | {"topic": flow.topic.name, "offset": n, "value": value} for n, value in enumerate(values)]
            records[flow.table.name] = pa.Table.from_pylist(rows, arrow_schema(flow.bronze))
        parsed = self._parser.parse(records)
        return {flow.table.name: unpacked(_valid(parsed[flow.table.name]), flow) for flow in self._ingests}

    def warm_up(self) -> None:
        """Runs the contracts' examples through every flow, writing nothing: the first real batch then meets a warm JVM.

        Cold, the first batch takes half a minute, and what piles up meanwhile makes the next ones long, too.
        """
        until = time.monotonic() + WARM_UP_SECONDS
        while time.monotonic() < until:
            valid = self.examples()
            self._gold.run(
                {metric.table.short: _read(metric, [valid[reads.table.name] for reads in metric.reads]) for metric in self._metrics}
            )

    def leave_out(self, name: str) -> bool:
        """Goes on without the metric of that table, or the watcher, from the next batch; False when it has none of that name."""
        before = len(self._metrics) + len(self._watchers)
        metrics = [metric for metric in self._metrics if metric.table.name != name]
        if len(metrics) < len(self._metrics):
            self._metrics = metrics
            self._gold = self._planned()
        self._watchers = [watcher for watcher in self._watchers if watcher.name != name]
        return len(self._metrics) + len(self._watchers) < before

    def look_when_idle(self) -> None:
        """Lets the watchers look by the clock when no source has sent anything for IDLE_SECONDS. Raises what a watcher raises."""
        if time.monotonic() - self._looked_at >= IDLE_SECONDS:
            self.gate.between(self._look_by_the_clock)

    def _look_by_the_clock(self) -> None:
        self._looked_at = time.monotonic()
        now = datetime.now(UTC)
        txn = Txn(f"{self.name}#idle", int(now.timestamp() // 60))  # of no batch
        for watcher in self._watchers:
            try:
                watcher.idle(self._lake, now, lambda table: txn)
            except Exception:
                watcher.forget()
                raise

    def close(self) -> None:
        self._parser.close()
        self._pool.shutdown(wait=True)

    # --- one micro-batch -------------------------------------------------------------------------------------------------------

    def _batch(self, frame: DataFrame, batch_id: int) -> None:
        self.failure = None
        try:
            taken = frame.toArrow()
            if taken.num_rows:
                app = f"{self.name}@{frame.sparkSession.sparkContext.getLocalProperty('sql.streaming.queryId')}"
                self._take(taken, app, batch_id)
        except Exception as error:
            self.failure = self.failure or Failure(batch_id, {self.name: error})
            self._minutes.forget()
            for watcher in self._watchers:
                watcher.forget()
            raise

    def _take(self, taken: pa.Table, app: str, batch_id: int) -> None:
        found = self.fates(taken)
        late = {flow.table.name: self._watermarks.late(found[flow.table.name].valid, flow, batch_id) for flow in self._ingests}
        changed = self.commit(found, late, app, batch_id)
        rows = [
            ledger.entries(self.name, batch_id, one.bronze, ledger_rows(one, late[name]))
            for name, one in found.items()
            if one.bronze.num_rows
        ]
        self._lake.append(ledger.LEDGER, pa.concat_tables(rows), _txn(app, ledger.LEDGER, batch_id))
        self._watch(changed, taken, app, batch_id)
        for flow in self._ingests:
            self._watermarks.advance(found[flow.table.name].valid, flow, batch_id)
        self._minutes.take_in({name: one.valid for name, one in found.items()})

    def _watch(self, changed: dict[str, list[datetime]], taken: pa.Table, app: str, batch_id: int) -> None:
        """Lets the watchers look, the ledger among what changed. One that fails fails the batch, under its own name."""
        self._looked_at = time.monotonic()
        taken_at = taken["ingested_at"][0].as_py().astimezone(UTC)
        changed = changed | {ledger.LEDGER.name: [taken_at.replace(second=0, microsecond=0)]}
        for watcher in self._watchers:
            try:
                watcher.look(self._lake, changed, taken_at, lambda table: _txn(app, table, batch_id))
            except Exception as error:
                self.failure = Failure(batch_id, {watcher.name: error})
                raise

    def fates(self, taken: pa.Table) -> dict[str, Fates]:
        """What becomes of records (bronze's columns), by the name of the silver table."""
        ours = {flow.table.name: taken.filter(pc.equal(taken["topic"], flow.topic.name)) for flow in self._ingests}
        parsed = self._parser.parse(
            {flow.table.name: ours[flow.table.name].select(list(flow.bronze.column_names)) for flow in self._ingests}
        )
        return {flow.table.name: fates(parsed[flow.table.name], flow, self._seen[flow.table.name]) for flow in self._ingests}

    def commit(self, found: dict[str, Fates], late: dict[str, pa.Table], app: str, batch_id: int) -> dict[str, list[datetime]]:
        """Commits all tables but the ledger, side by side: the topics' while Spark computes gold. None waits for one that fails; then
        Failure names them all. Returns the minutes (UTC) that changed, by gold table."""
        valid = {name: one.valid for name, one in found.items()}
        work: dict[str, Future[list[datetime]] | Future[None]] = {}
        causes: dict[str, BaseException] = {}
        inputs = self._inputs(valid, causes)
        for flow in self._ingests:
            work[flow.table.name] = self._pool.submit(self._commit_topic, flow, found[flow.table.name], app, batch_id)
        rows = self._computed(inputs, causes)
        for table in [metric.table for metric in self._metrics if metric.table.short in rows]:
            work[table.name] = self._pool.submit(self._commit_metric, table, rows[table.short], app, batch_id)
        for forward, forwarder in self._forwards:
            work[f"{self.name}:{forward.name}"] = self._pool.submit(forwarder.send, valid[forward.reads.name], self.name, app, batch_id)
        changed: dict[str, list[datetime]] = {}
        for name, future in work.items():
            try:
                changed[name] = future.result() or []
            except Exception as error:
                causes[name.split(":")[0]] = error
        if causes:
            self.failure = Failure(batch_id, causes)
            raise next(iter(causes.values()))
        restated = [restatements(self.name, batch_id, flow.table, late[flow.table.name]) for flow in self._ingests]
        self._lake.append(RESTATEMENTS, pa.concat_tables(restated), _txn(app, RESTATEMENTS, batch_id))
        return {metric.table.name: changed.get(metric.table.name, []) for metric in self._metrics}

    def _commit_topic(self, flow: Ingest, found: Fates, app: str, batch_id: int) -> None:
        """Bronze, quarantine, silver, in that order: what silver holds, bronze can always rebuild."""
        for table, rows in ((flow.bronze, found.bronze), (flow.quarantine, found.quarantined), (flow.table, found.valid)):
            self._lake.append(table, rows, _txn(app, table, batch_id))
        self._seen[flow.table.name].remember(found.valid)

    def _inputs(self, valid: Mapping[str, pa.Table], causes: dict[str, BaseException]) -> dict[str, list[pa.Table]]:
        """What every metric that a new row touches is computed from, by its short name; what cannot be read is put among the causes."""
        touched = [metric for metric in self._metrics if any(valid[reads.table.name].num_rows for reads in metric.reads)]
        reading = {metric.table: self._pool.submit(self._rows_for, metric, valid) for metric in touched}
        inputs: dict[str, list[pa.Table]] = {}
        for table, future in reading.items():
            try:
                inputs[table.short] = future.result()
            except Exception as error:
                causes[table.name] = error
        return inputs

    def _computed(self, inputs: Mapping[str, list[pa.Table]], causes: dict[str, BaseException]) -> dict[str, pa.Table]:
        """The metrics' rows, by their short names; what cannot be computed is put among the causes."""
        tables = {metric.table.short: metric.table.name for metric in self._metrics}
        try:
            return self._gold.run(inputs)
        except Exception as failed:
            rows = {}
            for name, given in inputs.items():
                try:
                    rows[name] = self._gold.alone(name, given)
                except Exception as error:
                    causes[tables[name]] = error
            if len(rows) == len(inputs):  # none of them is to blame
                causes[self.name] = failed
                return {}
            return rows

    def _rows_for(self, metric: Metric, valid: Mapping[str, pa.Table]) -> list[pa.Table]:
        if metric.table.written is Written.REPLACE:
            return _read(metric, self._minutes.touched(metric.reads, valid))
        return _read(metric, [valid[reads.table.name] for reads in metric.reads])

    def _commit_metric(self, table: Table, rows: pa.Table, app: str, batch_id: int) -> list[datetime]:
        self._lake.upsert(table, rows, _txn(app, table, batch_id))
        return [minute.astimezone(UTC) for minute in pc.unique(rows[WINDOW]).to_pylist()] if WINDOW in rows.column_names else []

    def _silver_days(self, flow: Ingest, days: list[int]) -> pa.Table:
        start = datetime(1970, 1, 1, tzinfo=UTC)
        ranges = joined_up([(start + day * _DAY, start + (day + 1) * _DAY) for day in sorted(days)])
        return self._lake.read(
            flow.table, ("event_id", "event_time", "payload_hash", "partition", "offset"), time_ranges("event_time", ranges)
        )


def ledger_rows(found: Fates, late: pa.Table) -> dict[str, pa.Table]:
    """One topic's rows by what the ledger counts them as."""
    return {"valid": found.valid, "quarantined": found.quarantined, "duplicate": found.duplicate, "late": late}


def _txn(app: str, table: Table, batch_id: int) -> Txn:
    return Txn(f"{app}:{table.name}", batch_id)


def _schemas(reads: Sequence[Reads]) -> list[str]:
    """What a flow reads, as Spark DDL."""
    return [", ".join(f"`{c.name}` {c.type}" for name in one.columns for c in one.table.columns if c.name == name) for one in reads]


def _read(metric: Metric, inputs: Sequence[pa.Table]) -> list[pa.Table]:
    """Of whole silver rows the columns the metric reads."""
    return [rows.select(list(reads.columns)) for rows, reads in zip(inputs, metric.reads, strict=True)]


def _valid(parsed_records: pa.Table) -> pa.Table:
    return parsed_records.filter(pc.is_valid(parsed_records[ROW]))
