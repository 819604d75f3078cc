"""Are the numbers right? The books checked, every silver and gold table recomputed in batch from bronze with the functions the stream
uses, every gold table besides from silver in plain SQL that was written apart from those functions (oracles/*.sql); all compared row by
row.

A join that streams holds back what its watermark has not passed (see Join). Until it is settled it may lack rows and matches among the
event times that are still open, and is then told as `behind` rather than wrong; everything else about it must be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources

import pyarrow as pa
from pyarrow import parquet
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from promolake.core.errors import SettingsError
from promolake.core.flow import Hallway, Ingest, Join, Metric
from promolake.core.table import Column, Table
from promolake.engine import comparing, spreading
from promolake.engine.arrow import arrow_schema, conformed
from promolake.engine.bookkeeping import Kept, audited
from promolake.engine.comparing import SKETCH, Difference, Finding
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.rebuilding import Rebuilder, Settler
from promolake.engine.scratch import Scratch, scratch

BATCH = "batch from bronze"
SQL = "SQL from silver"
FEW = 10_000
"""Rows up to which two tables are compared in memory: a Spark job would take half a second of CPU more. Larger ones never come here."""


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
        flow for flow in hallway.ingests if LEDGER.name in wanted or needed & {flow.bronze.name, flow.table.name, flow.quarantine.name}
    )
    silver = {table.name for flow in hallway.ingests for table in (flow.table, flow.quarantine)}
    return Scope(books, frozenset(wanted & silver), gold)


@dataclass(frozen=True)
class Rows:
    """One side of a comparison: a frame, and all of its rows in memory, or None when they are more than FEW."""

    frame: Callable[[], DataFrame]
    few: Callable[[], pa.Table | None]


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
                    held, rows = self._held(table, since)
                    expected = _computed(_later(again(flow), table, since), table)
                    yield _finding(BATCH, table, rows, _difference(BATCH, table, held, expected, rows))
        for flow in scope.gold:
            yield from self._gold(flow, since, say)

    def _gold(self, flow: Metric | Join, since: datetime | None, say: Callable[[str], None]) -> Iterator[Finding]:
        held, rows = self._held(flow.table, since)
        say(f"recomputing {flow.table.name}")
        yield self._compared(BATCH, flow, held, _computed(_later(self._rebuilder.gold(flow), flow.table, since), flow.table), rows)
        say(f"asking SQL for {flow.table.name}")
        with self.asked(flow.table, since) as expected:
            yield self._compared(SQL, flow, held, expected, rows)

    def _compared(self, check: str, flow: Metric | Join, held: Rows, expected: Rows, rows: int) -> Finding:
        found = _difference(check, flow.table, held, expected, rows)
        may_be_behind = isinstance(flow, Join) and found.rows and not found.extra
        if may_be_behind and (span := self._settler.unsettled(flow)):
            caught_up = _computed(_caught_up(flow, held.frame(), expected.frame(), span), flow.table)
            late = _difference(check, flow.table, caught_up, expected, rows)
            return _finding(check, flow.table, rows, late if late.rows else found, behind=not late.rows)
        return _finding(check, flow.table, rows, found)

    def _held(self, table: Table, since: datetime | None) -> tuple[Rows, int]:
        """What the lake holds, and how many rows that is."""
        bound = _from(_time(table), since)
        n = self._lake.figures(table, "count(*) AS n", bound)["n"]
        few = (lambda: self._lake.read(table, table.column_names, bound)) if n <= FEW else lambda: None
        return Rows(lambda: _later(self._lake.frame(table), table, since), cache(few)), n

    @contextmanager
    def asked(self, table: Table, since: datetime | None = None) -> Iterator[Rows]:
        """The gold table as its oracle computes it from silver; where it has a sketch, the exact count stands in its place.

        DuckDB computes it, whose SQL owes nothing to Spark: on this machine, in memory that is bounded and on disk beyond it.
        """
        with scratch(self._lake) as database:
            self._take_in_silver(database, table, since)
            later = f" WHERE {bound}" if (bound := _from(_time(table), since)) else ""
            names = ", ".join(map(_answered, table.columns))
            rows = database.written(f"SELECT {names} FROM ({oracle(table)}){later}")
            schema = pa.schema([_in_place(field) for field in arrow_schema(table)])
            few = (lambda: parquet.read_table(rows).cast(schema)) if parquet.read_metadata(rows).num_rows <= FEW else lambda: None
            yield Rows(lambda: self._spark.read.parquet(rows), few)

    def _take_in_silver(self, database: Scratch, table: Table, since: datetime | None) -> None:
        """The columns of silver that the oracle names, from as early on as a window or a join that counts can reach."""
        text = re.sub(r"--.*", "", oracle(table))
        reach = timedelta(minutes=max((join.reach_minutes for join in self._hallway.joins), default=0))
        database.connection.execute("CREATE SCHEMA silver")
        for entity in (flow.table for flow in self._hallway.ingests if re.search(rf"\b{flow.table.name}\b", text)):
            named = [name for name in entity.column_names if re.search(rf"\b{name}\b", text)]
            database.take(entity.name, entity, named, _from("event_time", since - reach if since else None))


def oracle(table: Table) -> str:
    """The SQL (DuckDB's) that computes a gold table from silver."""
    return (resources.files("promolake.engine") / "oracles" / f"{table.short}.sql").read_text(encoding="utf-8")


def _difference(check: str, table: Table, held: Rows, expected: Rows, rows: int) -> Difference:
    """What differs, found in memory where both sides are few and by Spark where not."""
    if (one := held.few()) is not None and (other := expected.few()) is not None:
        return comparing.difference(table, one, other, comparing.exactly if check == BATCH else comparing.within_error(rows))
    alike = spreading.exactly if check == BATCH else spreading.within_error(rows)
    return spreading.difference(table, held.frame(), expected.frame(), alike)


def _computed(rows: DataFrame, table: Table) -> Rows:
    def few() -> pa.Table | None:
        found = rows.select(*table.column_names).limit(FEW + 1).toArrow()
        return conformed(found, table) if found.num_rows <= FEW else None

    return Rows(lambda: rows, few)


def _caught_up(join: Join, held: DataFrame, expected: DataFrame, span: tuple[datetime, datetime]) -> DataFrame:
    """What the table would be once settled over the span: what it holds, put together with what is expected there.

    Settling keeps the best of all candidates, so what the table wrongly holds beyond what is expected stays.
    """
    inside = F.col(join.table.stats[0]).between(*map(F.lit, span))
    return join.settled(held.unionByName(expected).where(inside)).unionByName(held.where(~inside))


def _answered(column: Column) -> str:
    """Whole numbers as such: DuckDB's widest would be written as a double."""
    is_whole = column.type == "bigint" or column.name.endswith(SKETCH)
    return f"CAST({column.name} AS BIGINT) AS {column.name}" if is_whole else column.name


def _in_place(field: pa.Field) -> pa.Field:
    """As an oracle answers: an exact count in the place of a sketch."""
    return pa.field(field.name, pa.int64() if field.name.endswith(SKETCH) else field.type)


def _later(rows: DataFrame, table: Table, since: datetime | None) -> DataFrame:
    time = _time(table)
    return rows.where(F.col(time) >= F.lit(since)) if since and time else rows


def _from(time: str | None, since: datetime | None) -> str:
    """That a row is not before `since`, in SQL; nothing when there is no such bound or no time."""
    return f"{time} >= '{since.astimezone(UTC).isoformat()}'" if since and time else ""


def _time(table: Table) -> str | None:
    """The column that says when: a window's start or the event's time; a quarantined record may have none."""
    return next((name for name in ("window_start", "event_time") if name in table.column_names), None)


def _finding(check: str, table: Table, rows: int, found: Difference, behind: bool = False) -> Finding:
    kinds = [f"{n} {kind}" for kind in ("missing", "extra", "changed") if (n := getattr(found, kind))]
    return Finding(check, table.name, rows, found.rows, f"{', '.join(kinds)}; {found.example}" if kinds else "", behind)
