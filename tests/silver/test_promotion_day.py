"""What the simulator calls poison is quarantined under exactly the reason it states; everything else is valid."""

import json
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
from pyspark.sql import SparkSession

from frames import Record, parsed_rows
from promolake.producers.draft import Draft
from promolake.producers.message import Message
from promolake.producers.poison import SPOILT
from promolake.producers.promotion import PromotionDay
from promolake.producers.truth import Happening
from promolake.sources import TOPICS

MESSAGES = 3_000
SPOILT_EACH = 3
RATE = 5.0  # slow, so that the day is long enough for every kind of message


@pytest.fixture(scope="module")
def day() -> list[Happening]:
    return list(islice(PromotionDay(11, RATE, datetime(2026, 11, 11, tzinfo=UTC)), MESSAGES))


@pytest.fixture(scope="module")
def spoilt(day: list[Happening]) -> list[tuple[Happening, str]]:
    """Some clean messages of every topic, each made wrong in every way of its topic."""
    codecs = {topic.name: topic.codec for topic in TOPICS}
    found = []
    for topic, ways in SPOILT.items():
        clean = [happening for happening in day if happening.message.topic == topic and happening.kind == "clean"][:: MESSAGES // 100][
            :SPOILT_EACH
        ]
        for happening in clean:
            value = happening.message.value.decode()
            draft = Draft(topic, "spoilt", None, json.loads(value) if codecs[topic] == "json" else value)
            found += [(happening._replace(message=Message(topic, None, spoil(draft))), reason) for reason, spoil in ways.items()]
    return found


@pytest.fixture(scope="module")
def rows(spark: SparkSession, day: list[Happening], spoilt: list[tuple[Happening, str]]) -> list[dict[str, Any]]:
    return parsed_rows(spark, [_record(happening) for happening in (*day, *(happening for happening, _ in spoilt))])


def test_of_a_simulated_day_the_poison_is_quarantined_under_its_reason_and_the_rest_is_valid(
    day: list[Happening], rows: list[dict[str, Any]]
) -> None:
    expected = [[happening.reason] if happening.kind == "poison" else [] for happening in day]
    assert [row["violations"] for row in rows[:MESSAGES]] == expected
    assert [] in expected
    assert any(expected)


def test_every_way_the_simulator_knows_is_quarantined_under_its_reason(
    spoilt: list[tuple[Happening, str]], rows: list[dict[str, Any]]
) -> None:
    found = [(row["topic"], row["violations"]) for row in rows[MESSAGES:]]
    assert found == [(happening.message.topic, [reason]) for happening, reason in spoilt]
    assert {(topic, reason) for topic, (reason,) in found} == {(topic, reason) for topic, ways in SPOILT.items() for reason in ways}


def _record(happening: Happening) -> Record:
    message = happening.message
    return Record(message.topic, message.value, message.key, message.headers, datetime.fromtimestamp(happening.at / 1000, UTC))
