"""The micro-batch sees to it that what is to be forwarded stands on its topic: what is there already is not sent again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pyarrow as pa
import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError
from pyspark.sql import SparkSession

from day import on_topic
from faults import Hanging
from promolake.core.errors import BrokerAway
from promolake.engine import kafka, read_back
from promolake.engine.arrow import arrow_schema
from promolake.engine.forwarding import PATIENCE_SECONDS, Forwarder
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import FORWARDS
from promolake.engine.read_back import ReadBack, Sent
from promolake.gold.forwarded_errors import FLOW

pytestmark = pytest.mark.spark
NOW = datetime.now(UTC)


class Running:
    """A lane as the forwarder sees it."""

    is_running = True


def events(*event_ids: str, level: str = "ERROR", message: str = "refused") -> pa.Table:
    """Rows of silver.log_events."""
    times = dict.fromkeys(("event_time", "kafka_timestamp", "ingested_at"), NOW)
    rows = [times | {"event_id": event_id, "level": level, "message": message} for event_id in event_ids]
    return pa.Table.from_pylist(rows, arrow_schema(FLOW.reads))


class Place:
    """A forward with a topic of its own, and everything around it."""

    def __init__(self, bootstrap: str, spark: SparkSession, home: Path) -> None:
        self.forward = replace(FLOW, topic=f"errors.{home.name}")
        self.lake = Lakehouse(home / "lake")
        self.lake.create([FORWARDS])
        self.stopping = Event()
        kafka.ensure_topics(bootstrap, [self.forward.topic])
        self._at = (bootstrap, spark, home)

    def forwarder(self, lane: object, levels: tuple[str, ...] = ("ERROR",)) -> Forwarder:
        bootstrap, spark, home = self._at
        return Forwarder(self.forward, bootstrap, levels, spark, home / "spool", self.lake, self.stopping, lane)

    def sent_by_the_lane(self, rows: pa.Table) -> list[Sent]:
        chosen = self.forward.function(self._at[1].createDataFrame(rows), ["ERROR"]).collect()
        records = [(row.key.encode(), row.value.encode()) for row in chosen]
        producer = KafkaProducer(bootstrap_servers=self._at[0])
        for key, value in records:
            producer.send(self.forward.topic, key=key, value=value).get(timeout=10)
        producer.close()
        return records

    def on_topic(self) -> list[str]:
        return sorted(key for key, _ in on_topic(self._at[0], self.forward.topic))

    def booked(self) -> list[tuple[int, int, int]]:
        rows = self.lake.read(FORWARDS, ("batch_id", "due_count", "sent_count")).to_pylist()
        return sorted(tuple(row.values()) for row in rows)


@pytest.fixture
def place(bootstrap: str, spark: SparkSession, tmp_path: Path) -> Place:
    return Place(bootstrap, spark, tmp_path)


def test_without_a_lane_a_micro_batch_sends_everything_of_the_chosen_levels(place: Place) -> None:
    forwarder = place.forwarder(None, ("ERROR", "FATAL"))
    rows = pa.concat_tables([events("a", "b"), events("c", level="FATAL"), events("d", level="INFO")])
    assert forwarder.send(rows, "main", "app", 0) == 3
    assert forwarder.send(events("e", level="WARN"), "main", "app", 1) == 0
    forwarder.close()
    assert place.on_topic() == ["a", "b", "c"]
    assert place.booked() == [(0, 3, 3)]


def test_what_the_lane_sent_is_not_sent_again_and_what_it_missed_is_and_both_are_booked(place: Place) -> None:
    rows = events("a", "b", "c")
    place.sent_by_the_lane(rows.slice(0, 2))
    forwarder = place.forwarder(Running())
    assert forwarder.send(rows, "main", "app", 4) == 1
    place.sent_by_the_lane(events("d"))
    assert forwarder.send(events("d", "e"), "main", "app", 5) == 1
    forwarder.close()
    assert place.on_topic() == ["a", "b", "c", "d", "e"]
    assert place.booked() == [(4, 3, 1), (5, 2, 1)]


def test_without_the_audit_what_the_lane_missed_would_be_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadBack, "missing", lambda *_: [])
    place.sent_by_the_lane(events("a"))
    forwarder = place.forwarder(Running())
    assert forwarder.send(events("a", "b"), "main", "app", 0) == 0
    assert place.on_topic() == ["a"]


def test_a_replayed_batch_finds_what_it_sent_and_is_booked_once(place: Place) -> None:
    first, again = place.forwarder(Running()), place.forwarder(Running())
    assert first.send(events("a", "b"), "main", "app", 7) == 2
    assert first.send(events("a", "b"), "main", "app", 7) == 0
    assert again.send(events("a", "b"), "main", "app", 7) == 0
    first.close()
    again.close()
    assert place.on_topic() == ["a", "b"]
    assert place.booked() == [(7, 2, 2)]


def test_another_event_under_an_id_that_was_used_before_is_missing(place: Place) -> None:
    """A topic that is begun anew gives its positions, of which ids are made, a second time."""
    place.sent_by_the_lane(events("app.logs-0-0", message="of the old topic"))
    forwarder = place.forwarder(Running())
    assert forwarder.send(events("app.logs-0-0"), "main", "app", 0) == 1
    forwarder.close()
    assert place.on_topic() == ["app.logs-0-0"] * 2


def test_what_the_lane_is_about_to_send_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    take = ReadBack._take

    def take_after_the_lane(reader: ReadBack, timeout_ms: int) -> bool:
        if timeout_ms != kafka.ATTEMPT_MS and not place.on_topic():
            place.sent_by_the_lane(events("a"))
        return take(reader, timeout_ms)

    monkeypatch.setattr(ReadBack, "_take", take_after_the_lane)
    monkeypatch.setattr("promolake.engine.forwarding.PATIENCE_SECONDS", 10.0)
    forwarder = place.forwarder(Running())
    assert forwarder.send(events("a"), "main", "app", 0) == 0
    forwarder.close()
    assert place.on_topic() == ["a"]


def test_a_lane_that_hangs_or_has_ended_holds_no_batch_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    there: set[str] = set()

    def missing(reader: ReadBack, records: list[Sent], since: datetime, patience_s: float) -> list[Sent]:
        waited.append(patience_s)
        return [record for record in records if record[0].decode() not in there]

    monkeypatch.setattr(ReadBack, "missing", missing)
    lane = Running()
    forwarder = place.forwarder(lane)
    for batch, event_id in enumerate("abcd"):
        if event_id == "c":
            there.add("c")
        forwarder.send(events(event_id), "main", "app", batch)
    lane.is_running = False
    forwarder.send(events("e"), "main", "app", 4)
    forwarder.close()
    assert waited == [PATIENCE_SECONDS, 0.0, 0.0, PATIENCE_SECONDS, 0.0]


@pytest.fixture
def sent_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> Forwarder:
    """It has sent `a`, and looks after a moment whether a stop was asked for."""
    monkeypatch.setattr("promolake.engine.forwarding.FLUSH_SECONDS", 0.3)
    forwarder = place.forwarder(None)
    forwarder.send(events("a"), "main", "app", 0)
    return forwarder


def test_a_stop_does_not_wait_for_a_broker_that_does_not_answer_and_the_next_start_sends(
    place: Place, sent_once: Forwarder, hanging: Hanging
) -> None:
    with hanging():
        place.stopping.set()
        with pytest.raises(BrokerAway):
            sent_once.send(events("b"), "main", "app", 1)
        sent_once.close()
    sent_once._producer.close()  # the broker answers again
    assert place.booked() == [(0, 1, 1)]
    again = place.forwarder(Running())
    again.send(events("b"), "main", "app", 1)
    again.close()
    assert set(place.on_topic()) == {"a", "b"}
    assert [batch for batch, _, _ in place.booked()] == [0, 1]


def test_while_nobody_asks_for_a_stop_the_broker_is_waited_for(
    place: Place, sent_once: Forwarder, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, tries = sent_once._has_flushed, []

    def answering_the_third_time() -> bool:
        tries.append(flushed())
        if len(tries) == 2:
            answer()
        return tries[-1]

    monkeypatch.setattr(sent_once, "_has_flushed", answering_the_third_time)
    with hanging() as answer:
        assert sent_once.send(events("b"), "main", "app", 1) == 1
    sent_once.close()
    assert tries[:2] == [False, False]
    assert tries[-1]
    assert place.on_topic() == ["a", "b"]


def test_what_was_sent_before_the_batch_is_not_read_back(place: Place, bootstrap: str) -> None:
    (record,) = place.sent_by_the_lane(events("a"))
    now = datetime.now(UTC)
    for since, missing in ((now, []), (now + timedelta(hours=1), [record])):
        reader = ReadBack(bootstrap, place.forward.topic)
        assert reader.missing([record], since, 0.0) == missing
        reader.close()


def test_where_the_topic_cannot_be_read_everything_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(**_: object) -> None:
        raise KafkaError

    monkeypatch.setattr(read_back, "KafkaConsumer", nobody)
    assert ReadBack("127.0.0.1:1", "errors").missing([(b"a", b"1")], NOW, 5.0) == [(b"a", b"1")]


def test_of_very_many_records_the_oldest_are_forgotten(place: Place, bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_back, "KEPT", 2)
    records = [record for one in "abc" for record in place.sent_by_the_lane(events(one))]
    reader = ReadBack(bootstrap, place.forward.topic)
    assert len(reader.missing(records, NOW, 0.0)) == 1
    reader.close()
