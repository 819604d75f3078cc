"""The broker as promolake's jobs meet it: waiting for it, topics, producing, offsets, and the options Spark reads it with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Event

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError, TopicAlreadyExistsError

from promolake.core.errors import BrokerAway

MAX_MESSAGE_BYTES = 1024 * 1024
"""The largest record batch a broker takes by default, and the largest request a producer sends."""

ATTEMPT_MS = 2_000
ANSWER_MS = 10_000
SAY_EVERY_S = 5.0


def cluster_id(bootstrap: str, timeout_ms: int = ATTEMPT_MS) -> str | None:
    """The id of the cluster that answers a metadata request at `bootstrap` (`host:port[,host:port]`), or None when none answers."""
    try:
        with _admin(bootstrap, timeout_ms) as admin:
            return admin.describe_cluster()["cluster_id"]
    except (BrokerAway, KafkaError, OSError):
        return None


def wait_for_broker(
    bootstrap: str,
    timeout_s: float,
    say: Callable[[str], None],
    stopping: Event | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> bool:
    """True when a broker answers, False when `stopping` was set first; while none does, calls `meanwhile` between two tries and tells
    `say` every few seconds.

    Raises BrokerAway after `timeout_s`.
    """
    stopping = stopping or Event()
    began = time.monotonic()
    said = 0.0
    while cluster_id(bootstrap) is None:
        if stopping.is_set():
            return False
        waited = time.monotonic() - began
        if waited >= timeout_s:
            raise away(bootstrap)
        if not said or waited - said >= SAY_EVERY_S:
            say(f"waiting for the Kafka broker at {bootstrap} ({waited:.0f} s)")
            said = waited
        meanwhile()
        stopping.wait(0.2)  # a refused connection fails at once
    return True


def ensure_topics(bootstrap: str, names: Iterable[str], partitions: int = 2) -> list[str]:
    """Creates the topics that are not there yet and returns their names; a topic that exists keeps its partitions."""
    with _admin(bootstrap) as admin:
        missing = sorted(set(names) - set(admin.list_topics()))
        for name in missing:
            try:
                admin.create_topics({name: {"num_partitions": partitions}})
            except TopicAlreadyExistsError:  # another process was faster
                continue
        admin.wait_for_topics(missing)
    return missing


def producer(bootstrap: str) -> KafkaProducer:
    """A producer that loses nothing and repeats nothing: idempotent, acknowledged by every replica, batching for 25 ms.

    Keys and values are bytes; a record over 1 MiB is refused by `send`. The caller flushes and closes. Raises BrokerAway.
    """
    try:
        return KafkaProducer(
            bootstrap_servers=bootstrap.split(","),
            acks="all",
            enable_idempotence=True,
            linger_ms=25,
            batch_size=128 * 1024,
            max_request_size=MAX_MESSAGE_BYTES,
            # A broker that restarts is waited for instead of losing what was handed over.
            delivery_timeout_ms=600_000,
            allow_auto_create_topics=False,
        )
    except KafkaError as problem:
        raise away(bootstrap) from problem


def closed(sender: KafkaProducer, patience_s: float) -> None:
    """Closes a producer. What is still in hand after so many seconds is given up without a word: who has to know has asked before."""
    with suppress(KafkaError):
        sender.close(timeout=patience_s)


def end_offsets(bootstrap: str, topics: Iterable[str], timeout_ms: int = ANSWER_MS) -> dict[tuple[str, int], int]:
    """The offset after the last record by (topic, partition), of every partition of the topics that exist. Raises BrokerAway."""
    return _offsets(bootstrap, topics, OffsetSpec.LATEST, timeout_ms)


def first_offsets(bootstrap: str, topics: Iterable[str], timeout_ms: int = ANSWER_MS) -> dict[tuple[str, int], int]:
    """The offset of the oldest record the broker still has, by (topic, partition). Raises BrokerAway."""
    return _offsets(bootstrap, topics, OffsetSpec.EARLIEST, timeout_ms)


def _offsets(bootstrap: str, topics: Iterable[str], spec: OffsetSpec, timeout_ms: int) -> dict[tuple[str, int], int]:
    with _admin(bootstrap, timeout_ms) as admin:
        try:
            wanted = {
                TopicPartition(topic["name"], partition["partition_index"]): spec
                for topic in admin.describe_topics(list(topics))
                for partition in topic["partitions"]
            }
            found = admin.list_partition_offsets(wanted) if wanted else {}
        except KafkaError as problem:
            if problem.retriable:  # it went away between two answers
                raise away(bootstrap) from problem
            raise
    return {(place.topic, place.partition): at.offset for place, at in found.items()}


def kept_records(bootstrap: str, topic: str, ranges: Iterable[tuple[int, int, int]]) -> set[tuple[int, int]]:
    """Which offsets of the ranges (partition, first, last) the broker has a committed record at, or may have had: (partition, offset).

    The others belong to markers of transactions, to records of aborted ones, or to records compaction removed: no reader is given
    anything there. Offsets before a partition's first one are told as kept: nobody can tell any more. Raises BrokerAway.
    """
    by_partition: dict[int, list[tuple[int, int]]] = {}
    for partition, first, last in sorted(ranges):
        by_partition.setdefault(partition, []).append((first, last))
    try:
        reader = KafkaConsumer(
            bootstrap_servers=bootstrap.split(","), isolation_level="read_committed", enable_auto_commit=False, fetch_max_wait_ms=100
        )
    except KafkaError as problem:
        raise away(bootstrap) from problem
    try:
        return {
            (partition, offset)
            for partition, asked in by_partition.items()
            for offset in _kept_offsets(reader, TopicPartition(topic, partition), asked, bootstrap)
        }
    finally:
        reader.close()


def _kept_offsets(reader: KafkaConsumer, place: TopicPartition, ranges: list[tuple[int, int]], bootstrap: str) -> set[int]:
    """Of one partition's ranges, in their order. Reads on from one to the next: markers stand close together, and a fetch passes many."""
    reader.assign([place])
    begin, end = reader.beginning_offsets([place])[place], reader.end_offsets([place])[place]
    reader.seek(place, begin)
    kept = {offset for first, last in ranges for offset in range(first, min(begin, last + 1))}
    read: set[int] = set()
    for first, last in ranges:
        if first > reader.position(place):
            reader.seek(place, first)
        while reader.position(place) < min(last + 1, end):
            records = reader.poll(timeout_ms=ATTEMPT_MS).get(place, [])
            read.update(record.offset for record in records)
            if not records and reader.position(place) < min(last + 1, end) and cluster_id(bootstrap) is None:
                raise away(bootstrap)
        kept.update(offset for offset in range(max(first, begin), last + 1) if offset in read)
        read = {offset for offset in read if offset > last}
    return kept


def reader_options(bootstrap: str, topics: Iterable[str], max_offsets: int) -> dict[str, str]:
    """Options of Spark's `kafka` source: all topics from their first record, at most `max_offsets` records per micro-batch.

    A lost offset fails the stream: silence about lost data would be worse.
    """
    return {
        "kafka.bootstrap.servers": bootstrap,
        "subscribe": ",".join(topics),
        "startingOffsets": "earliest",
        "includeHeaders": "true",
        "failOnDataLoss": "true",
        "kafka.isolation.level": "read_committed",  # what a producer's aborted transaction wrote was never said
        "maxOffsetsPerTrigger": str(max_offsets),
        # Fewer, larger fetches: the client's 500 records per poll and 1 MiB per partition starve a batch of 100,000.
        "kafka.max.poll.records": "10000",
        "kafka.max.partition.fetch.bytes": str(8 * MAX_MESSAGE_BYTES),
        "kafka.fetch.max.wait.ms": "1",
    }


def lane_options(bootstrap: str, partitions: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Options of Spark's `kafka` source for a query that follows these partitions from their ends, in real-time mode.

    What is lost fails nothing here, as nothing rests on such a query. Partitions that are added have no task waiting for them, so they
    are not taken up before the next start.
    """
    return {
        "kafka.bootstrap.servers": bootstrap,
        "assign": json.dumps(partitions),
        "startingOffsets": "latest",
        "includeHeaders": "true",
        "failOnDataLoss": "false",
        "kafka.isolation.level": "read_committed",
    }


@contextmanager
def _admin(bootstrap: str, timeout_ms: int = ANSWER_MS) -> Iterator[KafkaAdminClient]:
    try:
        client = KafkaAdminClient(bootstrap_servers=bootstrap.split(","), bootstrap_timeout_ms=timeout_ms)
    except KafkaError as problem:
        raise away(bootstrap) from problem
    try:
        yield client
    finally:
        client.close()


def away(bootstrap: str) -> BrokerAway:
    return BrokerAway(f"No Kafka broker answers at {bootstrap}.", "Start it, or correct the bootstrap address.")
