"""How many search, look and buy each minute? Rates between the stages are a view's work (`conversion`).

Late rows: the minute is computed anew from silver, however late. (That is why the funnel is no stream-stream join: a join under
watermarks would lose them; see DECISIONS.md.)
"""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

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

_SEARCH, _VIEW, _SALE = "search", "view", "sale"


def funnel_per_minute(searches: DataFrame, views: DataFrame, orders: DataFrame) -> DataFrame:
    """In: rows of silver.searches, silver.views, silver.orders, whole minutes. Out: one row per minute with any of them."""
    sales = orders.where((F.col("status") == "PAID") & (F.col("line_amount") > 0))
    steps = (
        _steps(searches, _SEARCH, F.lit(None).cast("string"))
        .unionByName(_steps(views, _VIEW, F.lit(None).cast("string")))
        .unionByName(_steps(sales, _SALE, F.col("order_id")))
    )
    step, user = F.col("step"), F.col("user_hash")
    return (
        steps.groupBy("window_start")
        .agg(
            F.count_if(step == _SEARCH).alias("search_count"),
            F.count_if(step == _VIEW).alias("view_count"),
            F.count_distinct("order_id").alias("order_count"),
            F.count_distinct(F.when(step == _SEARCH, user)).alias("searcher_count"),
            F.count_distinct(F.when(step == _VIEW, user)).alias("viewer_count"),
            F.count_distinct(F.when(step == _SALE, user)).alias("buyer_count"),
        )
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


def _steps(events: DataFrame, step: str, order_id: SparkColumn) -> DataFrame:
    return events.select(window_start(), F.lit(step).alias("step"), order_id.alias("order_id"), "user_hash")


FLOW = Metric(
    TABLE,
    (
        Reads(SEARCHES.table, ("event_time", "user_hash")),
        Reads(VIEWS.table, ("event_time", "user_hash")),
        Reads(ORDERS.table, ("event_time", "user_hash", "order_id", "status", "line_amount")),
    ),
    funnel_per_minute,
)
