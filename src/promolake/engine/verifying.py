"""Are the numbers right? The books checked, every silver and gold table recomputed in batch from bronze with the functions the stream
uses, every gold table besides from silver in plain SQL that was written apart from those functions (oracles/*.sql); all compared row by
row.

A join that streams holds back what its watermark has not passed (see Join). Until it is settled it may lack rows and matches among the
event times that are still open, and is then told as `behind` rather than wrong; everything else about it must be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from promolake.core.errors import SettingsError
from promolake.core.flow import Hallway, Ingest, Join, Metric
from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema, conformed
from promolake.engine.bookkeeping import Kept, audited
from promolake.engine.comparing import SKETCH, Difference, Finding, connected, difference, exactly, within_error
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.rebuilding import Rebuilder, Settler

BATCH = "batch from bronze"
SQL = "SQL from silver"


@dataclass(frozen=True)
class Scope:
    """What is verified: the books of some topics, silver tables and quarantines by name, and some gold flows."""

    books: tuple[Ingest, ...]
    silver: frozenset[str]
    gold: tuple[Metric | Join, ...]


def scope(hallway: Hallway, names: Sequence[str]) -> Scope:
    """What the named tables (`gold.x`, `silver.x`, or just `x`) stand for, with the books of the topics that feed them; all by default.

    Raises SettingsError for a name that is none.
    """
    tables = [*hallway.tables, LEDGER]
    full = {table.name: table.name for table in tables}
    full |= {table.short: table.name for table in tables}
    unknown = [name for name in names if name not in full]
    if unknown:
        raise SettingsError(f"There is no table {unknown[0]}.", f"Tables: {', '.join(table.name for table in tables)}.")
    wanted = {full[name] for name in names} or {table.name for table in tables}
    gold = tuple(flow for flow in (*hallway.metrics, *hallway.joins) if flow.table.name in wanted)
    needed = wanted | {reads.table.name for flow in gold for reads in flow.reads}
    books = tuple(
        flow
        for flow in hallway.ingests
        if LEDGER.name in wanted or needed & {flow.bronze.name, flow.table.name, flow.quarantine.name}
    )
    silver = {table.name for flow in hallway.ingests for table in (flow.table, flow.quarantine)}
    return Scope(books, frozenset(wanted & silver), gold)


class Verifier:
    """Verifies one lake, which nobody may write meanwhile. It changes no row of it. `kept`: see bookkeeping.audited."""

    def __init__(
        self, hallway: Hallway, spark: SparkSession, lake: Lakehouse, rebuilder: Rebuilder, settler: Settler, kept: Kept | None = None
    ) -> None:
        self._hallway = hallway
        self._spark = spark
        self._lake = lake
        self._rebuilder = rebuilder
        self._settler = settler
        self._kept = kept

    def verify(self, scope: Scope, since: datetime | None, say: Callable[[str], None]) -> Iterator[Finding]:
        """Every check in turn. `since` (inclusive) leaves out earlier windows and events; books and quarantines are checked whole."""
        for flow in scope.books:
            say(f"checking the books of {flow.topic.name}")
            yield from audited(self._lake, flow, self._kept)
        for flow in self._hallway.ingests:
            for table, again in ((flow.table, self._rebuilder.silver), (flow.quarantine, self._rebuilder.quarantine)):
                if table.name in scope.silver:
                    say(f"recomputing {table.name}")
                    held, rows = self._held(table, since), _later(again(flow), table, since)
                    yield _finding(BATCH, table, held, difference(table, held, rows, exactly))
        for flow in scope.gold:
            yield from self._gold(flow, since, say)

    def _gold(self, flow: Metric | Join, since: datetime | None, say: Callable[[str], None]) -> Iterator[Finding]:
        held = self._held(flow.table, since)
        say(f"recomputing {flow.table.name}")
        yield self._compared(BATCH, flow, held, _later(self._rebuilder.gold(flow), flow.table, since))
        say(f"asking SQL for {flow.table.name}")
        yield self._compared(SQL, flow, held, self.asked(flow.table, since))

    def _compared(self, check: str, flow: Metric | Join, held: pa.Table, expected: pa.Table) -> Finding:
        unequal = exactly if check == BATCH else within_error(held.num_rows)
        found = difference(flow.table, held, expected, unequal)
        may_be_behind = isinstance(flow, Join) and found.rows and not found.extra
        if may_be_behind and (span := self._settler.unsettled(flow)):
            settled = self._caught_up(flow, held, expected, span)
            late = difference(flow.table, settled, expected, unequal)
            return _finding(check, flow.table, held, late if late.rows else found, behind=not late.rows)
        return _finding(check, flow.table, held, found)

    def _caught_up(self, join: Join, held: pa.Table, expected: pa.Table, span: tuple[datetime, datetime]) -> pa.Table:
        """What the table would be once settled over the span: what it holds, put together with what is expected there.

        Settling keeps the best of all candidates, so what the table wrongly holds beyond what is expected stays.
        """
        low, high = span
        time = join.table.stats[0]
        candidates = self._spark.createDataFrame(pa.concat_tables([held, expected]))
        inside = F.col(time).between(F.lit(low), F.lit(high))
        outside = self._spark.createDataFrame(held).where(~inside)
        return _collected(join.settled(candidates.where(inside)).unionByName(outside), join.table)

    def _held(self, table: Table, since: datetime | None) -> pa.Table:
        time = _time(table)
        return self._lake.read(table, table.column_names, f"{time} >= '{since.astimezone(UTC).isoformat()}'" if since and time else "")

    def asked(self, table: Table, since: datetime | None = None) -> pa.Table:
        """The gold table as its oracle computes it from silver; where it has a sketch, the exact count stands in its place."""
        text = oracle(table)
        bare = re.sub(r"--.*", "", text)
        reach = timedelta(minutes=max((join.reach_minutes for join in self._hallway.joins), default=0))
        with connected() as connection:
            connection.execute("CREATE SCHEMA silver")
            for entity in (flow.table for flow in self._hallway.ingests if re.search(rf"\b{flow.table.name}\b", bare)):
                named = [name for name in entity.column_names if re.search(rf"\b{name}\b", bare)]
                early = f"event_time >= '{(since - reach).astimezone(UTC).isoformat()}'" if since else ""
                connection.register(f"{entity.short}_rows", self._lake.read(entity, named, early))
                connection.execute(f"CREATE VIEW {entity.name} AS SELECT * FROM {entity.short}_rows")
            later = f" WHERE {_time(table)} >= '{since.astimezone(UTC).isoformat()}'" if since else ""
            names = ", ".join(table.column_names)
            rows = connection.sql(f"SELECT {names} FROM ({text}){later}").to_arrow_table()
        fields = [pa.field(f.name, pa.int64()) if f.name.endswith(SKETCH) else f for f in arrow_schema(table).remove_metadata()]
        return rows.cast(pa.schema([field.remove_metadata() for field in fields]))


def oracle(table: Table) -> str:
    """The SQL (DuckDB's) that computes a gold table from silver."""
    return (resources.files("promolake.engine") / "oracles" / f"{table.short}.sql").read_text(encoding="utf-8")


def _later(rows: DataFrame, table: Table, since: datetime | None) -> pa.Table:
    time = _time(table)
    return _collected(rows.where(F.col(time) >= F.lit(since)) if since and time else rows, table)


def _collected(rows: DataFrame, table: Table) -> pa.Table:
    return conformed(rows.select(*table.column_names).toArrow(), table)


def _time(table: Table) -> str | None:
    """The column that says when: a window's start or the event's time; a quarantined record may have none."""
    return next((name for name in ("window_start", "event_time") if name in table.column_names), None)


def _finding(check: str, table: Table, held: pa.Table, found: Difference, behind: bool = False) -> Finding:
    kinds = [f"{n} {kind}" for kind in ("missing", "extra", "changed") if (n := getattr(found, kind))]
    return Finding(check, table.name, held.num_rows, found.rows, f"{', '.join(kinds)}; {found.example}" if kinds else "", behind)
