"""How the lake stands, read from its tables and the broker without a JVM: for `status`, the demo and whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.errors import BrokerAway
from promolake.engine import kafka
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import FORWARDS, LEDGER
from promolake.engine.lock import holders
from promolake.engine.query_log import QueryLog
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker
from promolake.settings import Settings


@dataclass(frozen=True)
class TopicReport:
    """Records of one topic; `lag` is how many the broker holds that no finished batch has read, None when it cannot be asked."""

    topic: str
    lag: int | None
    read: int
    valid: int
    quarantined: int
    duplicate: int


@dataclass(frozen=True)
class ForwardReport:
    """Events that had to be sent to a topic, as the micro-batches audited it: by the lane, and what these had to send themselves."""

    topic: str
    audited: int
    by_lane: int
    by_micro_batch: int


@dataclass(frozen=True)
class TableReport:
    table: str
    rows: int
    newest: datetime | None


@dataclass(frozen=True)
class Report:
    home: str
    running: dict[str, int]  # what holds a lock, by its pid
    bootstrap: str | None
    topics: list[TopicReport]
    forwards: list[ForwardReport]
    gold: list[TableReport]


def report(settings: Settings) -> Report:
    """The state of a home, from outside: of what is committed, not of what is promised."""
    lake, bootstrap = Lakehouse(settings.lake), bootstrap_of(settings)
    gold = [flow.table for flow in (*HALLWAY.metrics, *HALLWAY.joins)]
    tables = []
    for table in gold:
        if lake.exists(table):
            (time,) = table.stats
            times = lake.read(table, [time])[time]
            newest = pc.max(times).as_py() if len(times) else None
            tables.append(TableReport(table.name, len(times), newest.astimezone(UTC) if newest else None))
    return Report(str(settings.home), holders(settings.home), bootstrap, topics(lake, bootstrap), forwards(lake), tables)


def bootstrap_of(settings: Settings) -> str | None:
    """The brokers a home reads from; None when it is its own and that is not running."""
    broker = None if settings.kafka.bootstrap else Broker(settings.home).status()
    return settings.kafka.bootstrap or (broker.bootstrap if broker else None)


def topics(lake: Lakehouse, bootstrap: str | None) -> list[TopicReport]:
    """What became of every topic's records, from the ledger, and the lag, from the broker."""
    ledger = lake.read(LEDGER, LEDGER.column_names) if lake.exists(LEDGER) else None
    names = [flow.topic.name for flow in HALLWAY.ingests]
    try:
        ends = kafka.end_offsets(bootstrap, names) if bootstrap else None
    except BrokerAway:
        ends = None
    read_up_to = _read_up_to(lake.root.parent)
    return [_topic(name, ledger, ends, read_up_to) for name in names]


def forwards(lake: Lakehouse) -> list[ForwardReport]:
    """Who sent what is forwarded, from the books."""
    rows = lake.read(FORWARDS, ("topic", "due_count", "sent_count")) if lake.exists(FORWARDS) else None
    found = []
    for topic in [flow.topic for flow in HALLWAY.forwards]:
        ours = rows.filter(pc.equal(rows["topic"], topic)) if rows else None
        due, sent = ((pc.sum(ours[name]).as_py() or 0) if ours else 0 for name in ("due_count", "sent_count"))
        found.append(ForwardReport(topic, due, due - sent, sent))
    return found


def _read_up_to(home: Path) -> dict[tuple[str, int], int]:
    """Where the finished batches of all queries end."""
    found: dict[tuple[str, int], int] = {}
    for folder in (home / "checkpoints").glob("*"):
        found |= QueryLog(folder).read_up_to
    return found


def _topic(
    name: str, ledger: pa.Table | None, ends: dict[tuple[str, int], int] | None, read_up_to: dict[tuple[str, int], int]
) -> TopicReport:
    rows = ledger.filter(pc.equal(ledger["topic"], name)) if ledger is not None else None
    totals = {fate: (pc.sum(rows[f"{fate}_count"]).as_py() or 0) if rows else 0 for fate in ("read", "valid", "quarantined", "duplicate")}
    lag = None if ends is None else sum(end - read_up_to.get(place, 0) for place, end in ends.items() if place[0] == name)
    return TopicReport(name, lag, **totals)
