"""Topics filled once from a seed, with what must come of them: the same bytes for every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.truth import Expected
from promolake.engine import kafka
from promolake.local.broker import Broker
from promolake.producers import buying, catalogue, machinery
from promolake.producers.promotion import PromotionDay
from promolake.producers.sending import Sender
from promolake.producers.truth import Truth
from promolake.sources import TOPICS

SEED = 11
RATE = 1000.0
"""Messages per second of event time: a minute holds as many rows as it does live."""
START = datetime(2024, 11, 11, 10, tzinfo=UTC)
NAMES = [topic.name for topic in TOPICS]


@dataclass(frozen=True)
class Dataset:
    """`records` messages in the topics of the broker at `bootstrap`, with their truth."""

    bootstrap: str
    records: int
    expected: Expected
    truth: dict[str, Any]

    def events(self, topics: tuple[str, ...]) -> int:
        return sum(self.expected.records[topic] for topic in topics)


@contextmanager
def broker_with_topics(home: Path, say: Callable[[str], None]) -> Iterator[str]:
    """A broker of its own with the six topics, empty; stopped at the end."""
    broker = Broker(home)
    broker.start(say, tied=True)
    try:
        bootstrap = broker.status().bootstrap
        kafka.ensure_topics(bootstrap, NAMES)
        yield bootstrap
    finally:
        broker.stop()


@contextmanager
def troubled_day(home: Path, rate: float, records: int, say: Callable[[str], None]) -> Iterator[str]:
    """A broker holding so many messages, `rate` a second of event time, of a day with every kind of trouble."""
    with broker_with_topics(home, say) as bootstrap:
        with Sender(bootstrap, say) as sender:
            for happening in islice(PromotionDay(SEED, rate, START), records):
                assert sender.send(happening.message)
        yield bootstrap


@contextmanager
def dataset(home: Path, records: int, say: Callable[[str], None], keys: int = 1) -> Iterator[Dataset]:
    """A broker holding a clean promotion day of so many records; `keys` times as many products and shoppers as usual.

    Addresses stay as many as they are: the simulator's households.
    """
    with broker_with_topics(home, say) as bootstrap:
        expected, truth = Expected(), Truth()
        with Sender(bootstrap, say) as sender, more_keys(keys):
            for happening in islice(PromotionDay(SEED, RATE, START, trouble=False), records):
                assert sender.send(happening.message)
                expected.add(happening)
                truth.add(happening)
        yield Dataset(bootstrap, records, expected, truth.report())


@contextmanager
def more_keys(times: int) -> Iterator[None]:
    """The simulator's catalogue is fixed; the scaling measure alone wants another one."""
    products, shoppers = catalogue.PRODUCTS * times, catalogue.SHOPPERS * times
    with (
        patch.object(catalogue, "PRODUCTS", products),
        patch.object(catalogue, "SHOPPERS", shoppers),
        patch.object(buying, "PRODUCTS", products),
        patch.object(machinery, "PRODUCTS", products),
    ):
        yield
