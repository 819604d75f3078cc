"""silver.log_events: every application log event with its level, personal data in the message masked."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn

from promolake.columns import masking as m
from promolake.core.rule import Row
from promolake.core.table import Column
from promolake.silver.entity import ingest
from promolake.sources.logs import TOPIC


def projection(event: Row) -> dict[str, SparkColumn]:
    kept = ("level", "service", "logger")
    return {name: event(name) for name in kept} | {"message": m.message_masked(event("message"))}


FLOW = ingest(
    TOPIC,
    "log_events",
    "Application log events.",
    (
        Column("level", "string", "TRACE, DEBUG, INFO, WARN, ERROR, FATAL; UNKNOWN where the event names none."),
        Column("service", "string", "The application."),
        Column("logger", "string", "The logger."),
        Column("message", "string", "The message with its stack trace, personal data masked."),
    ),
    projection,
    rules=(),
)
