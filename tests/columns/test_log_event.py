"""One log event, however its application or its container writes it."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession

from frames import parsed_rows, record
from promolake.sources.logs import TOPIC

AT = datetime(2026, 11, 11, tzinfo=UTC)
MS = AT.replace(microsecond=120_000)
TRACE = "java.io.IOException: broken\n\tat kafka.X.y(X.scala:1)\nCaused by: java.lang.Error: disk\n\t... 3 more"


def docker(log: str) -> str:
    """As Docker's json-file driver wraps a line."""
    return json.dumps({"log": log, "stream": "stdout", "time": "2026-11-11T00:00:00.120345678Z"})


# case: event, its time, level, service, logger, message
EVENTS: dict[str, tuple[str, datetime, str, str, str | None, str]] = {
    "log4j as Kafka writes it, with a stack trace": (
        f"[2026-11-11 00:00:00,120] ERROR Error when sending message (kafka.server.KafkaApis)\n{TRACE}",
        MS, "ERROR", "key", "kafka.server.KafkaApis", f"Error when sending message (kafka.server.KafkaApis)\n{TRACE}",
    ),
    "logback": (
        "2026-11-11 00:00:00.120 [http-1] ERROR com.shop.Pay - refused", MS, "ERROR", "key", "com.shop.Pay", "com.shop.Pay - refused",
    ),
    "a level that is padded": (
        "2026-11-11 00:00:00.120 INFO  com.shop.Pay - paid", MS, "INFO", "key", "com.shop.Pay", "com.shop.Pay - paid",
    ),
    "Spring Boot 2": (
        "2026-11-11 00:00:00.120  WARN 4711 --- [nio-8080-exec-1] c.s.payment.PaymentController   : slow",
        MS, "WARN", "key", "c.s.payment.PaymentController", "4711 --- [nio-8080-exec-1] c.s.payment.PaymentController   : slow",
    ),
    "Spring Boot 3": (
        "2026-11-11T08:00:00.120+08:00  INFO 1 --- [shop] [main] c.s.Main : up",
        MS, "INFO", "key", "c.s.Main", "1 --- [shop] [main] c.s.Main : up",
    ),
    "a dash before the level": ("2026-11-11 00:00:00,120 - INFO  [main] - up", MS, "INFO", "key", None, "[main] - up"),
    "a level in brackets": ("2026-11-11 00:00:00.120 [ERROR] down", MS, "ERROR", "key", None, "down"),
    "a thread with brackets in its name": ("2026-11-11 00:00:00.120 [pool[3]] ERROR down", MS, "ERROR", "key", None, "down"),
    "nothing behind the level": ("2026-11-11 00:00:00.120 [main] ERROR", MS, "ERROR", "key", None, ""),
    "SEVERE is an error": ("2026-11-11 00:00:00.120 SEVERE boom", MS, "ERROR", "key", None, "boom"),
    "an INFO that mentions an ERROR": (
        "2026-11-11 00:00:00.120 INFO a.Pay - an ERROR was handled", MS, "INFO", "key", "a.Pay", "a.Pay - an ERROR was handled",
    ),
    "an INFO whose message begins so": ("2026-11-11 00:00:00.120 [INFO] ERROR rate is 0", MS, "INFO", "key", None, "ERROR rate is 0"),
    "a word that only begins like a level": ("2026-11-11 00:00:00.120 ERRORS: none", MS, "UNKNOWN", "key", None, "ERRORS: none"),
    "a line without a level": ("2026-11-11 00:00:00.120 [main] started", MS, "UNKNOWN", "key", None, "[main] started"),
    "JSON": (
        '{"timestamp":"2026-11-11T00:00:00.120Z","level":"error","service":"pay","logger":"c.s.P","message":"refused"}',
        MS, "ERROR", "pay", "c.s.P", "refused",
    ),
    "JSON behind blank lines": ('\n {"timestamp":"2026-11-11T00:00:00.120Z","level":"ERROR","message":"x"}', MS, "ERROR", "key", None, "x"),
    "JSON as logstash writes it": (
        '{"@timestamp":"2026-11-11T00:00:00.120Z","severity":"WARNING","logger_name":"P","message":"m","stack_trace":"X\\n\\tat a.b"}',
        MS, "WARN", "key", "P", "m\nX\n\tat a.b",
    ),
    "JSON as ECS writes it": (
        '{"@timestamp":"2026-11-11T00:00:00.120Z","log.level":"ERROR","service.name":"pay","message":"m"}', MS, "ERROR", "pay", None, "m",
    ),
    "pino numbers its levels and counts milliseconds": (
        '{"level":50,"time":1794355200120,"name":"shop","msg":"m"}', MS, "ERROR", "key", "shop", "m",
    ),
    "a level as a numeric text": ('{"level":"30","time":1794355200120,"msg":"m"}', MS, "INFO", "key", None, "m"),
    "zap counts seconds with a fraction": ('{"level":"info","ts":1794355200.12,"logger":"z","msg":"m"}', MS, "INFO", "key", "z", "m"),
    "Python names its levels its own way": (
        '{"ts":"2026-11-11T00:00:00","levelname":"CRITICAL","app":"py","message":"m"}', AT, "FATAL", "py", None, "m",
    ),
    "JSON that names no level": ('{"timestamp":"2026-11-11T00:00:00Z","message":"ERROR"}', AT, "UNKNOWN", "key", None, "ERROR"),
    "Docker around a plain line": (
        docker("18:19:19.694 WARN  i.s.PaymentImpl#71 not allowed\n"), AT.replace(microsecond=120_345), "WARN", "key", "i.s.PaymentImpl",
        "i.s.PaymentImpl#71 not allowed",
    ),
    "Docker around JSON": (
        docker('{"timestamp":"2026-11-11T00:00:00Z","level":"ERROR","service":"pay","message":"m"}\n'), AT, "ERROR", "pay", None, "m",
    ),
    "Docker around a line without shape": (docker("starting\n"), AT.replace(microsecond=120_345), "UNKNOWN", "key", None, "starting"),
}  # fmt: skip
WITHOUT_TIME = [
    "no shape at all",
    "ERROR an event that names no time",
    "18:19:19.694 ERROR only a time of day",
    '{"level":"ERROR"}',
    "{broken",
    "[]",
    "null",
]
HOSTILE = {
    "a long stack trace": "2026-11-11 00:00:00 ERROR boom\n" + "\tat x.Y(Y.java:1)\n" * 3_300,
    "brackets": "2026-11-11 00:00:00 ERROR " + "(a" * 30_000,
    "dots": "2026-11-11 00:00:00 ERROR " + "a." * 30_000,
    "threads": "2026-11-11 00:00:00 " + "[a] " * 15_000,
    "blanks": "2026-11-11 00:00:00 " + " " * 60_000,
    "levels": "ERROR " * 10_000,
    "braces": "{" * 60_000,
    "braces in Docker's wrapper": docker("{" * 60_000),
}


@pytest.fixture(scope="module")
def found(spark: SparkSession) -> dict[str, dict[str, Any]]:
    cases = {case: event[0] for case, event in EVENTS.items()} | {text: text for text in WITHOUT_TIME}
    return dict(zip(cases, parsed_rows(spark, [record(TOPIC, text, key=b"key") for text in cases.values()]), strict=True))


@pytest.mark.parametrize("case", EVENTS)
def test_an_event_is_read(found: dict[str, dict[str, Any]], case: str) -> None:
    _, at, level, service, logger, message = EVENTS[case]
    event = found[case]["silver"]
    assert (event["event_time"], event["level"], event["service"], event["logger"], event["message"]) == (
        at,
        level,
        service,
        logger,
        message,
    )


@pytest.mark.parametrize("text", WITHOUT_TIME)
def test_an_event_that_names_no_time_is_refused(found: dict[str, dict[str, Any]], text: str) -> None:
    assert found[text]["violations"] == ["ts_null"]


def test_a_hostile_event_of_60_kb_neither_overflows_the_stack_nor_takes_long(spark: SparkSession) -> None:
    started = time.monotonic()
    rows = parsed_rows(spark, [record(TOPIC, text) for text in HOSTILE.values()] * 3)
    assert time.monotonic() - started < 60
    assert [row["violations"] for row in rows[: len(HOSTILE)]] == [[], [], [], [], [], ["ts_null"], ["ts_null"], []]
