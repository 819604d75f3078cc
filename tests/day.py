"""A small promotion day with every kind of trouble, its truth, and runs over it: for tests that take whole topics through a broker.

The hallway fixes the topics' names, so whoever counts whole topics needs a broker of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
from kafka import KafkaConsumer, TopicPartition
from pyspark.sql import SparkSession

from promolake import settings as configuration
from promolake.core.flow import Hallway
from promolake.core.table import Table
from promolake.engine import kafka
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.runner import Runner
from promolake.hallway import HALLWAY
from promolake.producers.message import Message
from promolake.producers.promotion import PromotionDay
from promolake.producers.sending import Sender
from promolake.producers.truth import Happening, Truth
from promolake.sources import TOPICS

START = datetime(2024, 11, 11, 23, 57, tzinfo=UTC)  # the day crosses a UTC midnight
STREAMED = replace(HALLWAY, joins=())
NAMES = [topic.name for topic in TOPICS]
_JSON = [topic.name for topic in TOPICS if topic.codec == "json"]


@dataclass(frozen=True)
class Day:
    """What was sent to the broker at `bootstrap`, and what gold must hold of it (see Truth.report)."""

    bootstrap: str
    sent: int
    truth: dict[str, Any]


@dataclass(frozen=True)
class CleanRun:
    """What a run without a fault made of the day: its lake, and the keys it sent to app.logs.errors."""

    lake: Lakehouse
    forwarded: list[str]


def sent(bootstrap: str, per_topic: int, seed: int = 11) -> Day:
    """Sends `per_topic` good messages of every topic, and more that are repeated, in conflict or empty."""
    kafka.ensure_topics(bootstrap, NAMES)
    truth, count = Truth(), 0
    with Sender(bootstrap, print) as sender:
        for happening in happenings(per_topic, seed):
            assert sender.send(happening.message)
            truth.add(happening)
            count += 1
    return Day(bootstrap, count, truth.report())


def happenings(per_topic: int, seed: int) -> Iterator[Happening]:
    """Every 5th good message of a topic is followed by an empty one, every 7th by itself, every 11th by another under its id."""
    kept: Counter[str] = Counter()
    for happening in PromotionDay(seed, 4.0, START):
        topic = happening.message.topic
        if happening.kind not in ("clean", "late") or kept[topic] == per_topic:
            continue
        kept[topic] += 1
        yield happening
        if kept[topic] % 5 == 0:
            yield Happening(happening.index, happening.at, Message(topic, None, b""), "poison", "empty")
        if kept[topic] % 7 == 0:
            yield happening._replace(kind="duplicate")
        if kept[topic] % 11 == 0 and topic in _JSON and happening.message.key:  # without a key it might come first
            other = {**json.loads(happening.message.value), "note": "not what was said before"}
            conflict = happening.message._replace(value=json.dumps(other).encode())
            yield Happening(happening.index, happening.at, conflict, "poison", "id_conflict")
        if len(kept) == len(NAMES) and min(kept.values()) == per_topic:
            return


def on_topic(bootstrap: str, topic: str) -> list[tuple[str, bytes]]:
    """Keys and values of all the topic holds now: up to its ends, not until nothing has come for some seconds."""
    ends = {TopicPartition(*place): end for place, end in kafka.end_offsets(bootstrap, [topic]).items()}
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        consumer.assign(list(ends))
        found: list[tuple[str, bytes]] = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(timeout_ms=500).values():
                found += [(record.key.decode(), record.value) for record in records]
        return found
    finally:
        consumer.close()


def settings_for(home: Path, records_per_batch: int = 100_000) -> configuration.Settings:
    return configuration.load(home).model_copy(update={"engine": configuration.Engine(max_offsets=records_per_batch)})


def run_once(settings: configuration.Settings, bootstrap: str, spark: SparkSession, flows: Hallway = STREAMED) -> None:
    Runner(settings, bootstrap, spark, flows, "main", print).run(once=True)


def rows_of(lake: Lakehouse, table: Table, without: tuple[str, ...] = ("visitor_sketch",)) -> pa.Table:
    """The table by its grain. Sketches are left out: equal in what they estimate, not in their bytes."""
    rows = lake.read(table, [name for name in table.column_names if name not in without])
    return rows.sort_by([(name, "ascending") for name in table.grain])


def assert_ranges_meet(lake: Lakehouse) -> list[dict[str, Any]]:
    """Every record is in the ledger once: each row balances, and every range of offsets meets the next. Returns the rows, in order."""
    order = [(name, "ascending") for name in ("topic", "partition", "first_offset")]
    rows = lake.read(LEDGER, LEDGER.column_names).sort_by(order).to_pylist()
    for row in rows:
        assert row["read_count"] == row["valid_count"] + row["quarantined_count"] + row["duplicate_count"]
        assert row["read_count"] == row["last_offset"] - row["first_offset"] + 1
    for earlier, later in pairwise(rows):
        same = (earlier["topic"], earlier["partition"]) == (later["topic"], later["partition"])
        assert later["first_offset"] == (earlier["last_offset"] + 1 if same else 0)
    return rows
