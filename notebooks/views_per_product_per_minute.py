"""Which products are looked at, minute by minute? The example of 05_add_your_own_metric: a gold module that has not moved in yet.

Late rows are added to their minute, however late.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.gold.window import STATS, WINDOW, window_end, window_start
from promolake.silver.views import FLOW as VIEWS

TABLE = Table(
    "gold.views_per_product_per_minute",
    "Product views per minute and product.",
    (
        *WINDOW,
        Column("product_id", "string", "The product."),
        Column("view_count", "bigint", "Views of its page."),
    ),
    Written.ACCUMULATE,
    grain=("window_start", "product_id"),
    stats=STATS,
)


def views_per_product_per_minute(views: DataFrame) -> DataFrame:
    """In: rows of silver.views, any. Out: what they add, one row per minute and product looked at."""
    return (
        views.groupBy(window_start(), "product_id")
        .agg(F.count("*").alias("view_count"))
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


FLOW = Metric(TABLE, (Reads(VIEWS.table, ("event_time", "product_id")),), views_per_product_per_minute)
