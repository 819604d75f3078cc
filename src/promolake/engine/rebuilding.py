"""Recomputing tables in batch from bronze, with the functions the stream uses; and settling joins when all there is has been taken."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from promolake.core.errors import SettingsError
from promolake.core.flow import Hallway, Ingest, Join, Metric, Reads
from promolake.core.table import Table
from promolake.engine import ledger
from promolake.engine.arrow import conformed
from promolake.engine.fates import ID_CONFLICT
from promolake.engine.lakehouse import ROWS_BY_HAND, Lakehouse, Txn, time_ranges
from promolake.engine.ledger import LEDGER
from promolake.engine.parsing import with_key
from promolake.silver.entity import VIOLATIONS, parsed, quarantine_rows, silver_rows
from promolake.whole_file import write_whole

_FATE = "_fate"
_SPAN = "min(event_time) AS low, max(event_time) AS high, max(ingested_at) AS newest"


class Rebuilder:
    """Rebuilds silver and gold tables of one lake. `apps` are the transaction names of the scans that stream into them."""

    def __init__(self, hallway: Hallway, spark: SparkSession, lake: Lakehouse, key: bytes, apps: Sequence[str]) -> None:
        self._hallway = hallway
        self._spark = spark
        self._lake = lake
        self._key = key
        self._apps = apps
        self._sorted: dict[str, DataFrame] = {}

    def rebuild(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        """Overwrites each named table (`gold.x`, `silver.x` with its quarantine, or just `x`), each in one commit.

        Raises SettingsError for a name that is none.
        """
        by_name = {flow.table.name: flow for flow in (*self._hallway.ingests, *self._hallway.metrics, *self._hallway.joins)}
        by_name |= {flow.table.short: flow for flow in by_name.values()}
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise SettingsError(f"No table {unknown[0]} can be rebuilt.", f"Tables: {', '.join(sorted(n for n in by_name if '.' in n))}.")
        for name in names:
            flow = by_name[name]
            say(f"rebuilding {flow.table.name}")
            if isinstance(flow, Ingest):
                self._lake.overwrite(flow.table, self.silver(flow), self._stamps(flow, flow.table))
                self._lake.overwrite(flow.quarantine, self.quarantine(flow), self._stamps(flow, flow.quarantine))
                self._correct_ledger(flow)
            else:
                self._lake.overwrite(flow.table, self.gold(flow), self._stamps(flow, flow.table))

    def _correct_ledger(self, flow: Ingest) -> None:
        """What the books say of the topic's records, where a changed rule has decided otherwise."""
        books = self._lake.read(LEDGER, LEDGER.column_names)
        number = pc.max(books.filter(pc.equal(books["query"], ledger.REBUILD))["batch_id"]).as_py()
        number = 0 if number is None else number + 1
        held = {"valid": partial(self._rows_of, flow.table), "quarantined": partial(self._rows_of, flow.quarantine)}
        ours = books.filter(pc.equal(books["topic"], flow.topic.name))
        rows = ledger.recounted(flow.topic.name, ours, held, number, datetime.now(UTC))
        self._lake.append(LEDGER, rows, Txn(f"{ledger.REBUILD}:{LEDGER.name}", number))

    def _rows_of(self, table: Table, partition: int, last: int) -> int:
        return self._lake.figures(table, "count(*) AS n", f'"partition" = {partition} AND "offset" <= {last}')["n"]

    def silver(self, flow: Ingest) -> DataFrame:
        """The entity's rows as bronze gives them: valid, and of each id and UTC date the first that came."""
        return self._fates(flow).where(F.col(_FATE) == "new").select(*flow.table.column_names)

    def quarantine(self, flow: Ingest) -> DataFrame:
        """The topic's rows that break a rule, and those that give another event under an id already taken."""
        broken = quarantine_rows(self._parsed(flow), flow)
        conflicts = self._fates(flow).where(F.col(_FATE) == "conflict").select("partition", "offset")
        clashing = (
            self._lake.frame(flow.bronze).join(conflicts, ["partition", "offset"]).withColumn(VIOLATIONS, F.array(F.lit(ID_CONFLICT)))
        )
        return broken.unionByName(clashing.select(*flow.quarantine.column_names))

    def gold(self, flow: Metric | Join) -> DataFrame:
        """The table as bronze gives it."""
        entities = {one.table.name: one for one in self._hallway.ingests}
        frames = [self.silver(entities[reads.table.name]).select(*reads.columns) for reads in flow.reads]
        rows = flow.function(*frames)
        return flow.settled(rows) if isinstance(flow, Join) else rows

    def _parsed(self, flow: Ingest) -> DataFrame:
        return parsed(with_key(self._lake.frame(flow.bronze), self._key), flow)

    def _fates(self, flow: Ingest) -> DataFrame:
        """Valid rows, each marked new, duplicate or conflict. Same order as the stream's: by batch, then by Kafka position."""
        if flow.table.name not in self._sorted:
            same = Window.partitionBy("event_id", F.to_date("event_time")).orderBy("ingested_at", "partition", "offset")
            first = F.first("payload_hash").over(same.rowsBetween(Window.unboundedPreceding, Window.currentRow))
            fate = F.when(F.row_number().over(same) == 1, "new").when(first == F.col("payload_hash"), "duplicate").otherwise("conflict")
            self._sorted[flow.table.name] = silver_rows(self._parsed(flow), flow).withColumn(_FATE, fate).persist()
        return self._sorted[flow.table.name]

    def _stamps(self, flow: Ingest | Metric | Join, table: Table) -> list[Txn]:
        """The transaction of the last batch the rebuilt table contains: a crashed batch that is replayed must not add itself again.

        A rebuilt table holds what bronze holds, whatever silver or the table itself held of that batch. Of several topics the one
        furthest behind decides: the replay of its batch computes the touched minutes anew.
        """
        bronze = [entity.bronze for entity in self._hallway.ingests if entity.table in _inputs(flow)]
        stamps = []
        for app in self._apps:
            newest = min(self._lake.transaction(source, f"{app}:{source.name}") for source in bronze)
            if max(newest, self._lake.transaction(table, f"{app}:{table.name}")) >= 0:
                stamps.append(Txn(f"{app}:{table.name}", newest))
        return stamps


def _inputs(flow: Ingest | Metric | Join) -> list[Table]:
    """The silver tables whose rows the flow gives on."""
    return [flow.table] if isinstance(flow, Ingest) else [reads.table for reads in flow.reads]


class Settler:
    """Makes joins exact once all there is has been taken: what the watermark left out or held back is computed in batch from silver."""

    def __init__(self, lake: Lakehouse, marks: Path) -> None:
        self._lake = lake
        self._marks = marks

    def settle(self, join: Join) -> bool:
        """Recomputes the span of event time that rows new since the last settling can touch; False when there are none."""
        span, mark = self._span(join)
        if span is None:
            return False
        low, end = span[0], span[1] + timedelta(microseconds=1)
        reaching = low - timedelta(minutes=join.reach_minutes)
        spans = [(reads, low if n == 0 else reaching, end) for n, reads in enumerate(join.reads)]
        are_few = sum(self._count(*one) for one in spans) <= ROWS_BY_HAND
        rows = join.settled(join.function(*((self._few if are_few else self._many)(*one) for one in spans)))
        within = time_ranges("event_time", [(low, end)])
        self._lake.overwrite(join.table, conformed(rows.toArrow(), join.table) if are_few else rows, where=within)
        write_whole(self._marks, json.dumps(self._known() | {join.table.name: mark.isoformat()}))
        return True

    def reopen(self, since: datetime) -> None:
        """Rows with an `ingested_at` from then on count as new at the next settling, though they may have been settled before."""
        before = (since - timedelta(microseconds=1)).isoformat()
        if marks := {name: min(mark, before) for name, mark in self._known().items()}:
            write_whole(self._marks, json.dumps(marks))

    def unsettled(self, join: Join) -> tuple[datetime, datetime] | None:
        """The event times (both inclusive) the join may still have to be settled for; None when it is exact."""
        return self._span(join)[0]

    def _count(self, reads: Reads, low: datetime, end: datetime) -> int:
        return self._lake.figures(reads.table, "count(*) AS n", time_ranges("event_time", [(low, end)]))["n"]

    def _few(self, reads: Reads, low: datetime, end: datetime) -> DataFrame:
        """For Spark to open a table takes longer than to join the rows of a day this small."""
        rows = self._lake.read(reads.table, reads.columns, time_ranges("event_time", [(low, end)]))
        return self._lake.handed(rows)

    def _many(self, reads: Reads, low: datetime, end: datetime) -> DataFrame:
        is_within = (F.col("event_time") >= F.lit(low)) & (F.col("event_time") < F.lit(end))
        return self._lake.frame(reads.table).where(is_within).select(*reads.columns)

    def _span(self, join: Join) -> tuple[tuple[datetime, datetime] | None, datetime]:
        since = datetime.fromisoformat(self._known().get(join.table.name, "1970-01-01T00:00:00+00:00"))
        lows, highs, marks = [], [], [since]
        for n, reads in enumerate(join.reads):
            new = self._lake.figures(reads.table, _SPAN, f"ingested_at > '{since.astimezone(UTC).isoformat()}'")
            if new["newest"]:
                lows.append(new["low"])
                highs.append(new["high"] + (timedelta(minutes=join.reach_minutes) if n else timedelta()))
                marks.append(new["newest"])
        return ((min(lows), max(highs)) if lows else None), max(marks)

    def _known(self) -> dict[str, str]:
        return json.loads(self._marks.read_text()) if self._marks.exists() else {}
