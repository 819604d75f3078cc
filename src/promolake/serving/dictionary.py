"""The dictionary of the lake, read off the contracts: what each topic, table and view means, and which flow makes it from what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import duckdb

from promolake.core.flow import Forward, Hallway, Ingest, Reads
from promolake.core.table import Column, Table
from promolake.core.topic import Topic
from promolake.serving import catalog, sketches
from promolake.serving.catalog import View

# Spark's names for the types of the contracts, and DuckDB's.
_TYPES = {
    "string": "VARCHAR",
    "bigint": "BIGINT",
    "int": "INTEGER",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}


@dataclass(frozen=True)
class Entry:
    """One topic, table or view. `reads` and `feeds` are names of other entries; `shown`: whether SQL answers it."""

    name: str
    kind: Literal["topic", "table", "view"]
    description: str
    grain: tuple[str, ...]
    written: str
    made_by: str
    columns: tuple[Column, ...]
    reads: tuple[str, ...]
    feeds: tuple[str, ...] = ()
    shown: bool = True

    @property
    def layer(self) -> str:
        """`topics`, `views`, or the part before the dot of a table."""
        return self.name.partition(".")[0] if self.kind == "table" else f"{self.kind}s"


def dictionary(hallway: Hallway, books: Mapping[str, Iterable[Table]], views: Iterable[View]) -> list[Entry]:
    """Every topic, table and view, in the order data walks: topics, bronze, silver, gold, views, ops.

    `books` are the tables outside the hallway, by who writes them. JSON-able through dataclasses.asdict.
    """
    kept = [(table, f"kept by {writer}") for writer, tables in books.items() for table in tables]
    known = [*hallway.tables, *(table for table, _ in kept)]
    entries = [
        *(_topic(flow.topic) for flow in hallway.ingests),
        *(_forwarded(flow) for flow in hallway.forwards),
        *(_table(flow.bronze, f"the topic {flow.topic.name}, raw", (flow.topic.name,)) for flow in hallway.ingests),
        *(entry for flow in hallway.ingests for entry in _entity(flow)),
        *(_metric(flow.table, "a metric", flow.reads) for flow in hallway.metrics),
        *(_metric(flow.table, "a stream-stream join", flow.reads) for flow in hallway.joins),
        *(_view(view, known) for view in views),
        *(_table(table, maker, ()) for table, maker in kept),
    ]
    return [replace(entry, feeds=tuple(other.name for other in entries if entry.name in other.reads)) for entry in entries]


def _topic(topic: Topic) -> Entry:
    columns = tuple(Column(field.name, field.kind, _promised(field.description, field.required, field.sensitive)) for field in topic.fields)
    written = f"{topic.codec}, keyed by {topic.key}"
    return Entry(topic.name, "topic", topic.description, (), written, "its producers", columns, (), shown=False)


def _promised(description: str, required: bool, sensitive: str | None) -> str:
    marks = ("Required." if required else "", "Personal: never leaves bronze in clear." if sensitive else "")
    return " ".join(filter(None, (description, *marks)))


def _forwarded(flow: Forward) -> Entry:
    description, reads = f"What {flow.name} sends on, at least once.", (flow.reads.name,)
    return Entry(flow.topic, "topic", description, (), "key and value as text", _module("gold", flow.name), (), reads, shown=False)


def _entity(flow: Ingest) -> Iterator[Entry]:
    module = _module("silver", flow.table.short)
    yield _table(flow.table, f"{module}: valid, once within {flow.dedup}, masked", (flow.bronze.name,))
    yield _table(flow.quarantine, f"{module}: what breaks a rule or a field's promise, whole", (flow.bronze.name,))


def _metric(table: Table, what: str, reads: Iterable[Reads]) -> Entry:
    return _table(table, f"{_module('gold', table.short)}: {what}", tuple(read.table.name for read in reads))


def _table(table: Table, made_by: str, reads: tuple[str, ...]) -> Entry:
    shown = not catalog.in_clear(table.name)
    return Entry(table.name, "table", table.description, table.grain, table.written.value, made_by, table.columns, reads, shown=shown)


def _view(view: View, known: Iterable[Table]) -> Entry:
    reads = tuple(sorted(view.reads))
    made_by = f"serving/views/{view.name.partition('.')[2]}.sql"
    return Entry(view.name, "view", view.description, (), "on asking", made_by, columns(view, known), reads)


def columns(view: View, known: Iterable[Table]) -> tuple[Column, ...]:
    """The view's columns with types and meanings; `known` are the tables it reads, and may be others."""
    types = _types(view, tuple(table for table in known if table.name in view.reads))
    return tuple(Column(name, kind, view.meanings.get(name, "")) for name, kind in types.items())


def _module(layer: str, name: str) -> str:
    return f"{layer}/{name}.py"


@cache
def _types(view: View, tables: tuple[Table, ...]) -> Mapping[str, str]:
    """The view's columns with their types, by having it planned over empty tables."""
    with duckdb.connect() as planner:
        sketches.install(planner)
        for table in tables:
            planner.execute(f"CREATE SCHEMA IF NOT EXISTS {table.layer}")
            columns = ", ".join(f"{column.name} {_in_duckdb(column.type)}" for column in table.columns)
            planner.execute(f"CREATE TABLE {table.name} ({columns})")
        rows = planner.execute(f"DESCRIBE {view.text}").fetchall()
    return {name: _in_spark(kind) for name, kind, *_ in rows}


def _in_duckdb(kind: str) -> str:
    """The type's name in DuckDB; `decimal(28,4)` is the same in both."""
    item = re.fullmatch(r"array<(\w+)>", kind)
    return f"{_in_duckdb(item[1])}[]" if item else _TYPES.get(kind, kind)


def _in_spark(kind: str) -> str:
    return {theirs: ours for ours, theirs in _TYPES.items()}.get(kind, kind.lower())
