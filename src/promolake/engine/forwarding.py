"""Rows sent on to Kafka, at least once: a replayed batch may send again, under the same key.

Where a lane (engine/lane.py) sends them first, the micro-batch audits it: it reads the topic back and sends what is missing. Its batch is
not over before that, so whatever becomes of the lane, every row of a finished batch stands on the topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pyarrow as pa
import pyarrow.compute as pc
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from pyspark.sql import SparkSession

from promolake.core.flow import Forward
from promolake.engine import kafka
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.lane import Lane
from promolake.engine.ledger import FORWARDS
from promolake.engine.prepared import Part, Prepared
from promolake.engine.read_back import ReadBack, Sent

FLUSH_SECONDS = 10.0  # for the broker, once a stop was asked for
PATIENCE_SECONDS = 0.5  # for a lane that is about to send: it pauses for so long between two of its batches


class Forwarder:
    """Sees to it that what a Forward chooses stands on its topic, and returns only when the broker has it."""

    def __init__(
        self,
        forward: Forward,
        bootstrap: str,
        levels: Sequence[str],
        spark: SparkSession,
        spool: Path,
        lake: Lakehouse,
        stopping: Event,
        lane: Lane | None,
    ) -> None:
        self._forward = forward
        self._bootstrap = bootstrap
        self._levels = tuple(levels)
        self._lake = lake
        self._lane = lane
        self._stopping = stopping
        self._chosen = Prepared(spark, spool, {forward.name: Part([forward.reads.ddl], lambda rows: forward.function(rows, self._levels))})
        self._producer: KafkaProducer | None = None
        self._read_back = ReadBack(bootstrap, forward.topic)
        self._patience = PATIENCE_SECONDS

    def send(self, rows: pa.Table, query: str, app: str, batch_id: int) -> int:
        """Sends the chosen rows of a batch that do not stand on the topic yet, and books it; returns how many.

        Raises KafkaError when the broker does not take one, BrokerAway when it is away and a stop was asked for.
        """
        if not pc.any(pc.is_in(rows["level"], pa.array(self._levels))).as_py():  # most batches have none: no Spark job for nothing
            return 0
        chosen = self._chosen.run({self._forward.name: [rows]})[self._forward.name]
        due = [(row["key"].encode(), row["value"].encode()) for row in chosen.to_pylist()]
        missing = self._missing(due, rows) if self._lane else due
        self._deliver(missing)
        told = {"query": query, "batch_id": batch_id, "flow": self._forward.name, "topic": self._forward.topic}
        counts = {"due_count": len(due), "sent_count": len(missing), "ingested_at": rows["ingested_at"][0].as_py()}
        book = pa.Table.from_pylist([told | counts], arrow_schema(FORWARDS))
        self._lake.append(FORWARDS, book, Txn(f"{app}:{FORWARDS.name}:{self._forward.name}", batch_id))
        return len(missing)

    def close(self) -> None:
        self._read_back.close()
        if self._producer is not None:
            kafka.closed(self._producer, FLUSH_SECONDS)

    def _missing(self, due: list[Sent], rows: pa.Table) -> list[Sent]:
        """A lane that sent nothing of the last batch is not waited for: it would hold up every batch while it hangs."""
        patience = self._patience if self._lane and self._lane.is_running else 0.0
        missing = self._read_back.missing(due, pc.min(rows["kafka_timestamp"]).as_py(), patience)
        self._patience = PATIENCE_SECONDS if len(missing) < len(due) else 0.0
        return missing

    def _deliver(self, records: list[Sent]) -> None:
        if records and self._producer is None:
            self._producer = kafka.producer(self._bootstrap)
        sent = [self._producer.send(self._forward.topic, key=key, value=value) for key, value in records]
        while sent and not self._has_flushed():
            if self._stopping.is_set():  # the next start's first batch sends it
                raise kafka.away(self._bootstrap)
        for future in sent:
            future.get(timeout=0)

    def _has_flushed(self) -> bool:
        """False after a while in which the broker did not answer. The producer tries for ten minutes, a stop does not wait for that."""
        try:
            self._producer.flush(timeout=FLUSH_SECONDS)
        except KafkaTimeoutError:
            return False
        return True
