"""Who asks how often."""

from pyspark.sql import SparkSession

from frames import assert_rows, at, computed, minute
from promolake.gold.requests_per_ip_per_minute import FLOW, TABLE

REQUEST = {"event_time": at("00:00:10"), "ip": "1.1.1.1", "status": 200, "is_page_view": True}


def test_each_address_has_its_own_counts_per_minute(spark: SparkSession) -> None:
    requests = [
        REQUEST,
        REQUEST | {"status": 404, "is_page_view": False},
        REQUEST | {"status": 503, "is_page_view": False},
        REQUEST | {"ip": "::1", "is_page_view": False},
        REQUEST | {"event_time": at("00:01:00")},
    ]
    one_page = {"request_count": 1, "page_view_count": 1, "failed_count": 0}
    expected = [
        minute("00:00:00") | {"ip": "1.1.1.1", "request_count": 3, "page_view_count": 1, "failed_count": 2},
        minute("00:00:00") | {"ip": "::1", "request_count": 1, "page_view_count": 0, "failed_count": 0},
        minute("00:01:00") | {"ip": "1.1.1.1"} | one_page,
    ]
    assert_rows(computed(spark, FLOW, requests), spark, TABLE, expected)
