"""Stream-stream joins over silver: streaming queries of their own, on a slower trigger, so that evicting state never holds up the scan."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from promolake.core.flow import Join
from promolake.engine.arrow import conformed
from promolake.engine.gate import Gate
from promolake.engine.lakehouse import Lakehouse, Txn, sql_time
from promolake.engine.prepared import Part, Prepared
from promolake.engine.supervision import Failure

_SETTLED = "settled"


class JoinQuery:
    """One Join as a streaming query: what it emits is settled with the rows that stand, and takes their place."""

    def __init__(self, join: Join, spark: SparkSession, lake: Lakehouse, spool: Path) -> None:
        self._join = join
        self._spool = spool
        self._settled = Prepared(spark, spool, {_SETTLED: Part([join.table.ddl], join.settled)})
        self.gate = Gate()
        self.failure: Failure | None = None
        self._spark = spark
        self._lake = lake
        self._is_live = False
        self._has_begun = False

    @property
    def name(self) -> str:
        return self._join.table.short

    def close(self) -> None:
        shutil.rmtree(self._spool, ignore_errors=True)

    @property
    def reads(self) -> set[str]:
        """The silver tables it reads."""
        return {reads.table.name for reads in self._join.reads}

    def start(self, checkpoint: Path, trigger: dict[str, object]) -> StreamingQuery:
        """Starts the query over the silver tables, from their first version or its checkpoint."""
        self._is_live, self._has_begun = "processingTime" in trigger, False
        frames = [self._stream(reads.table.name, self._lake.path(reads.table)).select(*reads.columns) for reads in self._join.reads]
        writer = self._join.function(*frames).writeStream.queryName(self.name).option("checkpointLocation", str(checkpoint))
        return writer.outputMode("append").trigger(**trigger).foreachBatch(self.gate.guarded(self._batch)).start()

    def rehearse(self, examples: Mapping[str, pa.Table], stage: Path) -> None:
        """Runs the whole query once over example rows (by silver table) in a lake of its own under `stage`: cold, its first batch takes
        twenty seconds of a core the scan needs."""
        lake = Lakehouse(stage / "lake")
        lake.create([self._join.table])
        for reads in self._join.reads:
            lake.append(reads.table, examples[reads.table.name], Txn(self.name, 0))
        JoinQuery(self._join, self._spark, lake, stage / "spool").start(stage / "checkpoint", {"availableNow": True}).awaitTermination()

    def _stream(self, name: str, path: str) -> DataFrame:
        # A rebuilt silver table is replaced in one commit; the stream passes over it and goes on behind.
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
