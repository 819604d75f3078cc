from __future__ import annotations

import pytest

from promolake.core.errors import BrokerAway
from promolake.engine.kafka import cluster_id, end_offsets, ensure_topics, producer, reader_options, wait_for_broker

NOBODY = "127.0.0.1:1"


def test_topics_are_created_once_and_keep_their_partitions(bootstrap: str) -> None:
    assert ensure_topics(bootstrap, ["ensured.b", "ensured.a"], partitions=3) == ["ensured.a", "ensured.b"]
    assert ensure_topics(bootstrap, ["ensured.a", "ensured.c"], partitions=1) == ["ensured.c"]
    assert sorted(end_offsets(bootstrap, ["ensured.a", "ensured.c"])) == [
        ("ensured.a", 0),
        ("ensured.a", 1),
        ("ensured.a", 2),
        ("ensured.c", 0),
    ]


def test_end_offsets_count_the_records_of_topics_that_exist(bootstrap: str) -> None:
    ensure_topics(bootstrap, ["counted"], partitions=2)
    with producer(bootstrap) as sender:
        for partition, count in ((0, 3), (1, 5)):
            for _ in range(count):
                sender.send("counted", value=b"x", partition=partition)
        sender.flush()
    assert end_offsets(bootstrap, ["counted", "never.created"]) == {("counted", 0): 3, ("counted", 1): 5}
    assert end_offsets(bootstrap, ["never.created"]) == {}


def test_records_of_one_key_stay_in_one_partition_in_order(bootstrap: str) -> None:
    ensure_topics(bootstrap, ["keyed"], partitions=2)
    with producer(bootstrap) as sender:
        places = [sender.send("keyed", key=b"user-1", value=b"%d" % number) for number in range(20)]
        records = [place.get(timeout=20) for place in places]
    assert len({record.partition for record in records}) == 1
    assert [record.offset for record in records] == list(range(20))


def test_a_broker_that_answers_is_not_waited_for(bootstrap: str) -> None:
    said: list[str] = []
    wait_for_broker(bootstrap, 0, said.append)
    assert said == []
    assert cluster_id(bootstrap) == cluster_id(bootstrap) is not None


def test_waiting_for_a_broker_that_is_away_says_so_and_ends_in_one_sentence() -> None:
    said: list[str] = []
    with pytest.raises(BrokerAway, match=r"No Kafka broker answers at 127\.0\.0\.1:1\."):
        wait_for_broker(NOBODY, 2.5, said.append)
    assert said[0].startswith(f"waiting for the Kafka broker at {NOBODY}")


def test_a_broker_that_is_away_is_never_a_kafka_error() -> None:
    assert cluster_id(NOBODY, timeout_ms=100) is None


def test_a_reader_begins_with_the_first_record_and_fails_on_a_lost_one() -> None:
    options = reader_options("a:1,b:2", ("shop.orders", "shop.views"), 5_000)
    assert options["subscribe"] == "shop.orders,shop.views"
    assert options["startingOffsets"] == "earliest"
    assert options["failOnDataLoss"] == "true"
    assert options["maxOffsetsPerTrigger"] == "5000"
