"""Sales per product: what was paid for, and nothing else."""

from decimal import Decimal

from pyspark.sql import SparkSession

from frames import assert_rows, at, computed, minute
from promolake.gold.sales_per_product_per_minute import FLOW, TABLE

LINE = {"event_time": at("00:00:10"), "currency": "CNY", "product_id": "p1", "status": "PAID", "line_amount": Decimal(10), "quantity": 2}
ROW = minute("00:00:00") | {"currency": "CNY", "product_id": "p1", "sales_amount": Decimal(10), "unit_count": 2, "sale_count": 1}


def test_a_products_paid_lines_add_up_per_minute_and_currency(spark: SparkSession) -> None:
    lines = [LINE, LINE, LINE | {"product_id": "p2"}, LINE | {"currency": "EUR"}, LINE | {"event_time": at("00:01:00")}]
    twice = ROW | {"sales_amount": Decimal(20), "unit_count": 4, "sale_count": 2}
    assert_rows(
        computed(spark, FLOW, lines), spark, TABLE, [twice, ROW | {"product_id": "p2"}, ROW | {"currency": "EUR"}, ROW | minute("00:01:00")]
    )


def test_gifts_refunds_and_unpaid_lines_are_no_sales(spark: SparkSession) -> None:
    others = [LINE | {"line_amount": Decimal(0)}, *(LINE | {"status": status} for status in ("PLACED", "CANCELLED", "REFUNDED"))]
    assert_rows(computed(spark, FLOW, others), spark, TABLE, [])
