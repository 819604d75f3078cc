"""The sums of ops.ledger, kept up to date at the price of what is new: its files never change, so each is counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

FATES = ("read", "valid", "quarantined", "duplicate", "late")
_COLUMNS = ["topic", *(f"{fate}_count" for fate in FATES), "newest_event_time", "ingested_at"]


@dataclass
class Counted:
    """Of one topic: `counts` with the ledger's corrections, `first` as first judged, the newest event and batch (both UTC)."""

    counts: Counter[str] = field(default_factory=Counter)
    first: Counter[str] = field(default_factory=Counter)
    newest_event_time: datetime | None = None
    batch_at: datetime | None = None
    batches: list[tuple[datetime, int]] = field(default_factory=list)  # when cut, records read: of those not yet old when counted

    def add(self, other: Counted) -> None:
        self.counts.update(other.counts)
        self.first.update(other.first)
        self.newest_event_time = max(filter(None, (self.newest_event_time, other.newest_event_time)), default=None)
        self.batch_at = max(filter(None, (self.batch_at, other.batch_at)), default=None)
        self.batches += other.batches


class Books:
    """What was counted of the ledger, file by file: an append, a correction or a compaction costs the files it wrote."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, Counted]] = {}

    def counted(self, ledger: DeltaTable, since: datetime) -> dict[str, Counted]:
        """By topic; `since` says which batches are not old: it must not go back from call to call."""
        rows = ledger.to_pyarrow_dataset()
        self._files = {part.path: self._files.get(part.path) or _counted(part.to_table(rows.schema, _COLUMNS), since)
                       for part in rows.get_fragments()}  # fmt: skip
        found: dict[str, Counted] = {}
        for file in self._files.values():
            for topic, counted in file.items():
                found.setdefault(topic, Counted()).add(counted)
        return found


def lately(batches: Iterable[tuple[datetime, int]], since: datetime) -> int:
    """The records read in batches cut after `since`."""
    return sum(read for at, read in batches if at > since)


def _counted(rows: pa.Table, since: datetime) -> dict[str, Counted]:
    sums = [(f"{fate}_count", "sum") for fate in FATES]
    read = rows.filter(pc.greater(rows["read_count"], 0))  # not a correction
    found: dict[str, Counted] = {}
    for row in rows.group_by("topic").aggregate([*sums, ("newest_event_time", "max")]).to_pylist():
        found[row["topic"]] = Counted(_sums(row), newest_event_time=_utc(row["newest_event_time_max"]))
    for row in read.group_by("topic").aggregate([*sums, ("ingested_at", "max")]).to_pylist():
        found[row["topic"]].first, found[row["topic"]].batch_at = _sums(row), _utc(row["ingested_at_max"])
    for row in read.filter(pc.greater(read["ingested_at"], pa.scalar(since, read["ingested_at"].type))).to_pylist():
        found[row["topic"]].batches.append((row["ingested_at"].astimezone(UTC), row["read_count"]))
    return found


def _sums(row: Mapping[str, Any]) -> Counter[str]:
    return Counter({fate: row[f"{fate}_count_sum"] or 0 for fate in FATES})


def _utc(time: datetime | None) -> datetime | None:
    return time and time.astimezone(UTC)
