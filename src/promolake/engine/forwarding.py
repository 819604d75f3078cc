"""Rows sent on to Kafka, at least once: a replayed batch sends again, under the same key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from kafka import KafkaProducer
from pyspark.sql import SparkSession

from promolake.core.flow import Forward
from promolake.engine import kafka
from promolake.engine.prepared import Part, Prepared


class Forwarder:
    """Sends what a Forward chooses, and returns only when the broker has it."""

    def __init__(self, forward: Forward, bootstrap: str, levels: Sequence[str], spark: SparkSession, spool: Path) -> None:
        self._forward = forward
        self._bootstrap = bootstrap
        self._levels = tuple(levels)
        self._chosen = Prepared(spark, spool, {forward.name: Part([forward.reads.ddl], lambda rows: forward.function(rows, self._levels))})
        self._producer: KafkaProducer | None = None

    def send(self, rows: pa.Table) -> int:
        """Sends the chosen rows of a batch; returns how many. Raises KafkaError when the broker does not take one."""
        if not pc.any(pc.is_in(rows["level"], pa.array(self._levels))).as_py():  # most batches have none: no Spark job for nothing
            return 0
        chosen = self._chosen.run({self._forward.name: [rows]})[self._forward.name].to_pylist()
        if self._producer is None:
            self._producer = kafka.producer(self._bootstrap)
        sent = [self._producer.send(self._forward.topic, key=row["key"].encode(), value=row["value"].encode()) for row in chosen]
        self._producer.flush()
        for future in sent:
            future.get(timeout=0)
        return len(sent)

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close()
