"""What was sold in each minute, by currency and category?

GMV is what was paid: a sale is a PAID line with a positive quantity and price (a price of 0 is a gift and counts nowhere).
Cancelled and refunded lines count into refunds only, as a negative amount, so net = gmv_amount + refund_amount.
Late rows: the minute is computed anew from silver, however late.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.columns.distinct import distinct_count
from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.gold.window import STATS, WINDOW, window_end, window_start
from promolake.silver.orders import FLOW as ORDERS

NO_CATEGORY = "unknown"

TABLE = Table(
    "gold.gmv_per_minute",
    "Sales and refunds per minute, currency and category.",
    (
        *WINDOW,
        Column("currency", "string", "ISO 4217 code."),
        Column("category", "string", "Product category; `unknown` where the line names none."),
        Column("gmv_amount", "decimal(28,4)", "Sum of the sales, in `currency`."),
        Column("refund_amount", "decimal(28,4)", "Sum of cancelled and refunded lines, negative, in `currency`."),
        Column("ordered_amount", "decimal(28,4)", "Sum of the placed lines, paid or not, in `currency`."),
        Column("order_count", "bigint", "Distinct orders with a sale; one of two categories counts in both (once in funnel_per_minute)."),
        Column("unit_count", "bigint", "Units sold."),
        Column("buyer_count", "bigint", "Distinct known buyers with a sale; guests are not counted."),
        Column("sale_count", "bigint", "Order lines sold."),
    ),
    Written.REPLACE,
    grain=("window_start", "currency", "category"),
    stats=STATS,
)


def gmv_per_minute(orders: DataFrame) -> DataFrame:
    """In: rows of silver.orders, whole minutes. Out: one row per minute, currency and category that has an order line."""
    is_sale = (F.col("status") == "PAID") & (F.col("line_amount") > 0)
    is_refund = F.col("status").isin("CANCELLED", "REFUNDED")
    is_placed = F.col("status") == "PLACED"
    nothing = F.lit(0).cast("decimal(28,4)")
    return (
        orders.groupBy(window_start(), "currency", F.coalesce("category", F.lit(NO_CATEGORY)).alias("category"))
        .agg(
            F.sum(F.when(is_sale, F.col("line_amount")).otherwise(nothing)).cast("decimal(28,4)").alias("gmv_amount"),
            F.sum(F.when(is_refund, -F.abs("line_amount")).otherwise(nothing)).cast("decimal(28,4)").alias("refund_amount"),
            F.sum(F.when(is_placed, F.col("line_amount")).otherwise(nothing)).cast("decimal(28,4)").alias("ordered_amount"),
            distinct_count(F.when(is_sale, F.col("order_id"))).alias("order_count"),
            F.sum(F.when(is_sale, F.col("quantity")).otherwise(0)).alias("unit_count"),
            distinct_count(F.when(is_sale, F.col("user_hash"))).alias("buyer_count"),
            F.count_if(is_sale).alias("sale_count"),
        )
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


FLOW = Metric(
    TABLE,
    (Reads(ORDERS.table, ("event_time", "currency", "category", "status", "line_amount", "order_id", "quantity", "user_hash")),),
    gmv_per_minute,
)
