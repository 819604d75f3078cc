"""One log event as applications write it: log4j, logback, Spring Boot and JSON, also as container runtimes wrap them."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from promolake.columns import event_time, payload
from promolake.columns.text import without

UNKNOWN = "UNKNOWN"
_MARK = "\x01"
_DATE_TIME = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?"
_TIME_OF_DAY = r"\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?"
_LEVEL = r"TRACE|DEBUG|INFO|WARNING|WARN|ERROR|SEVERE|FATAL|CRITICAL"
# Time, then perhaps [thread], then the level as a word of its own: an ERROR later in the message is no level. Each may be absent.
_HEAD = (
    rf"(?s)^(?:\[?({_DATE_TIME}|{_TIME_OF_DAY})\]?\s*+)?"
    rf"(?:(?:-\s++)?(?:\[[^\]\n]*+\]++\s*+){{0,3}}?\[?({_LEVEL})\]?(?=[\s:-]|$)\s*+)?(.*+)$"
)
_LOGGER_BEFORE = r"^(?:\d+ --- (?:\[[^\]\n]*\] )+)?(\w[\w.$\[\]]*)(?:#\d+| -| +:)\s"
_LOGGER_AFTER = r"^[^\n]*\(([\w.$]+)\)(?:\n|$)"
_NAMES = {
    "timestamp": ("timestamp", "@timestamp", "time", "ts"),
    "level": ("level", "severity", "log.level", "levelname"),
    "service": ("service", "service.name", "app", "application"),
    "logger": ("logger", "logger_name", "name"),
    "message": ("message", "msg"),
    "trace": ("stack_trace", "exception"),
}
_SCHEMA = ", ".join(f"`{name}` STRING" for names in _NAMES.values() for name in names) + ", `log` STRING"
# bunyan and pino number their levels (bunyan README, "Levels").
_NUMBERED = {"10": "TRACE", "20": "DEBUG", "30": "INFO", "40": "WARN", "50": "ERROR", "60": "FATAL"}
_LEVELS = {"WARNING": "WARN", "SEVERE": "ERROR", "CRITICAL": "FATAL"} | _NUMBERED


def outer(text: Column) -> Column:
    """The event's JSON object, where it is one."""
    return F.when(text.rlike(payload.OBJECT), F.from_json(text, _SCHEMA))


def inner(outer: Column) -> Column:
    """The JSON object inside a container runtime's wrapper (Docker's json-file driver: `log`, `stream`, `time`), where there is one."""
    return F.when(outer["log"].rlike(payload.OBJECT), F.from_json(outer["log"], _SCHEMA))


def head(text: Column, outer: Column, inner: Column) -> Column:
    """A plain line as [time, level, rest], empty where absent; NULL where the event is JSON throughout."""
    line = F.when(outer.isNull(), text).when(inner.isNull() & outer["log"].isNotNull(), F.rtrim(outer["log"], F.lit("\n")))
    return F.split(F.regexp_replace(without(line, _MARK), _HEAD, f"$1{_MARK}$2{_MARK}$3"), _MARK)


def fields(outer: Column, inner: Column, head: Column, key: Column) -> dict[str, Column]:
    """The promised texts, `event_time` as a timestamp; `key` (the message's) names the service where the event does not."""

    def named(what: str) -> Column:
        return F.coalesce(*(json[name] for json in (inner, outer) for name in _NAMES[what]))

    line_time, line_level, rest = (F.get(head, F.lit(n)) for n in range(3))
    given = F.coalesce(named("timestamp"), F.when(line_time.rlike(rf"^{_DATE_TIME}$"), line_time))
    message = F.coalesce(rest, named("message"), outer["log"])
    logger_before, logger_after = F.regexp_extract(rest, _LOGGER_BEFORE, 1), F.regexp_extract(rest, _LOGGER_AFTER, 1)
    return {
        "event_time": event_time.parsed(_with_offset(given)),
        "event_time_text": given,
        "level": _level(F.coalesce(_filled(line_level), named("level"))),
        "service": F.coalesce(named("service"), key),
        "logger": F.coalesce(_filled(logger_before), _filled(logger_after), named("logger")),
        "message": F.concat_ws("\n", message, named("trace")),
    }


def _filled(text: Column) -> Column:
    return F.when(text != "", text)


def _with_offset(given: Column) -> Column:
    """Log lines rarely name their offset: without one they are UTC, as the contract says."""
    return F.when(given.rlike(r"^\d{4}-\d{2}-\d{2}[T ][\d:.,]+$"), F.concat(given, F.lit("Z"))).otherwise(given)


def _level(level: Column) -> Column:
    upper = F.upper(F.trim(level))
    known = F.create_map(*(F.lit(text) for pair in _LEVELS.items() for text in pair))
    return F.coalesce(F.try_element_at(known, upper), upper, F.lit(UNKNOWN))
