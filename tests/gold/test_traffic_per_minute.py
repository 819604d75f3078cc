"""The site's requests, page views and visitors."""

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from frames import assert_rows, at, computed, minute
from promolake.core.table import Table
from promolake.gold.traffic_per_minute import FLOW, TABLE

REQUEST = {"event_time": at("00:00:10"), "ip": "1.1.1.1", "status": 200, "bytes": 100, "is_page_view": True}
COUNTS = Table(TABLE.name, "", tuple(column for column in TABLE.columns if column.name != "visitor_sketch"))


def test_requests_pages_failures_and_bytes_are_counted_and_a_visitor_once(spark: SparkSession) -> None:
    requests = [
        REQUEST,
        REQUEST | {"is_page_view": False, "bytes": 0},
        REQUEST | {"ip": "2.2.2.2", "status": 404, "is_page_view": False},
        REQUEST | {"ip": "::1", "status": 500, "is_page_view": False},
        REQUEST | {"status": 399, "is_page_view": False},
        REQUEST | {"event_time": at("00:01:00")},
    ]
    expected = [
        minute("00:00:00") | {"request_count": 5, "page_view_count": 1, "visitor_count": 3, "failed_count": 2, "byte_count": 400},
        minute("00:01:00") | {"request_count": 1, "page_view_count": 1, "visitor_count": 1, "failed_count": 0, "byte_count": 100},
    ]
    assert_rows(computed(spark, FLOW, requests).drop("visitor_sketch"), spark, COUNTS, expected)


def test_sketches_of_minutes_unite_to_the_visitors_of_their_span(spark: SparkSession) -> None:
    ips = [f"10.0.{n // 250}.{n % 250}" for n in range(1_000)]
    requests = [REQUEST | {"ip": ip, "event_time": at("00:00:00")} for ip in ips[:600]] + [
        REQUEST | {"ip": ip, "event_time": at("00:01:00")} for ip in ips[400:]
    ]
    per_minute = computed(spark, FLOW, requests)
    (found,) = per_minute.agg(F.sum("visitor_count"), F.hll_sketch_estimate(F.hll_union_agg("visitor_sketch")).alias("visitors")).collect()
    assert found[0] == 1_200
    assert abs(found["visitors"] - 1_000) < 3 * 0.016 * 1_000  # three standard errors


def test_the_sketch_of_a_few_visitors_counts_them_exactly(spark: SparkSession) -> None:
    requests = [REQUEST | {"ip": f"10.0.0.{n % 150}"} for n in range(400)]
    (found,) = computed(spark, FLOW, requests).select(F.hll_sketch_estimate("visitor_sketch").alias("visitors")).collect()
    assert found["visitors"] == 150


def test_minutes_without_a_request_have_no_row(spark: SparkSession) -> None:
    assert computed(spark, FLOW, []).isEmpty()
