"""Which view and which search led to each paid order line?

Each PAID line with the latest view of that product, and the latest search, by that user in the 30 minutes before. Views and searches
are one stream of touches, so it is one join. A match shows at once; a line without any appears when the watermark has passed it
(`LATENESS`) of whichever side is ahead: a source that falls silent keeps no line of another waiting (engine/session.py). Rows later
than that are left out by the stream and put right when the lake is settled (`run --once`, `rebuild`).
"""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.core.flow import Join, Reads
from promolake.core.table import Column, Table, Written
from promolake.silver.orders import FLOW as ORDERS
from promolake.silver.searches import FLOW as SEARCHES
from promolake.silver.views import FLOW as VIEWS

LATENESS = "10 minutes"
REACH_MINUTES = 30

_LINE = ("event_id", "event_time", "order_id", "line_number", "user_hash", "product_id", "currency", "line_amount")

TABLE = Table(
    "gold.attributed_orders",
    "Every paid order line with the latest view of its product and the latest search by its buyer in the 30 minutes before.",
    (
        Column("event_id", "string", "The PAID event of the line."),
        Column("event_time", "timestamp", "When it was paid, UTC."),
        Column("order_id", "string", "The order."),
        Column("line_number", "bigint", "The line within the order."),
        Column("user_hash", "string", "Pseudonym of the buyer; NULL for a guest, whose lines are never attributed."),
        Column("product_id", "string", "The product."),
        Column("currency", "string", "ISO 4217 code."),
        Column("line_amount", "decimal(28,4)", "quantity x unit_price, in `currency`."),
        Column("view_id", "string", "event_id of the view; NULL where there was none."),
        Column("viewed_at", "timestamp", "When it was viewed, UTC."),
        Column("search_id", "string", "event_id of the search; NULL where there was none."),
        Column("searched_at", "timestamp", "When it was searched, UTC."),
    ),
    Written.REPLACE,
    grain=("event_id", "event_time"),  # an id used again on another UTC date is another event
    stats=("event_time",),
)


def attributed_orders(orders: DataFrame, views: DataFrame, searches: DataFrame) -> DataFrame:
    """In: rows of silver.orders, silver.views, silver.searches. Out: candidates, one per paid line and touch, one for a line without."""
    paid = orders.withWatermark("event_time", LATENESS).where(_status() == "PAID").select(*_LINE)
    searched = searches.select("event_id", "event_time", "user_hash")
    touched = views.select("event_id", "event_time", "user_hash", "product_id").unionByName(searched, allowMissingColumns=True)
    touches = touched.withWatermark("event_time", LATENESS).select(
        F.col("user_hash").alias("toucher"),
        F.col("product_id").alias("touched"),
        F.col("event_id").alias("touch_id"),
        F.col("event_time").alias("touched_at"),
    )
    is_view = F.col("touched").isNotNull()
    near = (
        (F.col("user_hash") == F.col("toucher"))
        & (~is_view | (F.col("touched") == F.col("product_id")))
        & (F.col("touched_at") <= F.col("event_time"))
        & (F.col("touched_at") >= F.col("event_time") - F.expr(f"INTERVAL {REACH_MINUTES} MINUTES"))
    )
    return paid.join(touches, near, "left_outer").select(
        *_LINE,
        F.when(is_view, F.col("touch_id")).alias("view_id"),
        F.when(is_view, F.col("touched_at")).alias("viewed_at"),
        F.when(~is_view, F.col("touch_id")).alias("search_id"),
        F.when(~is_view, F.col("touched_at")).alias("searched_at"),
    )


def _status() -> SparkColumn:
    """A line's status. Spark pushes a filter below the watermark, which every line should move, unless it asks for the event time."""
    return F.when(F.col("event_time").isNotNull(), F.col("status"))


def settled(candidates: DataFrame) -> DataFrame:
    """In: rows of this table, several per line. Out: one per line, with the latest view and search; of equals the greater id."""
    view, search = F.struct("viewed_at", "view_id"), F.struct("searched_at", "search_id")
    return (
        candidates.groupBy(*_LINE)
        .agg(
            F.max(F.when(F.col("view_id").isNotNull(), view)).alias("view"),
            F.max(F.when(F.col("search_id").isNotNull(), search)).alias("search"),
        )
        .select(*_LINE, "view.view_id", "view.viewed_at", "search.search_id", "search.searched_at")
    )


FLOW = Join(
    TABLE,
    (
        Reads(ORDERS.table, (*_LINE, "status")),
        Reads(VIEWS.table, ("event_id", "event_time", "user_hash", "product_id")),
        Reads(SEARCHES.table, ("event_id", "event_time", "user_hash")),
    ),
    attributed_orders,
    settled,
    REACH_MINUTES,
)
