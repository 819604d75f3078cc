"""Reading topics from their beginnings with librdkafka, without a group."""

from __future__ import annotations

from confluent_kafka import Consumer, Message, TopicPartition

COMMON_TOPICS = ("shop.orders", "site.access")


class Backlog:
    """The topics' records; `is_read` once all that stood there at first has been taken."""

    def __init__(self, bootstrap: str, topics: tuple[str, ...]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "bench",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 8 * 1024 * 1024,
                "queued.min.messages": 200_000,
            }
        )
        places = [
            TopicPartition(topic, partition, 0)
            for topic in topics
            for partition in self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        self._left = {}
        for place in places:
            _, end = self._consumer.get_watermark_offsets(place, timeout=10)
            if end:
                self._left[place.topic, place.partition] = end
        self._consumer.assign(places)

    @property
    def is_read(self) -> bool:
        return not self._left

    def taken(self, most: int, seconds: float) -> list[Message]:
        """Up to `most` records, or those that came within `seconds`."""
        messages = self._consumer.consume(most, seconds)
        # Each partition's records come in order, so the last one of a batch tells how far it is.
        last = {(message.topic(), message.partition()): message.offset() for message in messages}
        for place, offset in last.items():
            if place in self._left and offset + 1 >= self._left[place]:
                del self._left[place]
        return messages
