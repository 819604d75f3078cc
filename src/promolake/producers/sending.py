"""The one way messages leave for Kafka: every send's answer is looked at, none is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from kafka.errors import KafkaError, MessageSizeTooLargeError

from promolake.core.errors import BrokerAway
from promolake.engine.kafka import closed, producer, wait_for_broker
from promolake.producers.message import Message

PATIENCE_S = 60.0
FLUSH_S = 60.0
CLOSE_S = 5.0


class Sender:
    """Sends messages to the brokers at `bootstrap` in the background; leaving the context flushes.

    `say` is told while a broker is waited for. Raises BrokerAway where none answers or takes a message for a minute, and at the end
    where a message was not acknowledged.
    """

    def __init__(self, bootstrap: str, say: Callable[[str], None]) -> None:
        wait_for_broker(bootstrap, PATIENCE_S, say)
        self._bootstrap = bootstrap
        self._producer = producer(bootstrap)
        self._failures = 0
        self._failure = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._producer.flush(timeout=FLUSH_S)
        except KafkaError as error:
            self._failed(error)
        finally:
            closed(self._producer, CLOSE_S)
        if kind is None and self._failures:
            raise self._away(f"{self._failures} messages were not acknowledged")

    def send(self, message: Message) -> bool:
        """False where the message is larger than Kafka takes: nothing was sent."""
        try:
            future = self._producer.send(message.topic, message.value, message.key, list(message.headers))
        except MessageSizeTooLargeError:
            return False
        except KafkaError as error:
            self._failure = type(error).__name__
            raise self._away("a message could not be sent") from error
        future.add_errback(self._failed)
        return True

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._failure = type(error).__name__

    def _away(self, what: str) -> BrokerAway:
        return BrokerAway(
            f"Kafka at {self._bootstrap}: {what} ({self._failure}).", "Look after the broker, then send again: repeated ids change nothing."
        )
