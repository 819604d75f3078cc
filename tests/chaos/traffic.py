"""What is sent to the victims, and the plain-Python books of it that every scenario is judged by."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Self

import pytest

from promolake.engine import kafka
from promolake.producers import promotion
from promolake.producers.message import Message
from promolake.producers.promotion import PromotionDay
from promolake.producers.sending import Sender
from promolake.producers.truth import Happening, Truth
from promolake.sources import TOPICS

START = datetime(2024, 11, 11, 23, 50, tzinfo=UTC)  # the day crosses a UTC midnight
NAMES = [topic.name for topic in TOPICS]
JSON = frozenset(topic.name for topic in TOPICS if topic.codec == "json")


@contextmanager
def trouble(**shares: float) -> Iterator[None]:
    """The simulator's own trouble turned up: POISONED, LATE, DUPLICATED (shares of the messages), LATEST_MS."""
    with pytest.MonkeyPatch.context() as patch:
        for name, share in shares.items():
            patch.setattr(promotion, name, share)
        yield


def day(seed: int, rate: float, count: int, **shares: float) -> list[Happening]:
    """The first `count` messages of a seeded day."""
    with trouble(**shares):
        return list(islice(PromotionDay(seed, rate, START), count))


def with_the_future(happenings: Iterable[Happening], every: int) -> Iterator[Happening]:
    """After every so many messages a row of the year 2099, of a topic that says its event time itself."""
    last: dict[str, Message] = {}
    for n, happening in enumerate(happenings, 1):
        yield happening
        if happening.kind == "clean" and happening.message.topic in JSON:
            last[happening.message.topic] = happening.message
        if n % every == 0 and last:
            message = last[sorted(last)[n // every % len(last)]]
            ahead = {**json.loads(message.value), "event_id": f"future-{n}", "event_time": "2099-11-11T00:00:00Z"}
            message = message._replace(value=json.dumps(ahead).encode())
            yield Happening(happening.index, happening.at, message, "poison", "ts_future")


@dataclass
class Sent:
    """The books of what was sent and acknowledged."""

    truth: Truth = field(default_factory=Truth)
    values: dict[str, Counter[bytes]] = field(default_factory=lambda: defaultdict(Counter))
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    count: int = 0

    def add(self, happening: Happening) -> None:
        topic = happening.message.topic
        self.truth.add(happening)
        self.values[topic][happening.message.value] += 1
        self.count += 1
        if happening.kind == "poison":
            self.reasons[topic][happening.reason] += 1
        elif happening.kind != "duplicate":
            self.ids[topic].add(event_id(happening.message))

    def send(self, bootstrap: str, happenings: Iterable[Happening]) -> None:
        """Sends and keeps the books; returns when the broker has acknowledged all of it."""
        kafka.ensure_topics(bootstrap, NAMES)
        with Sender(bootstrap, print) as sender:
            for happening in happenings:
                assert sender.send(happening.message)
                self.add(happening)


class Paced:
    """Sends happenings at `rate` a second in a thread of its own from entering on; leaving waits until the broker has them all."""

    def __init__(self, sent: Sent, bootstrap: str, happenings: Iterable[Happening], rate: float) -> None:
        self._sent = sent
        self._bootstrap = bootstrap
        self._happenings = happenings
        self._rate = rate
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error:
            raise self._error

    @property
    def is_sending(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._sent.send(self._bootstrap, self._on_time())
        except BaseException as error:
            self._error = error

    def _on_time(self) -> Iterator[Happening]:
        began = time.monotonic()
        for n, happening in enumerate(self._happenings):
            time.sleep(max(0.0, began + n / self._rate - time.monotonic()))
            yield happening


def event_id(message: Message) -> str:
    """The id a valid message names itself by."""
    if message.topic in JSON:
        return json.loads(message.value)["event_id"]
    return dict(message.headers)["event_id"].decode()
