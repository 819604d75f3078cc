"""Offsets a broker does not give: aborted transactions and their markers are no holes, a topic begun anew or cut short ends the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from pyspark.sql import SparkSession

from day import STREAMED, settings_for
from promolake.cli.reporting import topics
from promolake.core.errors import DamageFound
from promolake.engine import kafka
from promolake.engine.arrow import arrow_schema
from promolake.engine.bookkeeping import audited
from promolake.engine.doctor import Doctor
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.runner import Runner, chosen
from promolake.local.broker import Broker
from promolake.sources import views

FLOWS = chosen(STREAMED, ["silver.views"])
TOPIC = views.TOPIC.name
pytestmark = [pytest.mark.broker, pytest.mark.spark]


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of its own: whole topics are counted."""
    broker = Broker(tmp_path_factory.mktemp("transactions"))
    broker.start(print, tied=True)
    kafka.ensure_topics(broker.status().bootstrap, [TOPIC], 1)
    yield broker.status().bootstrap
    broker.stop()


def transaction(producer: KafkaProducer, name: str, count: int, commit: bool = True) -> None:
    producer.begin_transaction()
    for n in range(count):
        event = json.loads(views.TOPIC.examples[0]) | {"event_id": f"{name}-{n}"}
        producer.send(TOPIC, json.dumps(event).encode(), partition=0)
    producer.flush()
    producer.commit_transaction() if commit else producer.abort_transaction()


def test_aborted_records_are_in_no_table_and_markers_are_no_holes_but_a_lost_record_is(
    bootstrap: str, spark: SparkSession, tmp_path: Path
) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id="shop", acks="all")
    producer.init_transactions()
    settings = settings_for(tmp_path, records_per_batch=8)
    lake = Lakehouse(settings.lake)
    flow = FLOWS.ingests[0]
    for day in ("first", "second"):
        transaction(producer, f"{day}-kept", 10)
        transaction(producer, f"{day}-aborted", 5, commit=False)
        transaction(producer, f"{day}-more", 3)
        Runner(settings, bootstrap, spark, FLOWS, "main", print).run(once=True)
    producer.close()

    with_aborted = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=3000)
    with_aborted.assign([TopicPartition(TOPIC, 0)])
    assert sum(1 for _ in with_aborted) == 36, "the aborted records are in the topic, for whoever does not ask for committed ones"
    with_aborted.close()

    kept = {f"{day}-{name}-{n}" for day in ("first", "second") for name, count in (("kept", 10), ("more", 3)) for n in range(count)}
    assert set(lake.read(flow.table, ("event_id",))["event_id"].to_pylist()) == kept
    assert lake.read(flow.bronze, ("offset",)).num_rows == 26

    def amiss(ask: bool = True) -> dict[str, str]:
        found = audited(lake, flow, (lambda topic, ranges: kafka.kept_records(bootstrap, topic, ranges)) if ask else None)
        return {finding.check: finding.example for finding in found if finding.is_wrong}

    assert amiss() == {}
    assert amiss(ask=False).keys() == {"offsets without hole or overlap"}, "the markers are there"
    assert next(topic for topic in topics(lake, bootstrap) if topic.topic == TOPIC).lag == 0
    assert [finding.what for finding in Doctor(settings.home, settings.lake, FLOWS).findings()] == []

    rows = lake.read(flow.bronze, flow.bronze.column_names).sort_by("offset")
    lake.overwrite(flow.bronze, rows.filter([offset != 2 for offset in rows["offset"].to_pylist()]))
    assert "each batch is in bronze" in amiss()
    book = lake.read(LEDGER, LEDGER.column_names).to_pylist()
    for row in book:
        if row["first_offset"] <= 2 <= row["last_offset"]:
            row["read_count"], row["valid_count"] = row["read_count"] - 1, row["valid_count"] - 1
    lake.overwrite(LEDGER, pa.Table.from_pylist(book, schema=arrow_schema(LEDGER)))
    assert amiss()["offsets without hole or overlap"] == "partition 0: offsets 2 to 2 are a hole", "the broker has a record there"


def test_what_a_broker_keeps_is_told_offset_by_offset_however_the_ranges_lie(bootstrap: str) -> None:
    """Many short transactions: a marker after every record or two, looked up one by one, in far and near ranges, and all at once."""
    kafka.ensure_topics(bootstrap, ["marked"], 1)
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id="many", acks="all")
    producer.init_transactions()
    places: list[int] = []
    for n in range(40):
        producer.begin_transaction()
        sent = [producer.send("marked", b"x", partition=0) for _ in range(1 + n % 2)]
        producer.flush()
        if n % 5 == 4:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
            places += [one.get().offset for one in sent]
    producer.close()
    end = kafka.end_offsets(bootstrap, ["marked"])["marked", 0]
    kept = {(0, offset) for offset in places}
    for ranges in ([(0, 0, end - 1)], [(0, n, n) for n in range(end)], [(0, 3, 4), (0, end - 6, end - 1)], [(0, end - 2, end + 50)]):
        asked = {(0, offset) for _, first, last in ranges for offset in range(first, last + 1)}
        assert kafka.kept_records(bootstrap, "marked", ranges) == kept & asked
    assert 0 < len(kept) < end - 40, "markers and aborted records take offsets"


def test_a_topic_that_was_deleted_and_begun_anew_ends_the_query_with_what_to_do(
    bootstrap: str, spark: SparkSession, tmp_path: Path, until
) -> None:
    settings = settings_for(tmp_path)
    with kafka.producer(bootstrap) as plain:
        plain.send(TOPIC, views.TOPIC.examples[0].encode())
    Runner(settings, bootstrap, spark, FLOWS, "main", print).run(once=True)
    lake = Lakehouse(settings.lake)
    before = lake.read(FLOWS.ingests[0].bronze, ("offset",)).num_rows
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_topics([TOPIC])
    until(lambda: TOPIC not in admin.list_topics())
    admin.close()
    kafka.ensure_topics(bootstrap, [TOPIC], 1)
    with pytest.raises(DamageFound, match=rf"{TOPIC} ends at offset 0 in partition 0, and \d+ were read: it was deleted and begun anew"):
        Runner(settings, bootstrap, spark, FLOWS, "main", print).run(once=True)
    assert lake.read(FLOWS.ingests[0].bronze, ("offset",)).num_rows == before


def test_records_the_broker_removed_before_they_were_read_are_named(bootstrap: str, spark: SparkSession, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with kafka.producer(bootstrap) as plain:
        for _ in range(5):
            plain.send(TOPIC, views.TOPIC.examples[0].encode())
        plain.flush()
        Runner(settings, bootstrap, spark, FLOWS, "main", print).run(once=True)
        read = kafka.end_offsets(bootstrap, [TOPIC])[TOPIC, 0]
        for _ in range(5):
            plain.send(TOPIC, views.TOPIC.examples[0].encode())
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_records({TopicPartition(TOPIC, 0): read + 3})
    admin.close()
    with pytest.raises(DamageFound, match=f"begins at offset {read + 3} in partition 0, and {read} is next: 3 records were removed unread"):
        Runner(settings, bootstrap, spark, FLOWS, "main", print).run(once=True)
