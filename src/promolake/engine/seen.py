"""Which events were here before? An index of the event ids of the UTC days in hand, filled from silver and kept up with it.

An event is a duplicate when its event_id stands at another Kafka position in silver (or earlier in its own batch) under the same UTC
date. "At another position" rather than "is present" makes a replayed batch, whose first half may already be in silver, decide as it did
the first time. Per event the index keeps 24 bytes: a 64-bit hash of the id, a hash of the payload, and the position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

_OFFSET_BITS = 48
_DAY_US = 86_400_000_000
MAX_EVENTS = 40_000_000
"""Above this (about 1 GB) the days least recently touched are forgotten, and read from silver again when they are touched."""


@dataclass(frozen=True)
class Sorted:
    """Rows for the batch, each marked: new, a duplicate (same payload), or a conflict (same id, another payload)."""

    is_duplicate: np.ndarray
    is_conflict: np.ndarray

    @property
    def is_new(self) -> np.ndarray:
        return ~(self.is_duplicate | self.is_conflict)


@dataclass
class _Day:
    """One day's ids as sorted runs, each at least twice as long as the next (a log-structured merge)."""

    runs: list[np.ndarray] = field(default_factory=list)
    touched: int = 0

    def __len__(self) -> int:
        return sum(len(run) for run in self.runs)

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per hash: whether it is here, and then the payload hash and the position of its event."""
        found = np.zeros(len(hashes), bool)
        payloads, positions = np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.int64)
        for run in self.runs:
            places = np.minimum(np.searchsorted(run["id"], hashes), len(run) - 1)
            hit = run["id"][places] == hashes
            payloads[hit], positions[hit] = run["payload"][places[hit]], run["position"][places[hit]]
            found |= hit
        return found, payloads, positions

    def add(self, entries: np.ndarray) -> None:
        if not len(entries):
            return
        run = np.sort(entries, order="id")
        while self.runs and len(self.runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self.runs.pop(), run]), order="id", kind="stable")
        self.runs.append(run)


_ENTRY = np.dtype([("id", np.uint64), ("payload", np.int64), ("position", np.int64)])


class SeenEvents:
    """The index of one silver table. `load(days)` reads event_id, event_time, payload_hash, partition, offset of UTC days from silver."""

    def __init__(self, load: Callable[[list[int]], pa.Table]) -> None:
        self._load = load
        self._days: dict[int, _Day] = {}
        self._turn = 0

    def sort(self, rows: pa.Table) -> Sorted:
        """Marks rows with columns event_id, event_time, payload_hash, partition, offset. Nothing is remembered until `remember`."""
        entries, days = _entries(rows)
        self._touch(np.unique(days))
        # Within the batch the lowest position of an id is the event itself.
        order = np.lexsort((entries["position"], entries["id"], days))
        same = np.zeros(len(entries), bool)
        same[1:] = (entries["id"][order][1:] == entries["id"][order][:-1]) & (days[order][1:] == days[order][:-1])
        firsts = order[np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))] if len(order) else order
        first_of = np.empty(len(entries), np.int64)
        first_of[order] = firsts
        repeated = first_of != np.arange(len(entries))
        original = entries["payload"][first_of]
        for day in np.unique(days):
            mine = days == day
            found, payloads, positions = self._days[int(day)].find(entries["id"][mine])
            elsewhere = found & (positions != entries["position"][mine])
            # An event found at the batch's own position is a replay of this very batch: its repetitions still refer to it.
            repeated[mine] |= elsewhere
            original[mine] = np.where(elsewhere, payloads, original[mine])
        differs = entries["payload"] != original
        return Sorted(repeated & ~differs, repeated & differs)

    def remember(self, rows: pa.Table) -> None:
        """Takes in rows that are in silver now; taking the same rows in twice changes nothing."""
        entries, days = _entries(rows)
        for day in np.unique(days):
            known = self._days.setdefault(int(day), _Day())
            mine = entries[days == day]
            known.add(mine[~known.find(mine["id"])[0]])

    def _touch(self, days: np.ndarray) -> None:
        self._turn += 1
        missing = [int(day) for day in days if int(day) not in self._days]
        if missing:
            for day in missing:
                self._days[day] = _Day()
            self.remember(self._load(missing))
        for day in days:
            self._days[int(day)].touched = self._turn
        while sum(map(len, self._days.values())) > MAX_EVENTS and len(self._days) > len(days):
            del self._days[min(self._days, key=lambda day: self._days[day].touched)]


def _entries(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    entries = np.empty(rows.num_rows, _ENTRY)
    entries["id"] = pd.util.hash_array(rows["event_id"].to_numpy().astype(object), categorize=False) if rows.num_rows else 0
    entries["payload"] = rows["payload_hash"].to_numpy()
    entries["position"] = (rows["partition"].to_numpy().astype(np.int64) << _OFFSET_BITS) | rows["offset"].to_numpy()
    days = np.floor_divide(rows["event_time"].cast(pa.int64()).to_numpy(), _DAY_US)
    return entries, days
