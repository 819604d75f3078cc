"""What no table says, as nouns: who writes the lake, what the broker holds, how the queries stand, silences, deliveries, the disk.

The command line knows where these stand and hands them in; the page shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Query:
    """A streaming query, by its checkpoint. Batches count from 0, -1 is none; times are those of the checkpoint's files."""

    name: str
    planned: int
    done: int
    planned_at: datetime | None = None
    done_at: datetime | None = None
    batch_seconds: tuple[float, ...] = ()  # from planned to finished, of the latest finished batches, oldest first
    # Of the newest finished batch: the offset after the last record read, by topic and partition; None when its file cannot be read.
    ends: Mapping[str, Mapping[int, int]] | None = field(default_factory=dict)
    reads_next: Mapping[str, int] = field(default_factory=dict)  # the next version it reads of a Delta table, by the table's id
    watermark: datetime | None = None

    @property
    def in_hand_since(self) -> datetime | None:
        """When the batch was planned that is not finished."""
        return self.planned_at if self.planned > self.done else None


@dataclass(frozen=True)
class Silence:
    """A silence that holds or will hold; `matchers` as one types them."""

    id: str
    matchers: str
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str


@dataclass(frozen=True)
class Delivery:
    """One try to tell somebody of alerts, or why nobody was told (then without a channel)."""

    at: datetime
    channel: str
    outcome: str
    detail: str
    alert_ids: tuple[str, ...]


@dataclass(frozen=True)
class Disk:
    """Bytes under the home by its directories, as measured at a time, and what is free on its disk now."""

    measured_at: datetime
    used: Mapping[str, int]
    free: int
    size: int


@dataclass(frozen=True)
class Outside:
    """All of it at a moment. `ends` is None when no broker answers; `running` has the process ids of those who write the lake."""

    at: datetime
    running: tuple[int, ...]
    broker: str
    ends: Mapping[tuple[str, int], int] | None
    queries: tuple[Query, ...]
    stopped: Mapping[str, int]  # the batch a gold table was left out since
    silences: tuple[Silence, ...]
    notifications: Mapping[str, Mapping[str, int]]  # by channel and state
    deliveries: tuple[Delivery, ...]  # newest first
    disk: Disk
    versions: Mapping[str, str]
    lateness: timedelta  # a row is late when it is so far behind the newest event of its topic


@dataclass(frozen=True)
class Silencing:
    """Making and ending silences. Both raise SettingsError, in words for the operator."""

    add: Callable[[Sequence[str], str, str, str], str]  # matchers, how long ("1h"), why, who; returns the silence's id
    end: Callable[[str], None]
