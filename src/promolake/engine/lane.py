"""The lane: what a Forward chooses, sent on within milliseconds by a query of its own in Spark's real-time mode.

The query keeps no state, and nothing rests on it: what it does not send, the micro-batch sends (engine/forwarding.py). So it begins at
the end of its topic each time, in a checkpoint that is thrown away: after a failure it repeats nothing and cannot meet a damaged one.
It does not know what the scan knows of repetitions: an event that was sent to us twice, it sends on twice, under one key.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from promolake.core.errors import BrokerAway
from promolake.core.flow import Forward, Hallway, Ingest
from promolake.engine import kafka
from promolake.engine.records import kafka_records
from promolake.engine.supervision import Failure, Record, named
from promolake.silver.entity import parsed, silver_rows

BATCH = "10 minutes"  # Between two of its batches it reads nothing for half a second; they matter only to its checkpoint.
STEADY_SECONDS = 60.0  # after which a failure is a new one, not the last one again


def forwarded(records: DataFrame, ingest: Ingest, forward: Forward, levels: Sequence[str]) -> DataFrame:
    """In: bronze's columns but `ingested_at`, of records of the ingest's topic. Out: `key` and `value` of those to send on.

    The pads of the pseudonym key are not joined to the records, as real-time mode has no cross join: masking a message needs none, and
    an entity that needed it could not be parsed here.
    """
    rows = silver_rows(parsed(records.withColumn("ingested_at", F.lit(None).cast("timestamp")), ingest), ingest)
    return forward.function(rows, levels)


def standing_tasks(flows: Hallway, bootstrap: str, partitions: int) -> int:
    """How many tasks the lanes of these flows keep for ever: one a partition. `partitions` of a topic that is yet to be created."""
    topics = [flow.topic.name for flow in flows.ingests if flow.table in [forward.reads for forward in flows.forwards]]
    try:
        there = kafka.end_offsets(bootstrap, topics, kafka.ATTEMPT_MS) if topics else {}
    except BrokerAway:  # it will be waited for
        there = {}
    return sum(sum(topic == place[0] for place in there) or partitions for topic in topics)


class Lane:
    """One Forward's real-time query, tended: started, and started again when it fails."""

    def __init__(
        self,
        forward: Forward,
        ingest: Ingest,
        bootstrap: str,
        levels: Sequence[str],
        spark: SparkSession,
        checkpoint: Path,
        say: Callable[[str], None],
    ) -> None:
        self.name = f"{forward.name}_lane"
        self._forward = forward
        self._ingest = ingest
        self._bootstrap = bootstrap
        self._levels = tuple(levels)
        self._spark = spark
        self._checkpoint = checkpoint
        self._say = say
        self._query: StreamingQuery | None = None
        self._record = Record()
        self._began = time.monotonic()
        self._spells = 0  # of running steadily
        self._is_over = False

    @property
    def is_running(self) -> bool:
        return self._query is not None and self._query.isActive

    def tend(self) -> None:
        """Starts the query when it does not run and its pause is over. Never raises: the micro-batches do without it."""
        if self._is_over or self.is_running:
            return
        if self._query is not None:
            error, self._query = self._query.exception(), None
            self._failed(error or InterruptedError("stopped by somebody else"))
        elif time.monotonic() >= self._record.due_at:
            try:
                self._query = self._started()
                self._began = time.monotonic()
            except (PySparkException, Py4JJavaError, BrokerAway) as error:
                self._failed(error)

    def end(self) -> None:
        """What it has in hand may be lost: the next run's first batch sends it."""
        self._is_over = True
        if self._query is not None:
            self._query.stop()
        shutil.rmtree(self._checkpoint, ignore_errors=True)

    def _started(self) -> StreamingQuery | None:
        topic = self._ingest.topic.name
        places = sorted(kafka.end_offsets(self._bootstrap, [topic], kafka.ATTEMPT_MS))
        if (spare := _spare_slots(self._spark)) is not None and spare < len(places):
            self._is_over = True
            self._say(
                f"{self.name} does not run: it keeps a task for each of the {len(places)} partitions of {topic}, and Spark has {spare} "
                f"slots beyond spark.default.parallelism. The micro-batches send instead"
            )
            return None
        shutil.rmtree(self._checkpoint, ignore_errors=True)
        options = kafka.lane_options(self._bootstrap, {topic: [partition for _, partition in places]})
        writer = forwarded(kafka_records(self._spark, options), self._ingest, self._forward, self._levels).writeStream.format("kafka")
        writer = writer.option("kafka.bootstrap.servers", self._bootstrap).option("topic", self._forward.topic)
        writer = writer.queryName(self.name).option("checkpointLocation", str(self._checkpoint))
        return writer.outputMode("update").trigger(realTime=BATCH).start()

    def _failed(self, error: Exception) -> None:
        """Says it once: until it has run steadily again, that it fails is no news."""
        if time.monotonic() - self._began >= STEADY_SECONDS:
            self._spells += 1
        is_news = not self._record.waits or self._record.batch_id != self._spells
        self._is_over = bool(self._record.failed(Failure(self._spells, {self.name: error}))[0])
        if self._is_over:
            self._say(f"STOPPED: {self.name} ({named(error)}), until the next start. The micro-batches send instead")
        elif is_news:
            self._say(f"{self.name} failed: {named(error)}. The micro-batches send until it runs again")


def _spare_slots(spark: SparkSession) -> int | None:
    """Slots no job of the scan or of a join takes, None where they are a cluster's. A lane that took one of theirs would starve them."""
    context = spark.sparkContext
    if not context.master.startswith("local"):
        return None
    slots = re.match(r"local\[(\d+)", context.master)
    return int(slots[1]) - context.defaultParallelism if slots else 0
