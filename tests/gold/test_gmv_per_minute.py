"""GMV is what was paid; refunds stand beside it, negative; currencies are never added."""

from decimal import Decimal
from typing import Any

from pyspark.sql import SparkSession

from frames import assert_rows, at, computed, minute
from promolake.gold.gmv_per_minute import FLOW, TABLE

NOTHING = {"gmv_amount": Decimal(0), "refund_amount": Decimal(0), "ordered_amount": Decimal(0), "order_count": 0, "unit_count": 0,
           "buyer_count": 0, "sale_count": 0}  # fmt: skip
SHOES = {"currency": "CNY", "category": "shoes"}


def line(clock: str, amount: str, **others: Any) -> dict[str, Any]:
    """A paid line of one unit."""
    return (
        {"event_time": at(clock), "line_amount": Decimal(amount), "status": "PAID", "order_id": "A", "quantity": 1, "user_hash": "u1"}
        | SHOES
        | others
    )


def row(clock: str, **figures: Any) -> dict[str, Any]:
    return minute(clock) | SHOES | NOTHING | {name: Decimal(value) if name.endswith("amount") else value for name, value in figures.items()}


def gmv(spark: SparkSession, *lines: dict[str, Any]):
    return computed(spark, FLOW, lines)


def test_a_minute_adds_its_paid_lines_and_no_other_minutes(spark: SparkSession) -> None:
    found = gmv(spark, line("00:00:00", "10.0001", quantity=3), line("00:00:59.999999", "0.0001"), line("00:01:00", "7"))
    expected = [
        row("00:00:00", gmv_amount="10.0002", order_count=1, unit_count=4, buyer_count=1, sale_count=2),
        row("00:01:00", gmv_amount="7", order_count=1, unit_count=1, buyer_count=1, sale_count=1),
    ]
    assert_rows(found, spark, TABLE, expected)


def test_an_order_counts_once_however_many_lines_it_has(spark: SparkSession) -> None:
    found = gmv(spark, line("00:00:00", "1"), line("00:00:01", "1"), line("00:00:02", "1", order_id="B", user_hash="u2"))
    assert_rows(found, spark, TABLE, [row("00:00:00", gmv_amount="3", order_count=2, unit_count=3, buyer_count=2, sale_count=3)])


def test_a_guests_sale_counts_but_a_guest_is_no_known_buyer(spark: SparkSession) -> None:
    found = gmv(spark, line("00:00:00", "5", user_hash=None))
    assert_rows(found, spark, TABLE, [row("00:00:00", gmv_amount="5", order_count=1, unit_count=1, sale_count=1)])


def test_a_gift_counts_nowhere(spark: SparkSession) -> None:
    assert_rows(gmv(spark, line("00:00:00", "0", quantity=2)), spark, TABLE, [row("00:00:00")])


def test_cancelled_and_refunded_lines_are_negative_refunds_whatever_their_sign_and_no_sales(spark: SparkSession) -> None:
    refunds = [line("00:00:00", "-5", status="REFUNDED", quantity=-1), line("00:00:01", "3", status="CANCELLED"), line("00:00:02", "20")]
    expected = row("00:00:00", gmv_amount="20", refund_amount="-8", order_count=1, unit_count=1, buyer_count=1, sale_count=1)
    assert_rows(gmv(spark, *refunds), spark, TABLE, [expected])


def test_a_placed_line_is_ordered_but_not_sold(spark: SparkSession) -> None:
    assert_rows(gmv(spark, line("00:00:00", "9", status="PLACED")), spark, TABLE, [row("00:00:00", ordered_amount="9")])


def test_amounts_of_different_currencies_and_categories_are_never_added(spark: SparkSession) -> None:
    found = gmv(spark, line("00:00:00", "1"), line("00:00:00", "2", currency="EUR"), line("00:00:00", "4", category="hats"))
    sold = {"order_count": 1, "unit_count": 1, "buyer_count": 1, "sale_count": 1}
    expected = [
        row("00:00:00", gmv_amount="1", **sold),
        row("00:00:00", gmv_amount="2", **sold) | {"currency": "EUR"},
        row("00:00:00", gmv_amount="4", **sold) | {"category": "hats"},
    ]
    assert_rows(found, spark, TABLE, expected)


def test_a_line_without_a_category_is_of_category_unknown(spark: SparkSession) -> None:
    found = gmv(spark, line("00:00:00", "1", category=None))
    expected = row("00:00:00", gmv_amount="1", order_count=1, unit_count=1, buyer_count=1, sale_count=1) | {"category": "unknown"}
    assert_rows(found, spark, TABLE, [expected])


def test_a_late_row_gives_its_minute_anew(spark: SparkSession) -> None:
    on_time = [line("00:00:00", "1"), line("00:01:00", "2")]
    found = gmv(spark, *on_time, line("00:00:30", "4", order_id="late"))
    sold = {"buyer_count": 1}
    expected = [
        row("00:00:00", gmv_amount="5", order_count=2, unit_count=2, sale_count=2, **sold),
        row("00:01:00", gmv_amount="2", order_count=1, unit_count=1, sale_count=1, **sold),
    ]
    assert_rows(found, spark, TABLE, expected)


def test_the_largest_amounts_add_up_without_overflow(spark: SparkSession) -> None:
    largest = "999999999999900000"
    found = gmv(spark, *(line("00:00:00", largest, quantity=10**9) for _ in range(3)))
    expected = row("00:00:00", gmv_amount="2999999999999700000", order_count=1, unit_count=3 * 10**9, buyer_count=1, sale_count=3)
    assert_rows(found, spark, TABLE, [expected])
