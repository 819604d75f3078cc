"""The one-minute window every gold table shares."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F

from promolake.columns import event_time
from promolake.core.table import Column

WINDOW = (
    Column("window_start", "timestamp", "Start of the minute, UTC, inclusive."),
    Column("window_end", "timestamp", "End of the minute, UTC, exclusive."),
)
STATS = ("window_start",)


def window_start() -> SparkColumn:
    return event_time.minute(F.col("event_time")).alias("window_start")


def window_end() -> SparkColumn:
    return event_time.minute_end(F.col("window_start")).alias("window_end")
