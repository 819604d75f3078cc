"""Errors by level, not by word."""

from pyspark.sql import SparkSession

from frames import assert_rows, at, computed, minute
from promolake.gold.errors_per_minute import FLOW, TABLE

EVENT = {"event_time": at("00:00:10"), "service": "pay", "level": "ERROR"}


def test_only_the_level_error_is_an_error_and_every_event_is_counted(spark: SparkSession) -> None:
    events = [
        EVENT,
        EVENT,
        *(EVENT | {"level": level} for level in ("INFO", "WARN", "FATAL", "UNKNOWN")),
        EVENT | {"event_time": at("00:01:00")},
    ]
    expected = [
        minute("00:00:00") | {"service": "pay", "error_count": 2, "event_count": 6},
        minute("00:01:00") | {"service": "pay", "error_count": 1, "event_count": 1},
    ]
    assert_rows(computed(spark, FLOW, events), spark, TABLE, expected)


def test_a_service_without_errors_has_a_row_and_an_event_without_a_service_is_of_unknown(spark: SparkSession) -> None:
    events = [EVENT | {"level": "INFO"}, EVENT | {"service": None}]
    expected = [
        minute("00:00:00") | {"service": "pay", "error_count": 0, "event_count": 1},
        minute("00:00:00") | {"service": "unknown", "error_count": 1, "event_count": 1},
    ]
    assert_rows(computed(spark, FLOW, events), spark, TABLE, expected)
