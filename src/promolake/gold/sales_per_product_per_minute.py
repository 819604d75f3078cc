"""Which products sell, minute by minute? Ranking them is a view's work (`top_products`).

A sale is a PAID line with a positive quantity and price. Late rows are added to their minute, however late.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.gold.window import STATS, WINDOW, window_end, window_start
from promolake.silver.orders import FLOW as ORDERS

TABLE = Table(
    "gold.sales_per_product_per_minute",
    "Sales per minute, currency and product.",
    (
        *WINDOW,
        Column("currency", "string", "ISO 4217 code."),
        Column("product_id", "string", "The product."),
        Column("sales_amount", "decimal(28,4)", "Sum of the sales, in `currency`."),
        Column("unit_count", "bigint", "Units sold."),
        Column("sale_count", "bigint", "Order lines sold."),
    ),
    Written.ACCUMULATE,
    grain=("window_start", "currency", "product_id"),
    stats=STATS,
)


def sales_per_product_per_minute(orders: DataFrame) -> DataFrame:
    """In: rows of silver.orders, any. Out: what they add, one row per minute, currency and product with a sale."""
    return (
        orders.where((F.col("status") == "PAID") & (F.col("line_amount") > 0))
        .groupBy(window_start(), "currency", "product_id")
        .agg(
            F.sum("line_amount").cast("decimal(28,4)").alias("sales_amount"),
            F.sum("quantity").alias("unit_count"),
            F.count("*").alias("sale_count"),
        )
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


FLOW = Metric(
    TABLE,
    (Reads(ORDERS.table, ("event_time", "currency", "product_id", "status", "line_amount", "quantity")),),
    sales_per_product_per_minute,
)
