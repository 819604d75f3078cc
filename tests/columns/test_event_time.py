"""Whatever a producer promised to send as a time becomes a UTC timestamp, or a reason."""

from datetime import UTC, datetime

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from frames import BROKER_TIME, evaluated
from promolake.columns import event_time

DAY = datetime(2026, 11, 11, tzinfo=UTC)
BEFORE_MIDNIGHT = datetime(2026, 11, 10, 16, tzinfo=UTC)


def parsed(spark: SparkSession, given: list[str]) -> dict[str, datetime | None]:
    return dict(zip(given, evaluated(spark, given, event_time.parsed), strict=True))


def test_iso_text_with_an_offset_is_that_instant_in_utc(spark: SparkSession) -> None:
    expected = {
        "2026-11-11T00:00:00Z": DAY,
        "2026-11-11 00:00:00Z": DAY,
        "2026-11-11T00:00:00+08:00": BEFORE_MIDNIGHT,
        "2026-11-11T00:00:00+0800": BEFORE_MIDNIGHT,
        "2026-11-11T00:00:00+08": BEFORE_MIDNIGHT,
        "2026-11-10T20:30:00-03:30": DAY,
        "2026-11-11T00:00Z": DAY,  # as Java's OffsetDateTime prints a full minute
        "2026-11-11T00:00+08:00": BEFORE_MIDNIGHT,
    }
    assert parsed(spark, list(expected)) == expected


def test_fractions_of_a_second_are_kept_to_the_microsecond(spark: SparkSession) -> None:
    expected = {
        "2026-11-11T00:00:00.5Z": DAY.replace(microsecond=500_000),
        "2026-11-11T00:00:00,120Z": DAY.replace(microsecond=120_000),
        "2026-11-11T00:00:00.123456789Z": DAY.replace(microsecond=123_456),
        "2026-11-11T00:00:00.1234567891Z": None,
    }
    assert parsed(spark, list(expected)) == expected


def test_a_number_is_epoch_seconds_or_from_twelve_digits_on_milliseconds(spark: SparkSession) -> None:
    expected = {
        "1794355200": DAY,
        "1794355200.25": DAY.replace(microsecond=250_000),
        "1.79435520025E9": DAY.replace(microsecond=250_000),  # what Spark's JSON reader makes of 1794355200.25
        "1794355200123": DAY.replace(microsecond=123_000),
        "1.794355200123E12": DAY.replace(microsecond=123_000),
        "1794355200123.5": DAY.replace(microsecond=123_500),
        "0": datetime(1970, 1, 1, tzinfo=UTC),
        "-1": datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        "99999999999": datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC),
        "100000000000": datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC),
    }
    assert parsed(spark, list(expected)) == expected


def test_a_time_without_an_offset_is_refused(spark: SparkSession) -> None:
    assert set(parsed(spark, ["2026-11-11T00:00:00", "2026-11-11 00:00:00.120", "2026-11-11", "00:00:00Z"]).values()) == {None}


def test_what_is_no_time_is_null_and_never_an_error(spark: SparkSession) -> None:
    given = ["yesterday", "true", "", " ", "{}", "2026-02-30T00:00:00Z", "2026-11-11T24:00:00Z", "2026-11-11T00:00:60Z", "20261111T000000Z"]
    given += ["2026-11-11T00:00:00+19:00", "292278-01-01T00:00:00Z", "9" * 18, "1e99", "NaN", "٢٠٢٦-11-11T00:00:00Z", "9" * 60_000]
    assert set(parsed(spark, given).values()) == {None}


def test_the_reason_says_what_is_wrong_with_a_time(spark: SparkSession) -> None:
    expected = {
        "2099-01-01T00:00:00Z": "ts_future",
        "9999-12-31T23:59:59Z": "ts_future",
        "1970-01-01T00:00:00Z": "ts_ancient",
        "0": "ts_ancient",
        "1989-12-31T23:59:59.999999Z": "ts_ancient",
        "1990-01-01T00:00:00Z": None,
        "yesterday": "ts_format",
        "2026-11-11T00:00:00": "ts_format",
        "": "ts_null",
        "  ": "ts_null",
        None: "ts_null",
        "2026-11-11T12:00:00Z": None,
    }
    broker_time = F.lit(BROKER_TIME)
    reasons = evaluated(spark, list(expected), lambda given: event_time.problem(given, event_time.parsed(given), broker_time))
    assert dict(zip(expected, reasons, strict=True)) == expected


def test_a_producers_clock_may_run_five_minutes_ahead_of_the_brokers_and_no_more(spark: SparkSession) -> None:
    given = ["2026-11-11T12:05:00Z", "2026-11-11T12:05:00.000001Z"]
    broker_time = F.lit(BROKER_TIME)
    assert evaluated(spark, given, lambda text: event_time.problem(text, event_time.parsed(text), broker_time)) == [None, "ts_future"]


def test_a_minute_contains_its_first_instant_and_not_that_of_the_next(spark: SparkSession) -> None:
    given = ["2026-11-11T00:00:00Z", "2026-11-11T00:00:59.999999Z", "2026-11-11T00:01:00Z"]
    start = DAY.replace(minute=1)
    assert evaluated(spark, given, lambda text: event_time.minute(event_time.parsed(text))) == [DAY, DAY, start]
    ends = evaluated(spark, given, lambda text: event_time.minute_end(event_time.minute(event_time.parsed(text))))
    assert ends == [start, start, DAY.replace(minute=2)]
