"""A promotion day: an endless, seeded sequence of timed messages of all six topics, with a little trouble mixed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from random import Random

from promolake.core.errors import SettingsError
from promolake.producers.buying import MEAN_LINES, Buying
from promolake.producers.catalogue import products, shoppers
from promolake.producers.draft import Draft
from promolake.producers.machinery import Machinery
from promolake.producers.message import Message
from promolake.producers.poison import spoilt
from promolake.producers.truth import Happening

Maker = Callable[[str, int], Draft]
"""From an event id and an instant (ms) to a message's draft."""

SHARES = {"v": 35, "s": 15, "o": 15, "a": 20, "m": 5, "l": 10}
"""Percent of the messages: views, searches, order lines, access lines, metrics, log events."""

POISONED = 0.002
LATE = 0.005
DUPLICATED = 0.005
EARLIEST_LATE_MS = 60_000
LATEST_MS = 3 * 3_600_000
REPEATABLE = 2_000  # a duplicate repeats one of so many last messages


class PromotionDay:
    """Message number n is sent at start + n/rate. Everything follows from the arguments; no clock is read.

    `rate` in messages per second; `start` with its offset; without `trouble` every message is clean. Iterating starts the day anew:
    equal arguments give equal bytes.
    """

    def __init__(self, seed: int, rate: float, start: datetime, trouble: bool = True) -> None:
        if rate <= 0:
            raise SettingsError(f"A rate of {rate} messages per second is none.", "Give a rate above 0.")
        self._seed = seed
        self._rate = rate
        self._start = round(start.timestamp() * 1000)
        self._trouble = trouble
        # Runs of one seed started at different times must not share ids: silver would take the second run for a repetition.
        self.run = f"{seed:x}.{self._start:x}"

    def __iter__(self) -> Iterator[Happening]:
        day = _Day(Random(self._seed), self.run, self._trouble)
        for index in count():
            yield day.happening(index, self._start + int(index * 1000 / self._rate))


class _Day:
    """The day as it stands after the happenings so far."""

    def __init__(self, random: Random, run: str, trouble: bool) -> None:
        people = shoppers(random)
        buying = Buying(random, run, people, products(random))
        machinery = Machinery(random, people)
        self._random = random
        self._run = run
        self._trouble = trouble
        self._buying = buying
        self._on_time: dict[str, Maker] = {
            "v": buying.view,
            "s": buying.search,
            "o": buying.order_line,
            "a": machinery.access,
            "m": machinery.metric,
            "l": machinery.log,
        }
        # An order's later lines follow its first one at once, so fewer orders than lines are drawn.
        self._lots = _lots(SHARES | {"o": SHARES["o"] / MEAN_LINES})
        self._recent: deque[Message] = deque(maxlen=REPEATABLE)

    def happening(self, index: int, at: int) -> Happening:
        topic = "o" if self._buying.has_unsent_lines else self._lots[int(self._random.random() * len(self._lots))]
        event_id = f"{topic}-{self._run}-{index}"
        chance = self._random.random() if self._trouble else 1.0
        if chance < POISONED:
            message, reason = spoilt(self._alone(topic, event_id, at), self._random)
            return Happening(index, at, message, "poison", reason)
        if chance < POISONED + DUPLICATED and self._recent:
            return Happening(index, at, self._recent[int(self._random.random() * len(self._recent))], "duplicate")
        if chance < POISONED + DUPLICATED + LATE:
            draft, kind = self._alone(topic, event_id, at - EARLIEST_LATE_MS - int(self._random.random() * LATEST_MS)), "late"
        else:
            draft, kind = self._on_time[topic](event_id, at), "clean"
        message = draft.message()
        self._recent.append(message)
        return Happening(index, at, message, kind, fact=draft.fact)

    def _alone(self, topic: str, event_id: str, at: int) -> Draft:
        """A draft that no other message depends on."""
        return self._buying.lone_sale(event_id, at) if topic == "o" else self._on_time[topic](event_id, at)


def _lots(shares: dict[str, float]) -> str:
    """Each topic's letter as often as its share, so that drawing one is a look-up."""
    return "".join(letter * round(share * 20) for letter, share in shares.items())
