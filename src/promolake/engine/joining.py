"""Stream-stream joins over silver: streaming queries of their own, on a slower trigger, so that evicting state never holds up the scan.

Before each trigger what silver has committed since the last one is put together for it (intake.py).
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from py4j.protocol import Py4JError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from promolake.core.flow import Join
from promolake.engine.arrow import conformed
from promolake.engine.gate import Gate
from promolake.engine.intake import Intake
from promolake.engine.lakehouse import Lakehouse, Txn, sql_time
from promolake.engine.prepared import Part, Prepared
from promolake.engine.supervision import Failure

_SETTLED = "settled"
_LEAD_S = 1.0  # between an intake and the trigger it is for
_FORGET_EVERY = 20  # triggers


class Unfed(Exception):
    """What a join reads could not be taken from silver, for the reason it is raised from."""


class JoinQuery:
    """One Join as a streaming query: what it emits is settled with the rows that stand, and takes their place.

    What it reads is kept in the folder `intake` meanwhile, and belongs to its checkpoint. To take much of it ends with `stopping`.
    """

    def __init__(self, join: Join, spark: SparkSession, lake: Lakehouse, spool: Path, intake: Path, stopping: threading.Event) -> None:
        self._join = join
        self._spool = spool
        self._settled = Prepared(spark, spool, {_SETTLED: Part([join.table.ddl], join.settled)})
        self._intake = Intake(join.reads, lake, intake, stopping)
        self._feeder: threading.Thread | None = None
        self._enough = threading.Event()
        self.gate = Gate()
        self.failure: Failure | None = None
        self.unfed: Exception | None = None  # why a query that nothing is wrong with has ended
        self.begins_anew = False  # though it had begun before
        self._spark = spark
        self._lake = lake
        self._is_live = False
        self._has_begun = False

    @property
    def name(self) -> str:
        return self._join.table.short

    def close(self) -> None:
        self._feed_no_more()
        shutil.rmtree(self._spool, ignore_errors=True)

    @property
    def reads(self) -> set[str]:
        """The silver tables it reads."""
        return {reads.table.name for reads in self._join.reads}

    def start(self, checkpoint: Path, trigger: dict[str, object]) -> StreamingQuery:
        """Starts the query over all rows of the silver tables, or behind its checkpoint; by a trigger of some seconds it is fed until it
        ends. Raises Unfed when silver cannot be read."""
        self._is_live, self._has_begun = "processingTime" in trigger, False
        self._feed_no_more()
        self.gate, self.unfed = Gate(), None
        try:
            self.begins_anew = self._intake.begin(checkpoint)
        except Exception as error:
            raise Unfed(f"{self.name} could not be started") from error
        frames = [self._stream(self._intake.path(reads.table)).select(*reads.columns) for reads in self._join.reads]
        writer = self._join.function(*frames).writeStream.queryName(self.name).option("checkpointLocation", str(checkpoint))
        query = writer.outputMode("append").trigger(**trigger).foreachBatch(self.gate.guarded(self._batch)).start()
        if self._is_live and (every_s := self._seconds(str(trigger["processingTime"]))):
            self._enough = threading.Event()
            feeding = (query, self.gate, checkpoint, every_s)
            self._feeder = threading.Thread(target=self._keep_feeding, args=feeding, name=f"intake of {self.name}", daemon=True)
            self._feeder.start()
        return query

    def feed(self) -> None:
        """Takes what silver has committed since the last time: the query's next batch reads it."""
        self._intake.take()

    def _keep_feeding(self, query: StreamingQuery, gate: Gate, checkpoint: Path, every_s: float) -> None:
        """Shortly before each trigger, which Spark has at whole multiples of the interval since 1970."""
        rounds = 0
        while not self._enough.wait((every_s - _LEAD_S - time.time()) % every_s) and _is_running(query):
            rounds += 1
            try:
                if rounds % _FORGET_EVERY == 0:
                    self._intake.forget(checkpoint)
                self._intake.take()
            except Exception as error:  # whatever it is: the runner says it, and starts the query again
                self.unfed = error
                if _is_running(query):
                    gate.end(query)
                return

    def _feed_no_more(self) -> None:
        """Waits for what is being taken."""
        self._enough.set()
        if self._feeder:
            self._feeder.join()

    def _seconds(self, interval: str) -> float:
        """What Spark takes an interval for."""
        return self._spark._jvm.org.apache.spark.sql.streaming.Trigger.ProcessingTime(interval).intervalMs() / 1000

    def rehearse(self, examples: Mapping[str, pa.Table], stage: Path) -> None:
        """Runs the whole query once over example rows (by silver table) in a lake of its own under `stage`: cold, its first batch takes
        twenty seconds of a core the scan needs."""
        lake = Lakehouse(stage / "lake")
        lake.create([self._join.table])
        for reads in self._join.reads:
            lake.append(reads.table, examples[reads.table.name], Txn(self.name, 0))
        query = JoinQuery(self._join, self._spark, lake, stage / "spool", stage / "intake", threading.Event())
        query.start(stage / "checkpoint", {"availableNow": True}).awaitTermination()

    def _stream(self, path: str) -> DataFrame:
        # What was read is removed in one commit; the stream passes over it and goes on behind.
        reader = self._spark.readStream.format("delta").option("skipChangeCommits", "true").option("maxFilesPerTrigger", "5000")
        return reader.load(path)

    def _batch(self, frame: DataFrame, batch_id: int) -> None:
        self.failure = None
        try:
            self._settle(frame, batch_id)
        except Exception as error:
            self.failure = Failure(batch_id, {self.name: error})
            raise

    def _settle(self, frame: DataFrame, batch_id: int) -> None:
        # What had waited may be days of it, many candidates a line, more than fit into the driver: Spark reduces those to one. Of what
        # comes within a trigger there are few, and another stage of Spark costs more than to take them as they are.
        few = frame if self._is_live and self._has_begun else self._join.settled(frame)
        candidates = conformed(few.toArrow(), self._join.table)  # takes every partition, as a stateful batch must be
        self._has_begun = True
        if not candidates.num_rows:
            return
        app = f"{self.name}@{frame.sparkSession.sparkContext.getLocalProperty('sql.streaming.queryId')}"
        standing = self._standing(candidates)
        rows = self._settled.run({_SETTLED: [pa.concat_tables([candidates, standing])]})[_SETTLED]
        self._lake.upsert(self._join.table, rows, Txn(app, batch_id))

    def _standing(self, candidates: pa.Table) -> pa.Table:
        """The rows that stand for the candidates' grain."""
        table = self._join.table
        times = candidates["event_time"]
        found = self._lake.read(
            table, table.column_names, f"event_time >= {sql_time(pc.min(times))} AND event_time <= {sql_time(pc.max(times))}"
        )
        key = table.grain[0]
        return conformed(found.filter(pc.is_in(found[key], value_set=candidates[key].combine_chunks())), table)


def _is_running(query: StreamingQuery) -> bool:
    try:
        return query.isActive
    except (Py4JError, OSError):  # Java has ended, which the runner finds out
        return False
