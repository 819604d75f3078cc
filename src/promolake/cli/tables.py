"""The table dictionary, read off the contracts: `tables`. It needs no lake."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from promolake.cli import app, out
from promolake.core.errors import SettingsError
from promolake.serving.dictionary import Entry


class Shape(StrEnum):
    table = "table"
    markdown = "markdown"
    json = "json"


@app.command("tables")
def tables(
    name: Annotated[str | None, typer.Argument(help="A topic, table or view, e.g. gold.top_products. [default: all of them]")] = None,
    format: Annotated[Shape, typer.Option(help="How to print it; TABLES.md is `tables --format markdown`.")] = Shape.table,
) -> None:
    """Say what every topic, table and view means: its grain, its columns, how it is written and what it is made from."""
    from promolake.serving.dictionary_text import entry_markdown, markdown

    entries = the_dictionary()
    chosen = [_named(entries, name)] if name else entries
    match format:
        case Shape.json:
            print(json.dumps([asdict(entry) for entry in chosen], ensure_ascii=False, indent=1))
        case Shape.markdown:
            print(f"### {entry_markdown(chosen[0])}" if name else markdown(chosen), end="")
        case Shape.table if name:
            _detail(chosen[0])
        case Shape.table:
            _overview(chosen)


def the_dictionary() -> list[Entry]:
    """The dictionary of this house: its hallway, the books its parts keep, and its views."""
    from promolake.alerts.tables import ALERTS, STATES
    from promolake.engine.lateness import BOOKS
    from promolake.hallway import HALLWAY
    from promolake.quality.findings import AUDITS
    from promolake.serving.catalog import views
    from promolake.serving.dictionary import dictionary

    books = {"the scan": BOOKS, "the alerts": (ALERTS, STATES), "promolake audit": (AUDITS,)}
    return dictionary(HALLWAY, books, views().values())


def _named(entries: Iterable[Entry], name: str) -> Entry:
    found = {entry.name: entry for entry in entries}
    if name not in found:
        raise SettingsError(f"There is no topic, table or view {name}.", f"There are {', '.join(found)}.")
    return found[name]


def _overview(entries: Iterable[Entry]) -> None:
    grid = Grid("name", "kind", "what it holds", "one row per")
    for entry in entries:
        grid.add_row(entry.name, entry.kind, escape(entry.description), ", ".join(entry.grain))
    out.print(grid)


def _detail(entry: Entry) -> None:
    lines = (
        ("one row per", ", ".join(entry.grain)),
        ("written", entry.written),
        ("made by", entry.made_by),
        ("from", ", ".join(entry.reads)),
        ("feeds", ", ".join(entry.feeds)),
    )
    facts = "".join(f"\n{what:<12}{text}" for what, text in lines if text)
    out.print(f"{entry.name}\n{entry.description}{facts}", markup=False, soft_wrap=True)
    columns = Grid("column", "type", "meaning")
    for column in entry.columns:
        columns.add_row(column.name, escape(column.type), escape(column.description))
    if entry.columns:
        out.print(columns)
