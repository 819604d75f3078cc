"""How many search, look and buy each minute? Rates between the stages are a view's work (`conversion`).

Late rows: the minute is computed anew from silver, however late. (That is why the funnel is no stream-stream join: a join under
watermarks would lose them; see DECISIONS.md.)
"""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.columns.distinct import distinct_count
from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.gold.window import STATS, WINDOW, window_end, window_start
from promolake.silver.orders import FLOW as ORDERS
from promolake.silver.searches import FLOW as SEARCHES
from promolake.silver.views import FLOW as VIEWS

TABLE = Table(
    "gold.funnel_per_minute",
    "Searches, product views and orders per minute, and how many known users made them.",
    (
        *WINDOW,
        Column("search_count", "bigint", "Searches."),
        Column("view_count", "bigint", "Product views."),
        Column("order_count", "bigint", "Distinct orders with a sale."),
        Column("searcher_count", "bigint", "Distinct known users who searched."),
        Column("viewer_count", "bigint", "Distinct known users who looked."),
        Column("buyer_count", "bigint", "Distinct known users with a sale."),
    ),
    Written.REPLACE,
    grain=("window_start",),
    stats=STATS,
)
_FIGURES = tuple(name for name in TABLE.figures if name != "window_end")


def funnel_per_minute(searches: DataFrame, views: DataFrame, orders: DataFrame) -> DataFrame:
    """In: rows of silver.searches, silver.views, silver.orders, whole minutes. Out: one row per minute with any of them."""
    sales = orders.where((F.col("status") == "PAID") & (F.col("line_amount") > 0))
    stages = (
        _per_minute(searches, search_count=F.count("*"), searcher_count=distinct_count("user_hash"))
        .unionByName(_per_minute(views, view_count=F.count("*"), viewer_count=distinct_count("user_hash")), allowMissingColumns=True)
        .unionByName(
            _per_minute(sales, order_count=distinct_count("order_id"), buyer_count=distinct_count("user_hash")), allowMissingColumns=True
        )
    )
    return (
        stages.coalesce(1)  # a row per minute and stage: few, and in one partition they need no shuffle
        .groupBy("window_start")
        .agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in _FIGURES))
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


def _per_minute(events: DataFrame, **figures: SparkColumn) -> DataFrame:
    return events.groupBy(window_start()).agg(*(column.alias(name) for name, column in figures.items()))


FLOW = Metric(
    TABLE,
    (
        Reads(SEARCHES.table, ("event_time", "user_hash")),
        Reads(VIEWS.table, ("event_time", "user_hash")),
        Reads(ORDERS.table, ("event_time", "user_hash", "order_id", "status", "line_amount")),
    ),
    funnel_per_minute,
)
