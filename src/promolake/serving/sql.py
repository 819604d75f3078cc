"""Read-only SQL over the lake without a JVM: DuckDB in memory over the Delta tables, names as in Spark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from promolake.core.errors import SettingsError
from promolake.serving import catalog, sketches

# Nothing but what is registered can be read, nothing can be written, and no statement can change that.
_SEALED = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "temp_directory": "",
}
_ONE_QUERY = "Write one SELECT or WITH ... SELECT."


@dataclass(frozen=True)
class Relation:
    """Something to query: `name` as it stands in SQL."""

    name: str
    kind: Literal["table", "view"]
    description: str


class Reader:
    """SQL over the tables under `lake_root` (one directory per `layer/name`) and the views of serving/views; times in UTC.

    Every query reads the newest version of each table it names, and only those are opened. One thread at a time. `layers` are those
    that may be asked; `settings` are DuckDB's, limits above all.
    """

    def __init__(
        self, lake_root: Path, layers: Iterable[str] = catalog.LAYERS, settings: Mapping[str, str | int] = MappingProxyType({})
    ) -> None:
        self._root = lake_root
        self._layers = tuple(layers)
        self._views = catalog.views()
        self._duckdb = sealed(catalog.LAYERS, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._duckdb.close()

    def interrupt(self) -> None:
        """Ends the query that another thread waits for, with a SettingsError there."""
        self._duckdb.interrupt()

    def query(self, sql: str, most: int | None = None) -> pa.Table:
        """The answer to one SELECT, or its first `most` rows; timestamps in UTC, money as decimal128.

        Raises SettingsError when `sql` is not exactly one query, cannot be answered, or names a table that is not there or not shown.
        """
        named = self._named(sql)
        paths = self._paths()
        if not paths:
            raise SettingsError(f"The lake {self._root} holds no table yet.", "Fill it with `promolake run` or `promolake demo`.")
        self._open(named, paths)
        try:
            answer = self._duckdb.sql(sql)
            return (answer if most is None else answer.limit(most)).to_arrow_table()
        except duckdb.Error as error:
            remedy = self._there_are(paths) if "Table with name" in str(error) else ""
            raise SettingsError(f"The query cannot be answered: {_reason(error)}.", remedy) from None

    def tables(self) -> list[Relation]:
        """The tables and views that can be queried now; a view appears once every table it reads does."""
        paths = self._paths()
        there = [Relation(name, "table", DeltaTable(path).metadata().description or "") for name, path in paths.items()]
        return there + [Relation(view.name, "view", view.description) for view in self._answerable(paths)]

    def _paths(self) -> dict[str, Path]:
        return {name: path for name, path in catalog.tables(self._root).items() if name.partition(".")[0] in self._layers}

    def _answerable(self, paths: dict[str, Path]) -> list[catalog.View]:
        return [view for view in self._views.values() if view.reads <= paths.keys()]

    # --- what a statement is -------------------------------------------------------------------------------------------------

    def _named(self, sql: str) -> set[str]:
        """The tables and views a query names with their schema, in lower case; names without one are its own WITHs.

        Raises SettingsError for anything but one query.
        """
        try:
            statements = self._duckdb.extract_statements(sql)
        except duckdb.Error as error:
            raise SettingsError(f"This is not SQL that can be read: {_reason(error)}.", _ONE_QUERY) from None
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SettingsError("Only one query is taken at a time, and nothing that changes anything.", _ONE_QUERY)
        tree = self._duckdb.sql("SELECT json_serialize_sql($sql)", params={"sql": sql}).fetchall()[0][0]
        nodes = list(_nodes(json.loads(tree)))
        if any(node.get("type") == "SHOW_REF" for node in nodes):
            raise SettingsError("SHOW, DESCRIBE and SUMMARIZE are not taken.", _ONE_QUERY)
        names = [(node["catalog_name"], node["schema_name"], node["table_name"]) for node in nodes if node.get("type") == "BASE_TABLE"]
        return {".".join(filter(None, name)).lower() for name in names if name[1]}

    # --- what it names ---------------------------------------------------------------------------------------------------------

    def _open(self, names: Iterable[str], paths: dict[str, Path]) -> None:
        for name in sorted(names):
            if catalog.in_clear(name):
                raise SettingsError(f"{name} holds personal data in clear and is not shown here.", "Query silver, where it is masked.")
            if name in self._views:
                view = self._views[name]
                self._open(view.reads, paths)
                self._duckdb.execute(f"CREATE OR REPLACE VIEW {name} AS {view.text}")
            elif name in paths:
                self._register(name, paths[name])
            else:
                raise SettingsError(f"There is no table {name}.", self._there_are(paths))

    def _register(self, name: str, path: Path) -> None:
        try:
            rows = DeltaTable(path).to_pyarrow_dataset()
        except DeltaError as error:
            raise SettingsError(f"{name} cannot be read without Spark: {_reason(error)}.") from None
        self._duckdb.register(f"{name} rows", rows)
        columns = ", ".join(map(_selected, rows.schema))
        self._duckdb.execute(f'CREATE OR REPLACE VIEW {name} AS SELECT {columns} FROM "{name} rows"')

    def _there_are(self, paths: dict[str, Path]) -> str:
        return f"There are {', '.join([*paths, *(view.name for view in self._answerable(paths))])}."


def sealed(schemas: Iterable[str], settings: Mapping[str, str | int] = MappingProxyType({})) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory with the schemas and Spark's sketch functions that reads only what is registered, and stays so; times in UTC."""
    connection = duckdb.connect(config=_SEALED | dict(settings))
    connection.execute("SET TimeZone = 'UTC'")
    for schema in schemas:
        connection.execute(f"CREATE SCHEMA {schema}")
    sketches.install(connection)
    connection.execute("SET lock_configuration = true")
    return connection


def _selected(column: pa.Field) -> str:
    """The column; text stands behind a function that keeps filters on it out of Arrow, while those on times still skip files.

    In files that delta-rs merged, text has the type string_view, and Arrow fails to compare it when it skips row groups (pyarrow 26).
    """
    name = f'"{column.name}"'
    return f"substring({name}, 1) AS {name}" if pa.types.is_string(column.type) else name


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON tree."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".!")
