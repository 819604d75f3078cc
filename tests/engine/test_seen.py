"""Which events were here before: the index against a plain dict, whatever happens between two batches."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promolake.engine import seen
from promolake.engine.seen import SeenEvents

MIDNIGHT = datetime(2026, 11, 10, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("payload_hash", pa.int64()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
    ]
)
NEW, DUPLICATE, CONFLICT = "new", "duplicate", "conflict"


class Event(NamedTuple):
    event_id: str
    event_time: datetime
    payload_hash: int
    partition: int
    offset: int

    @property
    def key(self) -> tuple[date, str]:
        return self.event_time.date(), self.event_id


def table(events: list[Event]) -> pa.Table:
    return pa.Table.from_pylist([event._asdict() for event in events], schema=SCHEMA)


def marks(index: SeenEvents, events: list[Event]) -> list[str]:
    found = index.sort(table(events))
    assert list(found.is_new) == [not (d or c) for d, c in zip(found.is_duplicate, found.is_conflict, strict=True)]
    return [DUPLICATE if d else CONFLICT if c else NEW for d, c in zip(found.is_duplicate, found.is_conflict, strict=True)]


class Oracle:
    """The same decision in the plainest words: by UTC date and id, the event is the first that came."""

    def __init__(self) -> None:
        self.first: dict[tuple[date, str], Event] = {}

    def marks(self, events: list[Event]) -> list[str]:
        for event in sorted(events, key=lambda event: (event.partition, event.offset)):
            self.first.setdefault(event.key, event)
        return [self._mark(event, self.first[event.key]) for event in events]

    def _mark(self, event: Event, first: Event) -> str:
        if event[3:] == first[3:]:
            return NEW
        return DUPLICATE if event.payload_hash == first.payload_hash else CONFLICT


class Silver:
    """The rows of silver, and how the index loads days of them."""

    def __init__(self) -> None:
        self.rows: list[Event] = []
        self.loads = 0

    def load(self, days: list[int]) -> pa.Table:
        self.loads += 1
        return table([row for row in self.rows if (row.event_time - datetime(1970, 1, 1, tzinfo=UTC)).days in days])


MADE = st.tuples(
    st.sampled_from("abcde"),  # the id
    st.integers(0, 2),  # its date
    st.sampled_from([0, 1, 86_399_999_999]),  # and microsecond: both ends of the date
    st.integers(0, 1),  # the payload
    st.integers(0, 1),  # the partition
)
REPLAYS = st.sets(st.sampled_from(["at once", "after a crash before silver", "after a crash before remembering", "after remembering"]))
STEPS = st.lists(st.tuples(st.lists(MADE, max_size=10), st.randoms(use_true_random=False), REPLAYS), max_size=6)


def walked(steps: list) -> None:
    """Takes random batches through the index as the scan does, with replays in between; every answer is the oracle's."""
    silver, oracle = Silver(), Oracle()
    index, offsets = SeenEvents(silver.load), (count(), count())
    for made, random, replays in steps:
        events = [
            Event(name, MIDNIGHT + timedelta(days=day, microseconds=micros), payload, partition, next(offsets[partition]))
            for name, day, micros, payload, partition in made
        ]
        random.shuffle(events)
        expected = oracle.marks(events)
        valid = [event for event, mark in zip(events, expected, strict=True) if mark == NEW]
        assert marks(index, events) == expected
        if "at once" in replays:
            assert marks(index, events) == expected
        if "after a crash before silver" in replays:
            index = SeenEvents(silver.load)
            assert marks(index, events) == expected
        silver.rows += valid
        if "after a crash before remembering" in replays:
            index = SeenEvents(silver.load)
            assert marks(index, events) == expected
        index.remember(table(valid))
        if "after remembering" in replays:
            assert marks(index, events) == expected
            index.remember(table(valid))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(STEPS)
def test_every_event_is_marked_as_a_plain_dict_would_also_when_its_batch_is_replayed(steps: list) -> None:
    walked(steps)


def test_forgetting_days_changes_nothing_because_they_are_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MAX_EVENTS", 2)
    settings(max_examples=100, deadline=None, derandomize=True, database=None)(given(STEPS)(walked))()


def at(day: int, name: str, offset: int, payload: int = 1, partition: int = 0) -> Event:
    return Event(name, MIDNIGHT + timedelta(days=day, hours=5), payload, partition, offset)


def test_a_day_is_loaded_once_and_again_only_after_it_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    silver = Silver()
    index = SeenEvents(silver.load)
    for offset in range(4):
        silver.rows.append(at(0, f"e{offset}", offset))
        assert marks(index, [silver.rows[-1]]) == [NEW]
        index.remember(table(silver.rows[-1:]))
    assert silver.loads == 1
    monkeypatch.setattr(seen, "MAX_EVENTS", 3)
    assert marks(index, [at(1, "other", 9)]) == [NEW]  # the day before, untouched now, is forgotten
    assert silver.loads == 2
    assert marks(index, [at(0, "e1", 10), at(0, "e2", 11, payload=2)]) == [DUPLICATE, CONFLICT]
    assert silver.loads == 3


def test_the_same_id_on_another_utc_date_is_another_event() -> None:
    index = SeenEvents(Silver().load)
    last, first = MIDNIGHT + timedelta(hours=24, microseconds=-1), MIDNIGHT + timedelta(hours=24)
    assert marks(index, [Event("a", last, 1, 0, 0), Event("a", first, 1, 0, 1), Event("a", last, 1, 0, 2)]) == [NEW, NEW, DUPLICATE]


def test_within_a_batch_the_lowest_position_is_the_event_wherever_it_stands() -> None:
    index = SeenEvents(Silver().load)
    events = [at(0, "a", 7, payload=2, partition=1), at(0, "a", 9, payload=1), at(0, "a", 3, payload=1)]
    assert marks(index, events) == [CONFLICT, DUPLICATE, NEW]


def test_an_empty_batch_has_no_marks() -> None:
    assert marks(SeenEvents(Silver().load), []) == []
