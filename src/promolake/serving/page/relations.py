"""Small relations in memory for the tiles to ask, kept up file by file: a data file never changes, so each is read once.

`sums.<table>` has what running totals need, summed per file by sums/<table>.sql, so that thirty days cost no more than a minute.
`recent.<table>` has the table's rows of the hour that ends with its newest minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from promolake.core.errors import SettingsError
from promolake.serving import sql

WINDOW = "window_start"
MINUTE = timedelta(minutes=1)
RECENT = timedelta(hours=1)

Newest = Mapping[str, datetime | None]  # by file, its newest window_start


class Relations:
    """A sealed DuckDB with the schemas `sums` and `recent`. One thread at a time."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, pa.Table]] = {}
        self._filled: dict[str, tuple[frozenset[str], datetime | None]] = {}
        self._answers: dict[str, tuple[object, list[dict[str, Any]]]] = {}
        self._duckdb = sql.sealed(("sums", "recent"), {"threads": 1})  # the stream needs the cores more

    def rows(self, tile: str, relation: str) -> list[dict[str, Any]]:
        """The answer of the file of tiles/, which reads that relation alone."""
        filled, answer = self._answers.get(tile, (None, []))
        if filled is not self._filled[relation]:
            answer = self._duckdb.sql(_text("tiles", tile)).to_arrow_table().to_pylist()
            self._answers[tile] = (self._filled[relation], answer)
        return answer

    def fill(self, relation: str, table: DeltaTable, is_newest: bool) -> datetime | None:
        """Makes the relation that of the table as it is opened; returns the end of its newest minute (UTC), None when it has none.

        `is_newest` says that what other files held will not be asked for again.
        """
        files = _files(table)
        newest = max((window for window in files.values() if window), default=None)
        end = newest + MINUTE if newest else None
        if self._filled.get(relation) != (frozenset(files), end):
            self._register(relation, table, files, end, is_newest)
            self._filled[relation] = (frozenset(files), end)
        return end

    def _register(self, relation: str, table: DeltaTable, files: Newest, end: datetime | None, is_newest: bool) -> None:
        kind, _, name = relation.partition(".")
        known = self._parts.get(relation, {})
        if kind == "sums":
            parts = {file: known.get(file) or self._summed(table, [file], name) for file in files}
            parts = parts or {"": self._summed(table, [], name)}
            rows = pa.concat_tables(parts.values())
        else:
            since = end - RECENT if end else datetime.max.replace(tzinfo=UTC)
            known = known if is_newest else {}  # of a file only the rows of the hour then recent are kept
            reaching = [file for file, window in files.items() if window and window >= since]
            parts = {file: known.get(file) or _read(table, [file], since) for file in reaching}
            rows = _since(pa.concat_tables(parts.values()), since) if parts else _read(table, [], since)
        if is_newest:
            self._parts[relation] = parts
        elif kind == "sums":
            self._parts[relation] = known | parts
        self._duckdb.register(f"{relation} rows", rows)
        self._duckdb.execute(f'CREATE OR REPLACE VIEW {relation} AS SELECT * FROM "{relation} rows"')

    def _summed(self, table: DeltaTable, files: list[str], name: str) -> pa.Table:
        self._duckdb.register("file", _dataset(table, files))
        return self._duckdb.sql(_text("sums", name)).to_arrow_table()


def _files(table: DeltaTable) -> Newest:
    if "deletionVectors" in (table.protocol().reader_features or ()):
        raise SettingsError(f"{table.table_uri} has deletion vectors, which the page cannot read.", "Rewrite the table without them.")
    actions = pa.table(table.get_add_actions(flatten=True))
    paths = actions["path"].to_pylist()
    windows = actions[f"max.{WINDOW}"].to_pylist() if f"max.{WINDOW}" in actions.column_names else [None] * len(paths)
    return {path: window and window.astimezone(UTC) for path, window in zip(paths, windows, strict=True)}


def _dataset(table: DeltaTable, files: list[str]) -> ds.Dataset:
    root = table.table_uri.removeprefix("file://").rstrip("/")
    return ds.dataset([f"{root}/{file}" for file in files], schema=pa.schema(table.schema().to_arrow()), format="parquet")


def _read(table: DeltaTable, files: list[str], since: datetime) -> pa.Table:
    return _dataset(table, files).to_table(filter=ds.field(WINDOW) >= _moment(since))


def _since(rows: pa.Table, since: datetime) -> pa.Table:
    return rows.filter(pc.greater_equal(rows[WINDOW], _moment(since)))


def _moment(at: datetime) -> pa.Scalar:
    return pa.scalar(at, pa.timestamp("us", "UTC"))


@cache
def _text(directory: str, name: str) -> str:
    return (resources.files("promolake.serving.page") / directory / f"{name}.sql").read_text(encoding="utf-8")
