"""How many search, look and buy each minute."""

from decimal import Decimal

from pyspark.sql import SparkSession

from frames import assert_rows, at, computed, minute
from promolake.gold.funnel_per_minute import FLOW, TABLE

NOBODY = {"search_count": 0, "view_count": 0, "order_count": 0, "searcher_count": 0, "viewer_count": 0, "buyer_count": 0}
TOUCH = {"event_time": at("00:00:10"), "user_hash": "u1"}
SALE = TOUCH | {"order_id": "A", "status": "PAID", "line_amount": Decimal(10)}


def test_events_are_counted_and_a_known_user_once_per_stage(spark: SparkSession) -> None:
    searches = [TOUCH, TOUCH, TOUCH | {"user_hash": "u2"}]
    views = [TOUCH, TOUCH | {"user_hash": None}]
    sales = [SALE, SALE, SALE | {"order_id": "B"}]
    expected = {"search_count": 3, "view_count": 2, "order_count": 2, "searcher_count": 2, "viewer_count": 1, "buyer_count": 1}
    assert_rows(computed(spark, FLOW, searches, views, sales), spark, TABLE, [minute("00:00:00") | expected])


def test_only_a_sale_is_an_order_and_a_guests_has_no_known_buyer(spark: SparkSession) -> None:
    sales = [SALE | {"user_hash": None}, SALE | {"order_id": "B", "status": "PLACED"}, SALE | {"order_id": "C", "line_amount": Decimal(0)}]
    assert_rows(computed(spark, FLOW, [], [], sales), spark, TABLE, [minute("00:00:00") | NOBODY | {"order_count": 1}])


def test_a_minute_with_any_stage_has_a_row_and_the_others_are_zero(spark: SparkSession) -> None:
    expected = [
        minute("00:00:00") | NOBODY | {"search_count": 1, "searcher_count": 1},
        minute("00:01:00") | NOBODY | {"view_count": 1, "viewer_count": 1},
    ]
    assert_rows(computed(spark, FLOW, [TOUCH], [TOUCH | {"event_time": at("00:01:59.9")}], []), spark, TABLE, expected)
