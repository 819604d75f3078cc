"""The one door to the Delta tables: create, read, append, upsert, overwrite, each write at most once per transaction.

Spark computes; what is small is committed by this house's own hand (commits.py) or, where that does not do, by delta-rs (40 times
cheaper per commit than Spark), Spark writes what is large; all record the same transaction identifiers, `txn {appId, version}` (Delta
PROTOCOL.md, "Transaction Identifiers"), and each sees the others'.
On a local disk exactly one process may write a table (reliability.md 0.1): the home's lock sees to that. What processes say of
themselves they write by turns, a commit each.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction
from deltalake.exceptions import TableNotFoundError
from deltalake.writer import write_deltalake
from pyspark.sql import DataFrame, SparkSession

from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema, conformed
from promolake.engine.commits import Head, added, is_plain, put, removed
from promolake.engine.delta_log import has_more
from promolake.engine.housekeeping import CHECKPOINT_EVERY, checkpoint_span
from promolake.engine.lock import turn
from promolake.engine.recent import Recent, upserted

WINDOW = "window_start"
KNOWN = "known"  # the commit of an upsert's rows of windows the table already reached
COMMITS_OF_A_HANDLE = CHECKPOINT_EVERY  # then it is opened anew: each commit it knows makes the next slower
ROWS_BY_HAND = 50_000  # of the files an upsert by hand reaches, or that are read in this process to be worked with, at most
_STATS, _RETENTION, _INTERVAL = "delta.dataSkippingStatsColumns", "delta.logRetentionDuration", "delta.checkpointInterval"


@dataclass(frozen=True)
class Txn:
    """Who writes and for the how-manieth time: a write whose version the table has already seen from this app is skipped."""

    app: str
    version: int

    def step(self, name: str) -> Txn:
        """A transaction of its own for one of several commits a write takes."""
        return Txn(f"{self.app}#{name}", self.version)


class Lakehouse:
    """The tables under `root`, one directory per `layer/name`. `spark_above` is the row count above which Spark writes."""

    def __init__(self, root: Path, spark: Callable[[], SparkSession] | None = None, spark_above: int = 1_000_000) -> None:
        self.root = root
        self._spark = spark
        self._spark_above = spark_above
        self._open: dict[str, DeltaTable] = {}
        self._opened_at: dict[str, int] = {}  # the version at which the handle in hand was opened
        self._heads: dict[str, Head] = {}
        self._recent: dict[str, Recent] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def path(self, table: Table) -> str:
        return str(self.root / table.layer / table.short)

    def exists(self, table: Table) -> bool:
        return DeltaTable.is_deltatable(self.path(table))

    def create(self, tables: Iterable[Table]) -> None:
        """Creates what is not there yet, empty, with its column descriptions and without deletion vectors (any Delta reader reads it)."""
        for table in tables:
            with self._turn(table):
                self._create(table)

    def _create(self, table: Table) -> None:
        if not self.exists(table):
            settings = {_INTERVAL: str(CHECKPOINT_EVERY), _STATS: ",".join(table.stats), _RETENTION: "interval 7 days"}
            schema, about = arrow_schema(table), {"name": table.name, "description": table.description}
            DeltaTable.create(self.path(table), schema, mode="ignore", configuration=settings, **about)

    # --- reading ---------------------------------------------------------------------------------------------------------------

    def version(self, table: Table) -> int:
        with self._alone(table):
            return self._head(table).version

    def transaction(self, table: Table, app: str) -> int:
        """The last version the app committed to the table, -1 when none."""
        with self._alone(table):
            seen = self._last(table, app)
        return -1 if seen is None else seen

    def read(self, table: Table, columns: Iterable[str], where: str = "") -> pa.Table:
        """The columns of the rows that keep the condition (SQL over the table's columns); files are skipped by their statistics."""
        whole = arrow_schema(table)
        schema = pa.schema([whole.field(name).remove_metadata() for name in columns])
        found = self.batches(table, schema.names, where).read_all()
        return found.cast(schema)  # DataFusion answers in string views, which Arrow cannot filter by

    def between(self, table: Table, columns: Sequence[str], low: datetime, high: datetime) -> pa.Table:
        """As `read`, for the rows whose time (the first of the table's statistics) lies in [low, high): from memory what was lately
        written."""
        with self._alone(table):
            if self._head(table).is_plain:
                recent = self._files(table)
                names = recent.spanning(low, high)
                if sum(recent.counts(names)) <= ROWS_BY_HAND:
                    rows = recent.rows(names)
                    times = rows[recent.time]
                    return rows.filter(pc.and_(pc.greater_equal(times, low), pc.less(times, high))).select(columns)
        return self.read(table, columns, time_ranges(table.stats[0], [(low, high)]))

    def batches(self, table: Table, columns: Iterable[str], where: str = "") -> pa.RecordBatchReader:
        """As `read`, but a batch after the other: however large the table, only a part of it is in memory. Strings come as views."""
        return self._asked(table, ", ".join(f'"{name}"' for name in columns), where)

    def figures(self, table: Table, sql: str, where: str = "") -> dict[str, Any]:
        """Aggregates over the rows that keep the condition, by name; `sql` is what would stand after SELECT."""
        (found,) = self._asked(table, sql, where).read_all().to_pylist()
        return found

    def _asked(self, table: Table, sql: str, where: str) -> pa.RecordBatchReader:
        with self._alone(table):
            query = QueryBuilder().register("t", self._in_hand(table))
            return pa.RecordBatchReader.from_stream(query.execute(f"SELECT {sql} FROM t" + (f" WHERE {where}" if where else "")))

    def frame(self, table: Table, version: int | None = None) -> DataFrame:
        """The table as a static Spark frame, as it stands or as it stood at a version."""
        reader = self._session.read.format("delta")
        return (reader if version is None else reader.option("versionAsOf", version)).load(self.path(table))

    def handed(self, rows: pa.Table) -> DataFrame:
        """Rows of this process as a static Spark frame of one partition, so that nothing is shuffled to join them."""
        return self._session.createDataFrame(rows).coalesce(1)

    def _in_hand(self, table: Table) -> DeltaTable:
        """The table as it stands, whoever wrote to it. To look for the next commit's file takes a hundredth of asking delta-rs."""
        try:
            if table.name not in self._open or self._age(table) >= COMMITS_OF_A_HANDLE:
                self._opened(table)
            elif has_more(Path(self.path(table)), self._open[table.name].version()):
                self._open[table.name].update_incremental()
        except TableNotFoundError:
            self._create(table)
            self._opened(table)
        return self._open[table.name]

    def _head(self, table: Table) -> Head:
        """What the next commit must know, whoever made the last one."""
        head = self._heads.get(table.name)
        if head is None or has_more(Path(self.path(table)), head.version):
            delta = self._in_hand(table)
            head = self._heads[table.name] = Head(delta.version(), is_plain(delta, table, (_STATS, _RETENTION, _INTERVAL)))
        return head

    def _last(self, table: Table, app: str) -> int | None:
        """The app's last transaction; the table is asked once, while only this house's own hand commits to it."""
        committed = self._head(table).committed
        if app not in committed:
            committed[app] = self._open[table.name].transaction_version(app)
        return committed[app]

    def _has_seen(self, table: Table, txn: Txn) -> bool:
        seen = self._last(table, txn.app)
        return seen is not None and seen >= txn.version

    def _files(self, table: Table) -> Recent:
        """The table's files as they stand."""
        recent = self._recent.setdefault(table.name, Recent(Path(self.path(table)), table))
        if recent.version != self._head(table).version:
            recent.bring_up_to(self._in_hand(table))
        return recent

    def _opened(self, table: Table) -> None:
        self._open[table.name] = DeltaTable(self.path(table))
        self._opened_at[table.name] = self._open[table.name].version()

    def _age(self, table: Table) -> int:
        """How many commits the handle in hand has made or taken in."""
        return self._open[table.name].version() - self._opened_at[table.name]

    # --- writing ---------------------------------------------------------------------------------------------------------------

    def append(self, table: Table, rows: pa.Table, txn: Txn) -> bool:
        """Adds the rows; False when this transaction was committed before (or there is nothing to add)."""
        with self._alone(table), self._turn(table):
            if rows.num_rows == 0 or self._has_seen(table, txn):
                return False
            if rows.num_rows > self._spark_above:
                self._append_by_spark(table, rows, txn)
            elif self._head(table).is_plain:
                self._commit(table, txn, [conformed(rows, table)])
            else:
                write_deltalake(self._in_hand(table), conformed(rows, table), mode="append", commit_properties=_properties(txn))
            return True

    def mark(self, table: Table, txn: Txn) -> None:
        """Records a transaction that has no rows, in a table that stands as this house creates them."""
        with self._alone(table), self._turn(table):
            self._commit(table, txn, [])

    def upsert(self, table: Table, rows: pa.Table, txn: Txn) -> bool:
        """Adds to (ACCUMULATE) or takes the place of (REPLACE) the row of each grain; False when committed before or empty.

        `rows` has one row per grain. Rows of windows the table already reaches are merged, rows of newer windows get a file of their
        own. So a file holds the windows of few batches and a merge rewrites only those; merged together, each batch would rewrite the
        whole table. By this house's own hand that is one commit, by delta-rs up to two, those of newer windows last: the merge does not
        change which windows are newer, so a replay that finds only the first commit splits the rows the same way.
        """
        with self._alone(table), self._turn(table):
            if rows.num_rows == 0 or self._has_seen(table, txn):
                return False
            rows = conformed(rows, table)
            if self._upsert_by_hand(table, rows, txn):
                return True
            delta = self._in_hand(table)
            known, newer = self._parted(table, rows)
            if known.num_rows:
                merging = txn.step(KNOWN) if newer.num_rows else txn
                if not self._has_seen(table, merging):
                    self._merge(table, delta, known, merging)
            if newer.num_rows:
                write_deltalake(delta, newer, mode="append", commit_properties=_properties(txn))
            return True

    def _upsert_by_hand(self, table: Table, rows: pa.Table, txn: Txn) -> bool:
        """False when it takes delta-rs: for too many rows, a grain without the time files are found by, or a table this house would not
        have created so."""
        is_found_by_time = not {*table.stats[:1]}.isdisjoint(table.grain)
        if not is_found_by_time or not self._head(table).is_plain or self._has_seen(table, txn.step(KNOWN)):
            return False
        recent = self._files(table)
        span = pc.min_max(rows[recent.time]).as_py()
        names = recent.spanning(span["min"], span["max"])
        if rows.num_rows > self._spark_above or rows.num_rows + sum(recent.counts(names)) > ROWS_BY_HAND:
            return False
        known, newer = self._parted(table, rows)
        standing = recent.rows(names)
        changed, merged = upserted(table, standing, recent.counts(names), known)
        self._commit(table, txn, [merged, newer], [names[n] for n in changed])
        return True

    def _commit(self, table: Table, txn: Txn, new: Sequence[pa.Table], old: Sequence[str] = ()) -> None:
        """One commit by this house's own hand: a file for the rows of each of `new`, in place of the files `old`."""
        folder, head, recent = Path(self.path(table)), self._head(table), self._recent.get(table.name)
        files = [(added(folder, rows, table), rows) for rows in new if rows.num_rows]
        put(folder, head.version + 1, txn.app, txn.version, [*map(removed, old), *(action for action, _ in files)])
        if recent and recent.version == head.version:
            recent.follow([(action["add"]["path"], rows) for action, rows in files], old)
        head.version += 1
        head.committed[txn.app] = txn.version
        if head.version % checkpoint_span(head.version) == 0:  # as delta-rs does after its own
            self._opened(table)
            self._open[table.name].create_checkpoint()

    def overwrite(self, table: Table, rows: pa.Table | pa.RecordBatchReader | DataFrame, txns: Iterable[Txn] = (), where: str = "") -> None:
        """Puts the rows in place of all rows (or of those that keep `where`) in one commit, which also records the transactions.

        With them their steps: a step left behind by an upsert that crashed would make its replay skip rows that are no longer there.
        """
        recorded = [one for txn in txns for one in (txn, txn.step(KNOWN))]
        properties = CommitProperties(app_transactions=[Transaction(txn.app, txn.version) for txn in recorded])
        with ExitStack() as closing:
            new = closing.enter_context(self._spooled(table, rows)) if isinstance(rows, DataFrame) else rows
            new = conformed(new, table) if isinstance(new, pa.Table) else new
            closing.enter_context(self._alone(table))
            closing.enter_context(self._turn(table))
            write_deltalake(self._in_hand(table), new, mode="overwrite", predicate=where or None, commit_properties=properties)

    @contextmanager
    def _spooled(self, table: Table, rows: DataFrame) -> Iterator[pa.RecordBatchReader]:
        """What Spark computes, by way of files: however large, only a batch of it is ever in this process."""
        import pyarrow.dataset as ds  # brings pandas along, a quarter of a second of every command

        schema = arrow_schema(table).remove_metadata()
        with self.spool(table.name) as spool:
            rows.select(*table.column_names).write.parquet(str(spool))
            found = ds.dataset(spool, schema=schema, format="parquet")
            yield pa.RecordBatchReader.from_batches(schema, found.to_batches())

    @contextmanager
    def spool(self, name: str) -> Iterator[Path]:
        """A place beside the tables for rows on their way, where Spark's executors see it too. Nothing stands there before or after."""
        place = self.root / ".spool" / name
        shutil.rmtree(place, ignore_errors=True)  # one writer: what stands there a killed one left, perhaps in clear
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _parted(self, table: Table, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The rows of windows the table already reaches (all, where it has none), and those of newer windows."""
        if WINDOW not in table.grain:
            return rows, rows.slice(0, 0)
        recent = self._files(table)
        newest = recent.newest if recent.is_bounded else _newest_window(self._in_hand(table))
        if newest is None:
            return rows.slice(0, 0), rows
        is_newer = pc.greater(rows[WINDOW], pa.scalar(newest, pa.timestamp("us", "UTC")))
        return rows.filter(pc.invert(is_newer)), rows.filter(is_newer)

    def _merge(self, table: Table, delta: DeltaTable, rows: pa.Table, txn: Txn) -> None:
        if rows.num_rows > self._spark_above:
            self._merge_by_spark(table, rows, txn)
            delta.update_incremental()
            return
        on = " AND ".join(f't."{name}" = s."{name}"' for name in table.grain)
        on += "".join(
            f" AND t.{name} >= {sql_time(pc.min(rows[name]))} AND t.{name} <= {sql_time(pc.max(rows[name]))}" for name in table.stats
        )
        merge = delta.merge(rows, on, source_alias="s", target_alias="t", commit_properties=_properties(txn))
        merge.when_matched_update(_updates(table)).when_not_matched_insert_all().execute()

    # --- keeping house: the same lock, so that no upsert of this process meets a file that is being replaced -------------------------

    def look_after(self, table: Table, task: Callable[[DeltaTable], int]) -> int:
        """Lets a task of engine/housekeeping.py work on the table while nothing else of this process does; returns its figure."""
        with self._alone(table), self._turn(table):
            done = task(self._in_hand(table))
            self._open.pop(table.name)
            self._heads.pop(table.name, None)
            return done

    # --- Spark's hand: the same two writes for what is too large for the driver's writer --------------------------------------------

    @property
    def _session(self) -> SparkSession:
        if self._spark is None:
            raise RuntimeError("this lakehouse was opened without a Spark session")
        return self._spark()

    def _append_by_spark(self, table: Table, rows: pa.Table, txn: Txn) -> None:
        frame = self._session.createDataFrame(conformed(rows, table))
        writer = frame.write.format("delta").mode("append").option("txnAppId", txn.app).option("txnVersion", txn.version)
        writer.save(self.path(table))

    def _merge_by_spark(self, table: Table, rows: pa.Table, txn: Txn) -> None:
        session = self._session.newSession()  # its own settings: the transaction must not leak to another thread's write
        session.conf.set("spark.databricks.delta.write.txnAppId", txn.app)
        session.conf.set("spark.databricks.delta.write.txnVersion", str(txn.version))
        session.createDataFrame(rows).createOrReplaceTempView("s")
        on = " AND ".join(f"t.`{name}` = s.`{name}`" for name in table.grain)
        updates = ", ".join(f"{name} = {value}" for name, value in _updates(table).items())
        session.sql(
            f"MERGE INTO delta.`{self.path(table)}` t USING s ON {on} WHEN MATCHED THEN UPDATE SET {updates} WHEN NOT MATCHED THEN INSERT *"
        )

    @contextmanager
    def _alone(self, table: Table) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(table.name, threading.Lock())
        with lock:
            yield

    @contextmanager
    def _turn(self, table: Table) -> Iterator[None]:
        """The right to write a shared table among the processes of the home."""
        with turn(self.root / table.layer / f".{table.short}.lock") if table.shared else nullcontext():
            yield


def _properties(txn: Txn) -> CommitProperties:
    return CommitProperties(app_transactions=[Transaction(txn.app, txn.version)])


def _updates(table: Table) -> dict[str, str]:
    """What a matched row becomes. Window ends do not add; every other figure of an accumulating table does."""
    return {name: f"t.{name} + s.{name}" if name in table.sums else f"s.{name}" for name in table.figures}


def _newest_window(delta: DeltaTable) -> datetime | None:
    found = QueryBuilder().register("t", delta).execute(f"SELECT max({WINDOW}) AS newest FROM t").read_all()
    newest = pa.table(found)["newest"][0].as_py()
    return newest.astimezone(UTC) if newest else None


def sql_time(value: pa.Scalar) -> str:
    """A timestamp as an SQL literal."""
    return f"'{value.as_py().astimezone(UTC).isoformat()}'"


def time_ranges(column: str, ranges: Iterable[tuple[datetime, datetime]]) -> str:
    """An SQL condition: `column` lies in one of the half-open ranges [from, to)."""
    parts = [
        f"({column} >= '{low.astimezone(UTC).isoformat()}' AND {column} < '{high.astimezone(UTC).isoformat()}')" for low, high in ranges
    ]
    return " OR ".join(parts) if parts else "false"
