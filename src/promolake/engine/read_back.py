"""What stands on a topic already: read back, so that only what is missing there is sent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from promolake.core.errors import BrokerAway
from promolake.engine import kafka

Sent = tuple[bytes, bytes]
"""A record as key and value. Both, as a topic that was begun anew gives its positions, and so event ids, a second time."""

KEPT = 500_000  # records remembered, 100 bytes each, the oldest forgotten first; what is forgotten is taken for missing
_SLACK = timedelta(minutes=1)  # by which the clocks of two producers may differ
_MOMENT_MS = 50


class ReadBack:
    """One topic's records from some time on. Not for two threads at once."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._consumer: KafkaConsumer | None = None
        self._known: dict[bytes, None] = {}

    def missing(self, records: Sequence[Sent], since: datetime, patience_s: float) -> list[Sent]:
        """Those of the records that do not stand on the topic, nor come there within `patience_s`. The first call decides from which
        time (of the broker's record) on the topic is read: `since`. All of them where the topic cannot be read."""
        deadline = time.monotonic() + patience_s
        try:
            self._read_to_the_end(since)
            while left := [record for record in records if _digest(*record) not in self._known]:
                if time.monotonic() >= deadline:
                    return left
                self._take(_MOMENT_MS)
            return []
        except (KafkaError, BrokerAway):
            self.close()
            return list(records)

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _read_to_the_end(self, since: datetime) -> None:
        consumer = self._consumer = self._consumer or self._opened(since)
        ends = consumer.end_offsets(list(consumer.assignment()))
        while any(consumer.position(place) < end for place, end in ends.items()):
            if not self._take(kafka.ATTEMPT_MS) and kafka.cluster_id(self._bootstrap) is None:
                raise kafka.away(self._bootstrap)

    def _opened(self, since: datetime) -> KafkaConsumer:
        consumer = KafkaConsumer(
            bootstrap_servers=self._bootstrap.split(","),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        places = [TopicPartition(self._topic, number) for number in consumer.partitions_for_topic(self._topic) or ()]
        consumer.assign(places)
        begins = consumer.offsets_for_times(dict.fromkeys(places, int((since - _SLACK).timestamp() * 1000)))
        for place in places:
            if begins[place]:
                consumer.seek(place, begins[place].offset)
            else:  # nothing so new stands there
                consumer.seek_to_end(place)
        return consumer

    def _take(self, timeout_ms: int) -> bool:
        """Whether records came."""
        polled = self._consumer.poll(timeout_ms=timeout_ms) if self._consumer else {}
        self._remember((record.key, record.value) for records in polled.values() for record in records)
        return bool(polled)

    def _remember(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        for key, value in records:
            self._known[_digest(key or b"", value or b"")] = None
        for oldest in [digest for digest, _ in zip(self._known, range(len(self._known) - KEPT), strict=False)]:
            del self._known[oldest]


def _digest(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(len(key).to_bytes(4, "big") + key + value, digest_size=16).digest()
