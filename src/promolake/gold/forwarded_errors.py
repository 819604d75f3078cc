"""Which log events must be seen elsewhere at once? ERROR events of app.logs, sent on to a Kafka topic, by level and masked."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.core.flow import Forward
from promolake.silver.log_events import FLOW as LOG_EVENTS

TOPIC = "app.logs.errors"
_SENT = ("event_id", "event_time", "level", "service", "logger", "message")


def forwarded_errors(log_events: DataFrame, levels: Sequence[str]) -> DataFrame:
    """In: rows of silver.log_events. Out: `key` (the event_id: a consumer recognises a repetition by it) and `value` (JSON), as text."""
    chosen = log_events.where(F.col("level").isin(list(levels)))
    return chosen.select(F.col("event_id").alias("key"), F.to_json(F.struct(*_SENT)).alias("value"))


FLOW = Forward("forwarded_errors", LOG_EVENTS.table, TOPIC, forwarded_errors)
