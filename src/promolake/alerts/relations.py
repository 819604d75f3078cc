"""What rules look at: tables, and views as they stood when a minute ended.

Of a view a rule sees, minute by minute, what it said at the minute's end of the last `over` of its tables. So a ranking or a running total
of the whole promotion costs no more in its last hour than in its first, and history says what the stream said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

from promolake.core.table import Column, Table

MINUTE = timedelta(minutes=1)
AS_OF = "as_of"

Read = Callable[[Table, tuple[str, ...], datetime, datetime], pa.Table]
"""The rows of a table, these columns, from one minute until before another (UTC)."""

_ONES = {"string": "'x'", "timestamp": "TIMESTAMPTZ '2000-01-01 00:00:00Z'", "boolean": "true", "binary": "'x'::BLOB"}


@dataclass(frozen=True, kw_only=True)
class View(Table):
    """A view: `text` is its SELECT, and its first column `as_of`, the minute at whose end a row stood so.

    When a table of `reads` changes it is asked anew. Those of `later` another query fills when the minute is long over: they are taken
    for empty, and the columns they would have a part in are left out.
    """

    text: str
    reads: tuple[Table, ...]
    later: tuple[Table, ...]


def view(name: str, description: str, text: str, columns: Iterable[Column], reads: Iterable[Table], later: Iterable[Table]) -> View:
    """The view as rules may look at it; `columns` are all it has."""
    text = " ".join(re.sub(r"--.*", "", text).split())
    read, never = tuple(reads), tuple(later)
    settled = _settled(text, columns, read, never) if never else columns
    as_of = Column(AS_OF, "timestamp", "The minute at whose end the row stood so, UTC.")
    return View(name, description, (as_of, *settled), text=text, reads=read, later=never)


def _settled(text: str, columns: Iterable[Column], reads: tuple[Table, ...], later: tuple[Table, ...]) -> list[Column]:
    """The columns that stay as they are when a row comes into one of the `later` tables, found by trying."""
    with _planner((*reads, *later)) as planner:
        answers = []
        for filled in (reads, later):
            for table in filled:
                planner.execute(f"INSERT INTO {table.name} VALUES ({', '.join(_ONES.get(column.type, '1') for column in table.columns)})")
            answers.append(planner.sql(text).to_arrow_table())
    without, with_later = answers
    return [column for column in columns if without[column.name].equals(with_later[column.name])]


def time_column(table: Table) -> str:
    """The column that says which minute a row belongs to: when it stood so, its window, or when its batch was cut."""
    return next(name for name in (AS_OF, "window_start", "ingested_at") if name in table.column_names)


def select(view: View, over: timedelta, minute: datetime) -> str:
    """An SQL statement for the rows of a view that were about the minute when it ended: those whose window was not over before."""
    text = view.text
    for table in (*view.reads, *view.later):
        when = time_column(table) if table in view.reads else ""
        end = minute + MINUTE
        rows = f"{when} >= {literal(end - over)} AND {when} < {literal(end)}" if when else "false"
        text = re.sub(rf"\b{re.escape(table.name)}\b", f"(SELECT * FROM {table.name} WHERE {rows})", text)
    columns = ", ".join(name for name in view.column_names if name != AS_OF)
    return f"SELECT {literal(minute)} AS {AS_OF}, {columns} FROM ({text}) AS stood WHERE window_end > {literal(minute)}"


def stood(view: View, over: timedelta, minutes: Sequence[datetime], read: Read) -> pa.Table:
    """The rows of a view as it stood at the end of each minute (UTC, in order)."""
    with _planner((*view.reads, *view.later)) as asking:
        for table in view.reads:
            named = tuple(name for name in table.column_names if re.search(rf"\b{name}\b", view.text) or name == time_column(table))
            asking.register("rows", read(table, named, minutes[0] + MINUTE - over, minutes[-1] + MINUTE))
            asking.execute(f"INSERT INTO {table.name} BY NAME SELECT * FROM rows")
            asking.unregister("rows")
        asking.execute(f"CREATE TABLE stood ({ddl(view)})")
        for minute in minutes:
            asking.execute(f"INSERT INTO stood {select(view, over, minute)}")
        return asking.sql("FROM stood").to_arrow_table()


def _planner(tables: Iterable[Table]) -> duckdb.DuckDBPyConnection:
    """A DuckDB with the tables, empty."""
    planner = sealed()
    for table in tables:
        planner.execute(f"CREATE SCHEMA IF NOT EXISTS {table.layer}; CREATE TABLE {table.name} ({ddl(table)})")
    return planner


def sealed() -> duckdb.DuckDBPyConnection:
    """A DuckDB in UTC, with no access to files or settings."""
    connection = duckdb.connect(":memory:")
    for setting in ("SET TimeZone = 'UTC'", "SET threads = 1", "SET enable_external_access = false", "SET lock_configuration = true"):
        connection.execute(setting)
    return connection


def ddl(table: Table) -> str:
    """The table's columns in DuckDB's words."""
    words = {"string": "VARCHAR", "timestamp": "TIMESTAMPTZ", "binary": "BLOB"}
    return ", ".join(f'"{column.name}" {words.get(column.type, column.type.upper())}' for column in table.columns)


def literal(time: datetime) -> str:
    """A time as SQL writes it, in a session in UTC."""
    return f"TIMESTAMP '{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"
