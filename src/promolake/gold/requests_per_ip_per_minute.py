"""Who asks how often? Ranking is a view's work (`top_ips`). Late rows are added to their minute, however late."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.gold.window import STATS, WINDOW, window_end, window_start
from promolake.silver.requests import FLOW as REQUESTS

TABLE = Table(
    "gold.requests_per_ip_per_minute",
    "Requests per minute and IP address.",
    (
        *WINDOW,
        Column("ip", "string", "The client's address."),
        Column("request_count", "bigint", "Requests."),
        Column("page_view_count", "bigint", "Requests for a page."),
        Column("failed_count", "bigint", "Requests answered 4xx or 5xx."),
    ),
    Written.ACCUMULATE,
    grain=("window_start", "ip"),
    stats=STATS,
)


def requests_per_ip_per_minute(requests: DataFrame) -> DataFrame:
    """In: rows of silver.requests, any. Out: what they add, one row per minute and IP address."""
    return (
        requests.groupBy(window_start(), "ip")
        .agg(
            F.count("*").alias("request_count"),
            F.count_if("is_page_view").alias("page_view_count"),
            F.count_if(F.col("status") >= 400).alias("failed_count"),
        )
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


FLOW = Metric(TABLE, (Reads(REQUESTS.table, ("event_time", "ip", "status", "is_page_view")),), requests_per_ip_per_minute)
