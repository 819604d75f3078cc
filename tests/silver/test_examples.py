"""Each topic's contract examples are valid, give the silver rows they promise, and tell no sensitive field in clear."""

import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from frames import BROKER_TIME, INGESTS, KEY, parsed_rows, record
from promolake.core.topic import Topic
from promolake.sources import TOPICS

KAFKA = ("partition", "offset", "kafka_timestamp", "payload_hash")


def pseudonym(text: str) -> str:
    return f"v1:{hmac.new(KEY, text.encode(), 'sha256').hexdigest()[:32]}"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


SILVER: dict[str, list[dict[str, Any]]] = {
    "shop.searches": [
        {"event_id": "s-1", "event_time": utc(2026, 11, 10, 16, 0, 0, 123_000), "user_hash": pseudonym("u7"), "session_id": "v1",
         "query": "running shoes", "result_count": 120, "ip": "203.0.113.9", "device": "ios"},
    ],
    "shop.views": [
        {"event_id": "v-1", "event_time": utc(2026, 11, 11, 0, 0, 1), "user_hash": pseudonym("u7"), "session_id": "v1", "product_id": "p42",
         "category": "shoes", "referrer": "search", "search_id": "s-1", "ip": "203.0.113.9", "device": "ios"},
    ],
    "shop.orders": [
        {"event_id": "o-1", "event_time": utc(2026, 11, 10, 16, 0, 0, 120_000), "order_id": "A1", "line_number": 1,
         "user_hash": pseudonym("u7"), "product_id": "p42", "category": "shoes", "quantity": 2, "unit_price": Decimal("19.9"),
         "line_amount": Decimal("39.8"), "currency": "CNY", "status": "PAID", "coupon_id": None, "channel": "app", "ip": "203.0.113.9",
         "receiver_name_masked": "L**", "receiver_phone_masked": "138****5678", "receiver_phone_hash": pseudonym("13812345678"),
         "receiver_email_masked": "l***@example.com", "receiver_email_hash": pseudonym("li.lei@example.com"),
         "receiver_address_masked": "***", "payment_method": "card", "card_number_masked": "****1111"},
    ],
    "site.access": [
        {"event_id": "site.access-0-{offset}", "event_time": utc(2015, 5, 17, 10, 5, 3), "ip": "83.149.9.216", "method": "GET",
         "status": 200, "path": "/shoes?size=42", "bytes": 203_023, "referrer": "http://example.com/",
         "agent": "Mozilla/5.0", "is_page_view": True},
        {"event_id": "site.access-0-{offset}", "event_time": utc(2015, 5, 17, 10, 5, 3), "ip": "83.149.9.216", "method": "GET",
         "status": 304, "path": "/", "bytes": 0, "referrer": None, "agent": None, "is_page_view": False},
    ],
    "machine.metrics": [
        {"event_id": "m-1", "event_time": utc(2026, 11, 10, 16), "host": "web-1", "cpu": 37.5, "mem": 61.2, "io": None},
    ],
    "app.logs": [
        {"event_id": "app.logs-0-{offset}", "event_time": utc(2016, 12, 19, 16, 31, 46, 143_000), "level": "ERROR", "service": "svc",
         "logger": "kafka.server.KafkaApis",
         "message": "Error when sending message (kafka.server.KafkaApis)\njava.io.IOException: broken\n\tat kafka.X.y(X.scala:1)"},
        {"event_id": "app.logs-0-{offset}", "event_time": utc(2026, 11, 11, 0, 0, 0, 120_000), "level": "ERROR", "service": "svc",
         "logger": "com.shop.Payment", "message": "com.shop.Payment - card refused"},
        {"event_id": "app.logs-0-{offset}", "event_time": utc(2026, 11, 11), "level": "ERROR", "service": "payment", "logger": "c.s.P",
         "message": "refused"},
        {"event_id": "app.logs-0-{offset}", "event_time": utc(2023, 1, 29, 10, 19, 19, 694_635), "level": "WARN", "service": "svc",
         "logger": "i.s.PaymentServiceImpl", "message": "i.s.PaymentServiceImpl#71 not allowed"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def examples(spark: SparkSession) -> dict[str, list[dict[str, Any]]]:
    """The parsed rows of every example, by topic."""
    rows = parsed_rows(spark, [record(topic, example, key=b"svc") for topic in TOPICS for example in topic.examples])
    return {topic.name: [row for row in rows if row["topic"] == topic.name] for topic in TOPICS}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_example_is_valid_and_gives_its_silver_row(examples: dict[str, list[dict[str, Any]]], topic: Topic) -> None:
    rows = examples[topic.name]
    assert [row["violations"] for row in rows] == [[]] * len(topic.examples)
    promised = [
        row | {"event_id": row["event_id"].format(offset=found["offset"])} for row, found in zip(SILVER[topic.name], rows, strict=True)
    ]
    assert [{name: value for name, value in row["silver"].items() if name not in KAFKA} for row in rows] == promised
    columns = INGESTS[topic.name].table.column_names
    assert [list(row["silver"]) for row in rows] == [[name for name in columns if name != "ingested_at"]] * len(rows)


def test_every_silver_row_keeps_its_position_and_a_hash_of_its_bytes(examples: dict[str, list[dict[str, Any]]]) -> None:
    rows = [row for rows in examples.values() for row in rows]
    assert [(row["silver"]["partition"], row["silver"]["offset"], row["silver"]["kafka_timestamp"]) for row in rows] == [
        (0, row["offset"], BROKER_TIME) for row in rows
    ]
    assert len({row["silver"]["payload_hash"] for row in rows}) == len(rows)


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.codec == "json"], ids=lambda topic: topic.name)
def test_no_sensitive_field_stands_in_clear_anywhere_in_the_silver_row(examples: dict[str, list[dict[str, Any]]], topic: Topic) -> None:
    for example, row in zip(topic.examples, examples[topic.name], strict=True):
        shown = {str(value) for value in row["silver"].values()}
        for clear in _sensitive(topic, json.loads(example)):
            assert clear not in shown
            assert len(clear) < 5 or not any(clear in text for text in shown), clear


def test_the_two_topics_with_a_user_agree_on_the_pseudonym(examples: dict[str, list[dict[str, Any]]]) -> None:
    assert examples["shop.orders"][0]["silver"]["user_hash"] == examples["shop.views"][0]["silver"]["user_hash"]


def _sensitive(topic: Topic, payload: dict[str, Any]) -> Iterator[str]:
    for field in topic.fields:
        if field.sensitive:
            value: Any = payload
            for name in field.path:
                value = value[name]
            yield value
