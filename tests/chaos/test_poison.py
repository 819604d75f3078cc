"""A hundred rows of every class of hostile input (reliability.md 3.6) through the real broker: each meets its fate, nothing stops.

The classes of a single message are those of silver/test_entity.py; those of several messages (25-28, 37, 38) are made here. Not here:
39 (an aborted transaction), 40 (a topic made anew) and 42 (a storm of alerts) are no rows.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from chaos.traffic import NAMES, event_id
from day import STREAMED, settings_for
from promolake.engine import kafka
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.lateness import ALLOWED, RESTATEMENTS
from promolake.engine.ledger import LEDGER
from promolake.engine.runner import Runner
from promolake.gold import requests_per_ip_per_minute
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker
from promolake.producers.message import Message
from promolake.producers.sending import Sender
from silver.test_entity import CASES, LINE, SAMPLE, VIEW

ROWS = 100  # of each class
NO_ROWS = {39, 40, 42}
RECORDS_PER_BATCH = 2_000
SAMPLED_AT = datetime.fromtimestamp(SAMPLE["event_time"], UTC)
TOO_LARGE = "10 21 MB"


@dataclass
class Fates:
    """What must become of the rows sent."""

    quarantined: Counter[tuple[str, bytes | None, tuple[str, ...]]] = field(default_factory=Counter)
    valid: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    duplicates: Counter[str] = field(default_factory=Counter)
    classes: set[int] = field(default_factory=set)


def of_one_message(fates: Fates) -> Iterator[Message]:
    """Every case of silver/test_entity.py a hundred times, valid ones under ids of their own."""
    for place, (case, (record, expected)) in enumerate(CASES.items()):
        if case.split(" ")[0].isdigit():
            fates.classes.add(int(case.split(" ")[0]))
        if case == TOO_LARGE:
            continue
        for n in range(ROWS):
            message = variant(Message(record.topic, record.key or b"k", record.value, record.headers), f"{place}-{n}")
            yield message
            if isinstance(expected, list):
                fates.quarantined[message.topic, message.value, tuple(expected)] += 1
            elif message.topic in ("site.access", "app.logs"):
                fates.valid[message.topic].add(event_id(message))
            else:
                text = message.value.removeprefix(b"\xef\xbb\xbf")
                fates.valid[message.topic].add(str(json.loads(text)["event_id"]))


def variant(message: Message, name: str) -> Message:
    """The same message under another id, as long as it was where its length is the point."""
    value = message.value
    if value is not None:
        grown = 0
        for old in (b"o-1", b"v-1", b"m-1"):
            grown += (len(name)) * value.count(old)
            value = value.replace(old, old[:2] + b"1" + name.encode())
        value = value.replace(b"12345678901234567890", b"1234567890" + name.replace("-", "0").encode())
        if b"x" * 60_000 in value:
            value = value.replace(b"x" * grown, b"", 1)
    headers = tuple((key, held + name.encode() if key == "event_id" else held) for key, held in message.headers)
    return message._replace(value=value, headers=headers)


def of_several_messages(fates: Fates) -> Iterator[Message]:
    """Repetitions, conflicts, a hot product, and as many addresses as rows."""
    fates.classes |= {25, 26, 37, 38}
    yield sample("on time", SAMPLED_AT)
    fates.valid["machine.metrics"].add("on time")
    for n in range(ROWS):
        yield from (view(f"twice-{n}"), view(f"twice-{n}"))
        fates.duplicates["shop.views"] += 1
        yield view(f"conflict-{n}")
        other = view(f"conflict-{n}", category="another")
        yield other
        fates.quarantined["shop.views", other.value, ("id_conflict",)] += 1
        yield view(f"hot-{n}", product_id="hot" if n % 10 else f"cold-{n}")
        fates.valid["shop.views"] |= {f"twice-{n}", f"conflict-{n}", f"hot-{n}"}
        line = LINE.replace("83.149.9.216", f"198.51.100.{n}").replace("17/May/2015:10:05", "18/May/2015:11:00")
        yield Message("site.access", b"k", line.encode(), (("event_id", f"address-{n}".encode()),))
        fates.valid["site.access"].add(f"address-{n}")


def that_come_later(fates: Fates) -> Iterator[Message]:
    """A repetition long after, and rows that are late: 11 minutes, 2 hours, 3 days."""
    fates.classes |= {27, 28}
    for n in range(ROWS):
        yield view(f"twice-{n}")
        fates.duplicates["shop.views"] += 1
        for name, behind in {"11m": ALLOWED + timedelta(minutes=1), "2h": timedelta(hours=2), "3d": timedelta(days=3)}.items():
            yield sample(f"late-{name}-{n}", SAMPLED_AT - behind)
            fates.valid["machine.metrics"].add(f"late-{name}-{n}")
        yield sample(f"in-time-{n}", SAMPLED_AT - ALLOWED)
        fates.valid["machine.metrics"].add(f"in-time-{n}")


def view(name: str, **changes: str) -> Message:
    return Message("shop.views", b"k", json.dumps({**VIEW, "event_id": name, **changes}).encode())


def sample(name: str, at: datetime) -> Message:
    return Message("machine.metrics", b"k", json.dumps({**SAMPLE, "event_id": name, "event_time": at.isoformat()}).encode())


@dataclass(frozen=True)
class Poisoned:
    """A lake that was fed all classes, in two runs, and what the runs said."""

    lake: Lakehouse
    fates: Fates
    said: list[str]
    checkpoint: Path


@pytest.fixture(scope="module")
def poisoned(own_broker: Broker, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    bootstrap, settings = own_broker.status().bootstrap, settings_for(tmp_path_factory.mktemp("poisoned"), RECORDS_PER_BATCH)
    kafka.ensure_topics(bootstrap, NAMES)
    fates, said = Fates(), []
    for messages in ((of_one_message, of_several_messages), (that_come_later,)):
        with Sender(bootstrap, print) as sender:
            for kind in messages:
                for message in kind(fates):
                    assert sender.send(message)
        Runner(settings, bootstrap, spark, STREAMED, "main", said.append).run(once=True)
    return Poisoned(Lakehouse(settings.lake), fates, said, settings.checkpoint("main"))


pytestmark = [pytest.mark.broker, pytest.mark.spark]


def test_every_class_was_sent(poisoned: Poisoned) -> None:
    assert poisoned.fates.classes == set(range(1, 43)) - NO_ROWS


def test_kafka_itself_refuses_a_message_of_21_mb(own_broker: Broker) -> None:
    record, _ = CASES[TOO_LARGE]
    with Sender(own_broker.status().bootstrap, print) as sender:
        assert not sender.send(Message(record.topic, b"k", record.value))


def test_no_row_stops_or_restarts_the_query(poisoned: Poisoned) -> None:
    assert [line for line in poisoned.said if "failed" in line or "again" in line or "stopped" in line] == []
    begun, finished = ({file.name for file in (poisoned.checkpoint / log).glob("[0-9]*")} for log in ("offsets", "commits"))
    assert begun == finished
    assert len(finished) > 3


def test_every_broken_row_is_in_quarantine_whole_under_its_reasons(poisoned: Poisoned) -> None:
    found: Counter[tuple[str, bytes | None, tuple[str, ...]]] = Counter()
    for flow in HALLWAY.ingests:
        for row in poisoned.lake.read(flow.quarantine, ["topic", "value", "violations"]).to_pylist():
            found[row["topic"], row["value"], tuple(row["violations"])] += 1
    expected = poisoned.fates.quarantined
    assert {(topic, reasons): n for (topic, _, reasons), n in (found - expected).items()} == {}, "quarantined for another reason"
    assert {(topic, reasons): n for (topic, _, reasons), n in (expected - found).items()} == {}, "not in quarantine"


def test_every_valid_row_is_in_silver_once(poisoned: Poisoned) -> None:
    for flow in HALLWAY.ingests:
        found = poisoned.lake.read(flow.table, ["event_id"])["event_id"].to_pylist()
        assert len(found) == len(set(found))
        assert set(found) == poisoned.fates.valid[flow.topic.name], flow.table.name


def test_repetitions_are_counted_and_late_rows_restated(poisoned: Poisoned) -> None:
    ledger = poisoned.lake.read(LEDGER, ["topic", "duplicate_count"])
    counted: Counter[str] = Counter()
    for row in ledger.to_pylist():
        counted[row["topic"]] += row["duplicate_count"]
    assert counted == poisoned.fates.duplicates
    restated = poisoned.lake.read(RESTATEMENTS, ["source", "window_start", "late_count"])
    restated = restated.filter(pc.equal(restated["source"], "silver.machine_metrics")).to_pylist()
    assert sum(row["late_count"] for row in restated) == 3 * ROWS
    assert len({row["window_start"] for row in restated}) == 3


def test_a_minute_of_many_addresses_has_a_row_for_each(poisoned: Poisoned) -> None:
    rows = poisoned.lake.read(requests_per_ip_per_minute.TABLE, ["ip", "request_count"], "ip LIKE '198.51.100.%'")
    assert rows.num_rows == ROWS
    assert pc.sum(rows["request_count"]).as_py() == ROWS
