"""How the lake stands, read from its tables and the broker without a JVM: for `status`, the demo and whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.errors import BrokerAway
from promolake.engine import kafka
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.lock import holders
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker
from promolake.settings import Settings


@dataclass(frozen=True)
class TopicReport:
    """Records of one topic; `lag` is how many the broker holds that no batch has read yet, None when it cannot be asked."""

    topic: str
    lag: int | None
    read: int
    valid: int
    quarantined: int
    duplicate: int


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
    gold: list[TableReport]


def report(settings: Settings) -> Report:
    """The state of a home, from outside: of what is committed, not of what is promised."""
    lake = Lakehouse(settings.lake)
    broker = Broker(settings.home).status()
    bootstrap = settings.kafka.bootstrap or (broker.bootstrap if broker else None)
    gold = [flow.table for flow in (*HALLWAY.metrics, *HALLWAY.joins)]
    tables = []
    for table in gold:
        if lake.exists(table):
            (time,) = table.stats
            times = lake.read(table, [time])[time]
            newest = pc.max(times).as_py() if len(times) else None
            tables.append(TableReport(table.name, len(times), newest.astimezone(UTC) if newest else None))
    return Report(str(settings.home), holders(settings.home), bootstrap, topics(lake, bootstrap), tables)


def topics(lake: Lakehouse, bootstrap: str | None) -> list[TopicReport]:
    """What became of every topic's records, from the ledger, and the lag, from the broker."""
    ledger = lake.read(LEDGER, LEDGER.column_names) if lake.exists(LEDGER) else None
    names = [flow.topic.name for flow in HALLWAY.ingests]
    try:
        ends = kafka.end_offsets(bootstrap, names) if bootstrap else None
    except BrokerAway:
        ends = None
    return [_topic(name, ledger, ends) for name in names]


def _topic(name: str, ledger: pa.Table | None, ends: dict[tuple[str, int], int] | None) -> TopicReport:
    rows = ledger.filter(pc.equal(ledger["topic"], name)) if ledger is not None else None
    totals = {fate: (pc.sum(rows[f"{fate}_count"]).as_py() or 0) if rows else 0 for fate in ("read", "valid", "quarantined", "duplicate")}
    last: dict[int, int] = {}
    if rows:
        last = {
            row["partition"]: row["last_offset_max"] for row in rows.group_by("partition").aggregate([("last_offset", "max")]).to_pylist()
        }
    lag = None if ends is None else sum(end - last.get(partition, -1) - 1 for (topic, partition), end in ends.items() if topic == name)
    return TopicReport(name, lag, **totals)
