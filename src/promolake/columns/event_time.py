"""Event time: whatever a producer promised to send becomes a UTC timestamp, or a reason."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

AHEAD = "INTERVAL 5 MINUTES"
"""How far a producer's clock may run ahead of the broker's before the event counts as from the future."""

EARLIEST = "1990-01-01 00:00:00"
"""Nothing a web shop sends is older; an epoch of 0, or seconds read as milliseconds, is."""

_ISO = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)$"
_EPOCH = r"^-?\d{1,18}(\.\d{1,18})?(E\d{1,2})?$"  # a JSON number with a fraction comes as a double prints: 1.7672256005E9
_TO_THE_MINUTE = "yyyy-MM-dd['T'][ ]HH:mm[XXX][XX][X]"  # as Java's OffsetDateTime prints a full minute
_MILLISECONDS_FROM = 100_000_000_000  # as seconds this would be the year 5138; as milliseconds it is 1973


def parsed(given: Column) -> Column:
    """ISO-8601 with an offset, epoch seconds or epoch milliseconds (text) as a timestamp; NULL when it is none of them.

    A number of 12 or more digits before the point is milliseconds. ISO text without an offset is refused: guessing a zone moves money
    between days.
    """
    number = given.try_cast("decimal(28,9)")
    micros = F.when(F.abs(number) >= _MILLISECONDS_FROM, number * 1_000).otherwise(number * 1_000_000)
    iso = F.coalesce(F.try_to_timestamp(F.replace(given, F.lit(","), F.lit("."))), F.try_to_timestamp(given, F.lit(_TO_THE_MINUTE)))
    return F.when(given.rlike(_EPOCH), F.timestamp_micros(micros.try_cast("bigint"))).when(given.rlike(_ISO), iso)


def problem(given: Column, event_time: Column, broker_time: Column) -> Column:
    """ts_null, ts_format, ts_ancient or ts_future; NULL when the event time is plausible.

    It is judged against the broker's timestamp, which stands in the row, not against a clock: a replay judges alike. This comes
    before any watermark, so one row from the future moves none (reliability.md 2.5).
    """
    return (
        F.when(given.isNull() | (F.trim(given) == ""), "ts_null")
        .when(event_time.isNull(), "ts_format")
        .when(event_time < F.lit(EARLIEST).cast("timestamp"), "ts_ancient")
        .when(event_time > broker_time + F.expr(AHEAD), "ts_future")
    )


def minute(event_time: Column) -> Column:
    """The start of the minute an event falls into, UTC."""
    return F.date_trunc("minute", event_time)


def minute_end(window_start: Column) -> Column:
    return window_start + F.expr("INTERVAL 1 MINUTE")
