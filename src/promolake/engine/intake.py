"""What a join reads of silver: its new rows, put together before each trigger into one commit of a small table of its own.

Every micro-batch of the scan commits to each silver table, some hundred thousand times a day. Spark's Delta source opens a file for each
commit, and at each trigger lists all the log there is (DECISIONS.md, "A join reads an intake"). Here the next commit is asked for by its
name, and Spark reads one file a trigger of a table whose files and log are forgotten once they have been read.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

from promolake.core.errors import DamageFound
from promolake.core.flow import Reads
from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema, conformed
from promolake.engine.delta_log import FOLDER, Commit, commit_of
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.query_log import QueryLog

LAYER = "intake"
ROWS = 200_000  # of one commit, about
KEPT = 50  # commits that stay when those before them are forgotten


class Intake:
    """The intake of one join, in `folder`: a table for each that it reads, with the columns it reads of it.

    Each commit names the silver commit it ends with, as a transaction of the silver table's id; so nothing is taken twice. Rows that are
    rewritten or removed in silver do not come again, as with Spark's `skipChangeCommits`. Where there is much to take, days of commits,
    it ends soon after `stopping` is set; what is left comes the next time.
    """

    def __init__(self, reads: Sequence[Reads], lake: Lakehouse, folder: Path, stopping: threading.Event) -> None:
        self._silver = lake
        self._stopping = stopping
        self._folder = folder
        self._lake = Lakehouse(folder)
        self._tables = {one.table.name: (one.table, _narrowed(one)) for one in reads}
        self._apps: dict[str, str] = {}

    def path(self, silver: Table) -> str:
        """Where the intake of a silver table stands."""
        return self._lake.path(self._tables[silver.name][1])

    def begin(self, checkpoint: Path) -> bool:
        """Goes on behind what was taken so far, for the query of this checkpoint; or both anew, with all rows there are: where there was
        no batch yet, or no intake (before there were any), or not of these tables. Returns whether batches were given up for it. Raises
        DamageFound as `take`, and an error where it was stopped before it had all rows."""
        whole = {silver.name: DeltaTable(self._silver.path(silver)) for silver, _ in self._tables.values()}
        self._apps = {name: str(table.metadata().id) for name, table in whole.items()}
        has_begun = QueryLog(checkpoint).last >= 0
        goes_on = has_begun and all(self._knows(silver, narrow) for silver, narrow in self._tables.values())
        if not goes_on:
            shutil.rmtree(checkpoint, ignore_errors=True)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._lake = Lakehouse(self._folder)
            self._lake.create(narrow for _, narrow in self._tables.values())
            for silver, narrow in self._tables.values():
                table = whole[silver.name]
                self._lake.overwrite(narrow, self._rows(table, narrow), [Txn(self._apps[silver.name], table.version())])
        self.take()
        return has_begun and not goes_on

    def _knows(self, silver: Table, narrow: Table) -> bool:
        return self._lake.exists(narrow) and self._lake.transaction(narrow, self._apps[silver.name]) >= 0

    def take(self) -> None:
        """Adds what silver has committed since. Raises DamageFound when a commit it has to read is damaged or no longer kept."""
        for silver, narrow in self._tables.values():
            app = self._apps[silver.name]
            for rows, version in self._news(silver, narrow, self._lake.transaction(narrow, app) + 1):
                # What only put rows together is remembered as well: in a week that brings no other, its commit will be gone.
                if not self._lake.append(narrow, rows, Txn(app, version)):
                    self._lake.mark(narrow, Txn(app, version))
                if self._stopping.is_set():
                    return

    def forget(self, checkpoint: Path) -> None:
        """Removes what the query has read, if it has read all there is and has no batch in hand."""
        log = QueryLog(checkpoint)
        done, before = log.offsets.get(log.last), log.offsets.get(log.last - 1)
        if log.last == log.last_done and done is not None and before is not None:
            for _, narrow in self._tables.values():
                delta = DeltaTable(self._lake.path(narrow))
                table_id = str(delta.metadata().id)
                if done.versions.get(table_id, 0) > delta.version() and delta.file_uris():
                    self._emptied(narrow, before.versions.get(table_id, 0))

    def _emptied(self, narrow: Table, due: int) -> None:
        """`due`: the version Spark will read on from when the query starts, once more all of its last batch."""
        self._lake.overwrite(narrow, arrow_schema(narrow).remove_metadata().empty_table())
        delta = DeltaTable(self._lake.path(narrow))
        delta.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
        delta.create_checkpoint()
        for file in Path(self._lake.path(narrow), FOLDER).glob("[0-9]*"):
            if int(file.name[:20]) < min(due, delta.version() - KEPT):
                file.unlink()

    def _rows(self, delta: DeltaTable, narrow: Table) -> pa.RecordBatchReader:
        """All rows the table has, a batch after the other."""
        schema = arrow_schema(narrow).remove_metadata()
        columns = ", ".join(f'"{name}"' for name in narrow.column_names)
        found = pa.RecordBatchReader.from_stream(QueryBuilder().register("t", delta).execute(f"SELECT {columns} FROM t"))

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in found:
                if self._stopping.is_set():
                    raise InterruptedError("the run was stopped")  # half of the rows would pass for all of them
                yield batch.cast(schema)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _news(self, silver: Table, narrow: Table, version: int) -> Iterator[tuple[pa.Table, int]]:
        """The rows of silver from a version on, some ROWS at a time, each with the version it ends with; none of the last perhaps."""
        folder, first = Path(self._silver.path(silver)), version
        parts, count = [arrow_schema(narrow).remove_metadata().empty_table()], 0
        while (commit := commit_of(folder, version)) is not None:
            if commit.fault:
                raise _lost(f"version {version} of {silver.name}, which {commit.fault}")
            for path in _added(commit):
                parts.append(conformed(pq.ParquetFile(folder / path).read(list(narrow.column_names)), narrow))
                count += parts[-1].num_rows
            if count >= ROWS:
                yield pa.concat_tables(parts), version
                parts, count, first = parts[:1], 0, version + 1
            version += 1
        if version > first:
            yield pa.concat_tables(parts), version - 1
        if self._silver.version(silver) >= version and commit_of(folder, version) is None:  # not one that has come meanwhile
            raise _lost(f"version {version} of {silver.name}, which is no longer kept")


def _added(commit: Commit) -> list[str]:
    """The files of a commit's new rows."""
    changes = [action for action in commit.actions if (action.get("add") or action.get("remove") or {}).get("dataChange")]
    return [] if any("remove" in action for action in changes) else [unquote(action["add"]["path"]) for action in changes]


def _narrowed(reads: Reads) -> Table:
    columns = tuple(column for column in reads.table.columns if column.name in reads.columns)
    stats = tuple(name for name in reads.table.stats if name in reads.columns)
    return Table(f"{LAYER}.{reads.table.short}", f"What a join reads of {reads.table.name}.", columns, stats=stats)


def _lost(what: str) -> DamageFound:
    return DamageFound(f"A join has to read {what}.", "`promolake doctor --mend` lets it begin anew.")
