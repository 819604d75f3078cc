"""How everything stands at a moment, for the operations page and for Prometheus: of what is committed, not of what is promised."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from promolake.core.errors import PromolakeError
from promolake.serving.page.books import FATES, Books, Counted, lately
from promolake.serving.page.outside import Outside, Query
from promolake.serving.sql import Reader

RATE_SECONDS = 60
QUARANTINE_HOURS = 24
ALERTS_SHOWN = 30
KEPT_SECONDS = 4.0  # so long one look serves everybody who asks: it shares the cores with the stream

LEDGER = "ops.ledger"
_AUDIT = """
SELECT audited_at, table_name, expectation, severity, is_success, details FROM ops.audits
WHERE audited_at = (SELECT max(audited_at) FROM ops.audits) ORDER BY severity, table_name, expectation
"""
_ALERTS = """
SELECT alert_id, alert, status, labels, annotations, value, starts_at, ends_at, ingested_at
FROM ops.alerts ORDER BY ingested_at DESC, alert_id LIMIT {limit}
"""
_FORWARDS = "SELECT topic, sum(due_count - sent_count) AS lane, sum(sent_count) AS micro_batch FROM ops.forwards GROUP BY ALL ORDER BY ALL"
_STATES = "SELECT alert, status, count(*) AS n FROM ops.alert_states WHERE status IN ('firing', 'pending') GROUP BY ALL ORDER BY ALL"


@dataclass(frozen=True)
class Topic:
    """What became of a topic's records. `lag` is how many the broker holds that no finished batch has read; None: not known.

    The counts are the ledger's with its corrections (None, and `first` empty, when it cannot be read); those of `first` are as first
    judged, and only ever grow.
    """

    name: str
    lag: int | None
    read: int | None
    valid: int | None
    quarantined: int | None
    duplicate: int | None
    late: int | None
    first: Mapping[str, int]
    per_second: float | None  # read in the last RATE_SECONDS
    newest_event_time: datetime | None
    batch_at: datetime | None  # when the newest batch with records was cut


@dataclass(frozen=True)
class TableState:
    """A Delta table by its log."""

    name: str
    id: str
    version: int
    files: int
    bytes: int
    rows: int | None  # None when a file does not say
    committed_at: datetime | None


@dataclass(frozen=True)
class Quarantined:
    """How many rows of the last QUARANTINE_HOURS broke a rule; a row that breaks two counts under both."""

    topic: str
    rule: str
    rows: int
    newest_at: datetime


@dataclass(frozen=True)
class Audit:
    """The newest audit."""

    at: datetime
    counts: Mapping[tuple[str, bool], int]  # by severity and whether the expectation is kept
    broken: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Standing:
    """Everything at the moment `outside.at`."""

    outside: Outside
    topics: tuple[Topic, ...]
    tables: tuple[TableState, ...]
    quarantined: tuple[Quarantined, ...]
    alerts: tuple[Mapping[str, Any], ...]  # rows of ops.alerts, newest first
    states: Mapping[tuple[str, str], int]  # alerts that fire or are pending, by rule and status
    audit: Audit | None
    forwards: tuple[Mapping[str, Any], ...] = ()  # by topic, how many events the lane sent, and how many the micro-batches
    unreadable: tuple[str, ...] = ()  # tables that are there and cannot be read

    @property
    def at(self) -> datetime:
        return self.outside.at

    def behind(self, query: Query) -> int | None:
        """Commits of its source tables a query has yet to read; None when it reads no table."""
        versions = {table.id: table.version for table in self.tables}
        left = [max(0, versions[id] + 1 - version) for id, version in query.reads_next.items() if id in versions]
        return sum(left) if left else None


class Standings:
    """Looks at the lake under `root`; `outside` tells what no table says, `topics` are those there should be. For any thread."""

    def __init__(self, root: Path, topics: tuple[str, ...], outside: Callable[[], Outside]) -> None:
        self._root = root
        self._topics = topics
        self._outside = outside
        self._reader = Reader(root)
        self._books = Books()
        self._found: dict[str, tuple[object, Any]] = {}
        self._open: dict[str, DeltaTable] = {}
        self._lock = threading.Lock()
        self._latest: tuple[float, Standing] | None = None
        self._unreadable: set[str] = set()

    def now(self) -> Standing:
        """At most KEPT_SECONDS old."""
        with self._lock:
            if self._latest is None or time.monotonic() - self._latest[0] > KEPT_SECONDS:
                looked = self._looked()
                self._latest = (time.monotonic(), looked)
            return self._latest[1]

    def forget(self) -> None:
        """The next look is a new one: something was changed here."""
        with self._lock:
            self._latest = None

    def _looked(self) -> Standing:
        outside = self._outside()
        self._unreadable.clear()
        tables = tuple(self._table_states())
        versions = {table.name: table.version for table in tables}
        since = outside.at - timedelta(seconds=RATE_SECONDS)

        def asked(table: str, sql: str) -> list[dict[str, Any]]:
            if table not in versions:
                return []
            return self._tried(table, [], lambda: self._remembered(sql, versions[table], lambda: self._reader.query(sql).to_pylist()))

        books: dict[str, Counted] | None = {}
        if LEDGER in versions:
            books = self._tried(LEDGER, None, lambda: self._books.counted(self._open[LEDGER], since))
        elif LEDGER in self._unreadable:
            books = None
        return Standing(
            outside,
            tuple(_topic(name, None if books is None else books.get(name, Counted()), outside) for name in self._topics),
            tables,
            self._quarantined(outside.at),
            tuple(asked("ops.alerts", _ALERTS.format(limit=ALERTS_SHOWN))),
            {(row["alert"], row["status"]): row["n"] for row in asked("ops.alert_states", _STATES)},
            _audit(asked("ops.audits", _AUDIT)),
            tuple(asked("ops.forwards", _FORWARDS)),
            tuple(sorted(self._unreadable)),
        )

    def _tried(self, table: str, otherwise: Any, look: Callable[[], Any]) -> Any:
        """A damaged table must not take the page that says so with it."""
        try:
            return look()
        except (DeltaError, PromolakeError, OSError, pa.ArrowException):
            self._unreadable.add(table)
            self._open.pop(table, None)
            return otherwise

    def _remembered(self, what: str, as_of: object, look: Callable[[], Any]) -> Any:
        """What was found before, unless it is of another version of its tables."""
        if what not in self._found or self._found[what][0] != as_of:
            self._found[what] = (as_of, look())
        return self._found[what][1]

    def _table_states(self) -> list[TableState]:
        """Every table of the lake, those not shown to queries, too: of their logs, not of their rows."""
        names = sorted(f"{log.parent.parent.name}.{log.parent.name}" for log in self._root.glob("[a-z]*/*/_delta_log"))
        self._open = {name: table for name, table in self._open.items() if name in names}
        found = [self._tried(name, None, lambda name=name: self._table_state(name)) for name in names]
        return [state for state in found if state]

    def _table_state(self, name: str) -> TableState:
        if name in self._open:
            self._open[name].update_incremental()
        else:
            self._open[name] = DeltaTable(self._root.joinpath(*name.split(".")))
        table = self._open[name]
        return self._remembered(name, (table.metadata().id, table.version()), lambda: _state(name, table))

    def _quarantined(self, at: datetime) -> tuple[Quarantined, ...]:
        minute = at.replace(second=0, microsecond=0)  # by which the day it looks back on moves on
        found: list[Quarantined] = []
        for name, table in [one for one in self._open.items() if ".quarantine_" in one[0]]:

            def refused(table: DeltaTable = table) -> list[Quarantined]:
                return self._remembered(f"refused {table.table_uri}", (minute, table.version()), lambda: _refused(table, at))

            found += self._tried(name, [], refused)
        return tuple(sorted(found, key=lambda one: (one.newest_at, one.rows), reverse=True))


def _refused(table: DeltaTable, at: datetime) -> list[Quarantined]:
    """Reads the reasons and their times, never the rows themselves: they hold personal data in clear."""
    since = pa.scalar(at - timedelta(hours=QUARANTINE_HOURS), pa.timestamp("us", "UTC"))
    rows = table.to_pyarrow_dataset().to_table(["topic", "violations", "ingested_at"], pc.field("ingested_at") > since)
    parents = pc.list_parent_indices(rows["violations"])
    each = {"topic": pc.take(rows["topic"], parents), "at": pc.take(rows["ingested_at"], parents)}
    flat = pa.table({"rule": pc.list_flatten(rows["violations"]), **each})
    counted = flat.group_by(["topic", "rule"]).aggregate([("at", "count"), ("at", "max")]).to_pylist()
    return [Quarantined(row["topic"], row["rule"], row["at_count"], row["at_max"].astimezone(UTC)) for row in counted]


def _state(name: str, table: DeltaTable) -> TableState:
    files = pa.table(table.get_add_actions(flatten=True))
    rows = files["num_records"] if "num_records" in files.column_names else None
    (commit,) = table.history(1) or [{}]
    return TableState(
        name,
        str(table.metadata().id),
        table.version(),
        files.num_rows,
        pc.sum(files["size_bytes"]).as_py() or 0,
        (pc.sum(rows).as_py() or 0) if rows is not None and not rows.null_count else None,
        datetime.fromtimestamp(commit["timestamp"] / 1000, UTC) if "timestamp" in commit else None,
    )


def _topic(name: str, counted: Counted | None, outside: Outside) -> Topic:
    if counted is None:
        return Topic(name, _lag(name, outside), **dict.fromkeys(FATES), first={}, per_second=None, newest_event_time=None, batch_at=None)
    return Topic(
        name,
        _lag(name, outside),
        **{fate: counted.counts[fate] for fate in FATES},
        first={fate: counted.first[fate] for fate in ("valid", "quarantined", "duplicate")},
        per_second=lately(counted.batches, outside.at - timedelta(seconds=RATE_SECONDS)) / RATE_SECONDS,
        newest_event_time=counted.newest_event_time,
        batch_at=counted.batch_at,
    )


def _lag(name: str, outside: Outside) -> int | None:
    """The broker's ends less those of the newest finished batch of whichever query reads the topic."""
    if outside.ends is None or any(query.ends is None for query in outside.queries):
        return None
    read: dict[int, int] = {}
    for query in outside.queries:
        for partition, end in query.ends.get(name, {}).items():
            read[partition] = max(end, read.get(partition, 0))
    return sum(max(0, end - read.get(partition, 0)) for (topic, partition), end in outside.ends.items() if topic == name)


def _audit(rows: list[dict[str, Any]]) -> Audit | None:
    if not rows:
        return None
    counts: dict[tuple[str, bool], int] = {}
    for row in rows:
        key = (row["severity"], row["is_success"])
        counts[key] = counts.get(key, 0) + 1
    return Audit(rows[0]["audited_at"], counts, tuple(row for row in rows if not row["is_success"]))
