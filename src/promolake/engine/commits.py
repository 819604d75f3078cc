"""Commits to a Delta log by this house's own hand: a Parquet file, and a few lines of JSON that name it (Delta PROTOCOL.md, "Actions").

delta-rs takes six milliseconds of a core for a commit of whatever size, most of them to take in what it has just written; this takes one.
A micro-batch makes two dozen. It is done only to tables that stand as this house creates them: those with a feature more are delta-rs's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.delta_log import ENGINE, FOLDER
from promolake.whole_file import write_new

Action = dict[str, dict[str, Any]]
_READER, _WRITER = 1, 2  # of the protocol: no feature but appends and what may not be NULL, which no column here has
_YEARS = (np.datetime64("0001", "ms"), np.datetime64("9999", "ms"))


@dataclass
class Head:
    """What the next commit must know of a table: its version, each app's last transaction as far as it was `committed` or asked for since
    (None: there is none), and whether the table stands as this house creates tables."""

    version: int
    is_plain: bool
    committed: dict[str, int | None] = field(default_factory=dict)


def is_plain(delta: DeltaTable, table: Table, configuration: Sequence[str]) -> bool:
    """Whether an `add` is all that an append to it takes, and the table has the columns its contract says."""
    protocol, about = delta.protocol(), delta.metadata()
    return (
        (protocol.min_reader_version, protocol.min_writer_version) == (_READER, _WRITER)
        and not about.partition_columns
        and set(about.configuration) <= set(configuration)
        and pa.schema(delta.schema()).equals(arrow_schema(table))
    )


def added(folder: Path, rows: pa.Table, table: Table) -> Action:
    """Writes the rows (with the table's columns) into a file of the table that no commit names yet; returns the action that will."""
    buffer = pa.BufferOutputStream()
    pq.write_table(rows, buffer, store_schema=False)
    whole = buffer.getvalue()
    file = folder / f"part-00000-{uuid4()}-c000.snappy.parquet"
    staged = file.with_name(f"{file.name}#1")  # as delta-rs names what is not whole yet
    try:
        staged.write_bytes(whole)
        staged.rename(file)
    except OSError:
        staged.unlink(missing_ok=True)
        raise
    return {
        "add": {
            "path": file.name,
            "partitionValues": {},
            "size": whole.size,
            "modificationTime": _now(),
            "dataChange": True,
            "stats": json.dumps(_statistics(rows, table.stats)),
        }
    }


def removed(path: str) -> Action:
    """The action that takes a file out of the table; it stays for those who read an earlier version."""
    return {"remove": {"path": path, "deletionTimestamp": _now(), "dataChange": True}}


def put(folder: Path, version: int, app: str, app_version: int, files: Sequence[Action]) -> None:
    """Makes the files part of the table, all or none, and records the transaction. Raises FileExistsError when the version is taken."""
    kinds = [kind for action in files for kind in action]
    info = {
        "timestamp": _now(),
        "operation": "MERGE" if "remove" in kinds else "WRITE",
        "operationParameters": {} if "remove" in kinds else {"mode": "Append"},
        "engineInfo": ENGINE,
        # The doctor knows by these whether a commit was cut off (delta_log.py).
        "operationMetrics": {"num_added_files": kinds.count("add"), "num_removed_files": kinds.count("remove")},
    }
    lines = [{"commitInfo": info}, *files, {"txn": {"appId": app, "version": app_version}}]
    write_new(folder / FOLDER / f"{version:020}.json", "\n".join(json.dumps(line, separators=(",", ":")) for line in lines))


def _statistics(rows: pa.Table, columns: Sequence[str]) -> dict[str, Any]:
    """The `stats` of an add (PROTOCOL.md, "Per-file Statistics"): of these columns, which are whole numbers and instants."""
    lows, highs = {}, {}
    for name in columns:
        found = pc.min_max(rows[name].cast(pa.int64()))
        if not found["min"].is_valid:
            continue
        low, high = found["min"].as_py(), found["max"].as_py()
        if not pa.types.is_timestamp(rows[name].type):
            lows[name], highs[name] = low, high
        elif all(_YEARS[0] <= np.datetime64(micros, "us") < _YEARS[1] for micros in (low, high)):
            lows[name], highs[name] = _instant(low // 1000), _instant(-(-high // 1000))  # in milliseconds: around the microseconds
    nulls = {name: rows[name].null_count for name in columns}
    return {"numRecords": rows.num_rows, "minValues": lows, "maxValues": highs, "nullCount": nulls}


def _instant(millis: int) -> str:
    return f"{np.datetime64(millis, 'ms')}Z"


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
