"""How many ERROR events does each application log? By level, not by the word: an INFO line that mentions an error is no error.

Late rows are added to their minute, however late.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.gold.window import STATS, WINDOW, window_end, window_start
from promolake.silver.log_events import FLOW as LOG_EVENTS

NO_SERVICE = "unknown"

TABLE = Table(
    "gold.errors_per_minute",
    "ERROR events per minute and service.",
    (
        *WINDOW,
        Column("service", "string", "The application; `unknown` where the event names none."),
        Column("error_count", "bigint", "Events of level ERROR."),
        Column("event_count", "bigint", "Events of any level: what the errors are a share of."),
    ),
    Written.ACCUMULATE,
    grain=("window_start", "service"),
    stats=STATS,
)


def errors_per_minute(log_events: DataFrame) -> DataFrame:
    """In: rows of silver.log_events, any. Out: what they add, one row per minute and service."""
    return (
        log_events.groupBy(window_start(), F.coalesce("service", F.lit(NO_SERVICE)).alias("service"))
        .agg(F.count_if(F.col("level") == "ERROR").alias("error_count"), F.count("*").alias("event_count"))
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


FLOW = Metric(TABLE, (Reads(LOG_EVENTS.table, ("event_time", "service", "level")),), errors_per_minute)
