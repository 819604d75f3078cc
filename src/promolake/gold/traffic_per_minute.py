"""How many requests, page views and visitors does the site have each minute?

A visitor is an IP address. Exact within the minute; over longer spans visitors do not add up, so each row carries a sketch to be
united (`hll_union_agg`). Late rows: the minute is computed anew from silver, however late.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.columns.distinct import distinct_count
from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.gold.window import STATS, WINDOW, window_end, window_start
from promolake.silver.requests import FLOW as REQUESTS

SKETCH_BITS = 12
"""2^12 registers: exact to about 190 visitors, then a standard error of 1.04/sqrt(4096) = 1.6 % (Apache DataSketches, HLL)."""

TABLE = Table(
    "gold.traffic_per_minute",
    "Requests, page views and visitors of the site per minute.",
    (
        *WINDOW,
        Column("request_count", "bigint", "Requests (PV in the sense of hits)."),
        Column("page_view_count", "bigint", "Requests for a page: GET, 200, not an image, style, script or font."),
        Column("visitor_count", "bigint", "Distinct IP addresses (UV)."),
        Column("failed_count", "bigint", "Requests answered 4xx or 5xx."),
        Column("byte_count", "bigint", "Bytes sent."),
        Column("visitor_sketch", "binary", "HLL sketch of the IP addresses; unite over minutes, standard error 1.6 %."),
    ),
    Written.REPLACE,
    grain=("window_start",),
    stats=STATS,
)


def traffic_per_minute(requests: DataFrame) -> DataFrame:
    """In: rows of silver.requests, whole minutes. Out: one row per minute with a request."""
    return (
        requests.groupBy(window_start())
        .agg(
            F.count("*").alias("request_count"),
            F.count_if("is_page_view").alias("page_view_count"),
            distinct_count("ip").alias("visitor_count"),
            F.count_if(F.col("status") >= 400).alias("failed_count"),
            F.sum("bytes").alias("byte_count"),
            F.hll_sketch_agg("ip", SKETCH_BITS).alias("visitor_sketch"),
        )
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


FLOW = Metric(TABLE, (Reads(REQUESTS.table, ("event_time", "ip", "status", "bytes", "is_page_view")),), traffic_per_minute)
