"""Channels that stay in the house: a Kafka topic, a log file, and memory for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import PrivateAttr

from promolake.alerts.channels.base import Channel
from promolake.alerts.message import Message, TryLater

WAIT_S = 5


class KafkaTopic(Channel):
    """A record per transition, its id the key: whoever reads the topic can drop a repetition."""

    type: Literal["kafka"]
    bootstrap: str
    topic: str = "alerts"
    _producer: Any = PrivateAttr(None)

    def send(self, message: Message) -> None:
        from kafka import KafkaProducer
        from kafka.errors import KafkaError

        try:
            if self._producer is None:
                self._producer = KafkaProducer(bootstrap_servers=self.bootstrap.split(","), acks="all", max_block_ms=WAIT_S * 1000)
            headers = [("notification", message.id.encode())]
            sent = [
                self._producer.send(self.topic, json.dumps(one.as_alertmanager(), sort_keys=True).encode(), one.id.encode(), headers)
                for one in message.transitions
            ]
            for one in sent:
                one.get(timeout=WAIT_S)
        except KafkaError as error:
            raise TryLater(f"{self.bootstrap}: {type(error).__name__}") from None


class LogFile(Channel):
    """A JSON line per transition at the end of `file`, which log collectors follow."""

    type: Literal["log"]
    file: Path

    def at_home(self, home: Path) -> LogFile:
        return self.model_copy(update={"file": home / self.file})

    def send(self, message: Message) -> None:
        lines = "".join(json.dumps({"notification": message.id, **one.as_alertmanager()}) + "\n" for one in message.transitions)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as file:
                file.write(lines)
        except OSError as error:
            raise TryLater(f"{self.file}: {error.strerror}") from None


class Memory(Channel):
    """Keeps what it is sent, by channel name: for tests and `alerts test`."""

    type: Literal["memory"]
    sent: ClassVar[dict[str, list[Message]]] = {}

    def send(self, message: Message) -> None:
        self.sent.setdefault(self.name, []).append(message)
