"""What keeps a Delta table quick and small, one task at a time on an open table: small files put together, the log summed up and
shortened, files nobody needs removed, old bronze forgotten. None changes what the table says or which transactions it knows.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, WriterProperties
from deltalake.writer import write_deltalake

from promolake.core.table import Table, Written
from promolake.engine.arrow import conformed

FILE_BYTES = 16 * 1024 * 1024
"""Of an append-only table's file: two hundred thousand rows or so, of which a minute's are found by the row groups' statistics."""
ROW_GROUP = 20_000
FILE_ROWS = 20_000
"""Of an upserted table's file: a merge that touches one of its rows copies them all."""
OPEN = timedelta(minutes=30)
"""What lies this close to the newest row of an upserted table is left alone: the next batches merge into it."""
CHECKPOINT_EVERY = 20
"""Commits between Delta log checkpoints: who opens the table replays at most that many small files."""
LONG = 8_000
"""Commits: from here on twice as many between checkpoints, again whenever the log has doubled."""


def compacted(delta: DeltaTable, table: Table, small_files: int) -> int:
    """Puts small files together when there are more than `small_files` of them; returns how many files there are less.

    An append-only table's rows stay in their order, and its streams are told that no data changed. An upserted table, which nobody
    streams from, is put together by ranges of time, so that a file holds neighbouring windows and the newest are left alone; one
    without a time, of a row for each thing that stands somehow, is put together like the first.
    """
    before = len(delta.file_uris())
    if table.written is Written.APPEND or not table.stats:
        sizes = pa.table(delta.get_add_actions(flatten=True))["size_bytes"].to_pylist()
        if sum(size < FILE_BYTES for size in sizes) > small_files:
            properties = WriterProperties(max_row_group_size=ROW_GROUP)
            delta.optimize.compact(target_size=FILE_BYTES, max_concurrent_tasks=1, writer_properties=properties)
    else:
        for low, high in _scattered(delta, table.stats[0], small_files):
            _rewritten(delta, table, low, high)
    return before - len(delta.file_uris())


def _scattered(delta: DeltaTable, time: str, small_files: int) -> list[tuple[datetime, datetime]]:
    """Ranges of time, first and last instant, whose rows lie in several files and would fit in one."""
    files = pa.table(delta.get_add_actions(flatten=True)).select([f"min.{time}", f"max.{time}", "num_records"]).to_pylist()
    files = sorted((tuple(file.values()) for file in files if file[f"max.{time}"] is not None), key=lambda file: file[:2])
    newest = max((high for _, high, _ in files), default=None)
    settled = [file for file in files if file[1] < newest - OPEN]
    if sum(rows < FILE_ROWS for _, _, rows in settled) <= small_files:
        return []
    groups: list[list[tuple[datetime, datetime, int]]] = []
    for file in settled:
        if not groups or sum(rows for _, _, rows in groups[-1]) + file[2] > FILE_ROWS:
            groups.append([])
        groups[-1].append(file)
    return [(group[0][0], max(high for _, high, _ in group)) for group in groups if len(group) > 1]


def _rewritten(delta: DeltaTable, table: Table, low: datetime, high: datetime) -> None:
    """Writes the rows of a range of time again, as one file."""
    where = f"{table.stats[0]} >= '{low.astimezone(UTC).isoformat()}' AND {table.stats[0]} <= '{high.astimezone(UTC).isoformat()}'"
    rows = pa.table(QueryBuilder().register("t", delta).execute(f"SELECT * FROM t WHERE {where} ORDER BY {table.stats[0]}").read_all())
    write_deltalake(delta, conformed(rows, table), mode="overwrite", predicate=where)
    delta.update_incremental()


def checkpoint_span(version: int) -> int:
    """Commits between the checkpoints of a log that has come to a version. To make one, delta-rs looks through the whole folder of the
    log and names a week's removed files: as the log grows they become rarer, and cost a commit no more after a day than at first."""
    return CHECKPOINT_EVERY << (version // LONG).bit_length()


def summed_up(delta: DeltaTable, keep_days: int) -> int:
    """Writes a checkpoint of the log when it has grown by half of what lies between two, and removes commits older than `keep_days`;
    returns the commits summed up."""
    keeping = f"interval {keep_days} days"
    if delta.metadata().configuration.get("delta.logRetentionDuration") != keeping:
        delta.alter.set_table_properties({"delta.logRetentionDuration": keeping})
    grown = delta.version() - _checkpoint(delta)
    if grown < checkpoint_span(delta.version()) // 2:
        return 0
    delta.create_checkpoint()
    delta.cleanup_metadata()
    return grown


def _checkpoint(delta: DeltaTable) -> int:
    """The version of the newest checkpoint, -1 when nothing names one: the folder of a log may be long."""
    hint = Path(delta.table_uri.removeprefix("file://"), "_delta_log", "_last_checkpoint")
    try:
        return int(json.loads(hint.read_text())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def vacuumed(delta: DeltaTable, keep_days: int) -> int:
    """Removes data files that belong to no version younger than `keep_days`; returns how many."""
    # delta-rs would not have it below a week, whatever the table says.
    return len(delta.vacuum(retention_hours=24 * keep_days, dry_run=False, full=True, enforce_retention_duration=False))


def forgotten(delta: DeltaTable, before: datetime) -> int:
    """Deletes rows taken in before an instant; returns how many."""
    return delta.delete(f"ingested_at < '{before.astimezone(UTC).isoformat()}'")["num_deleted_rows"]
