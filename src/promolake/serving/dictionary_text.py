"""The dictionary as Markdown: TABLES.md, and one entry for a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from promolake.serving.dictionary import Entry

_HEAD = """\
# The tables

Generated from the contracts by `promolake tables --format markdown`; a test holds it to them. One entry in a terminal:
`promolake tables gold.top_products`. Names are the same in `promolake sql`, on the page, over JDBC and in notebooks. All times are UTC.
"""
_WRITTEN = {
    "append": "append: rows are added and never touched again",
    "accumulate": "accumulate: figures are added to the row of the grain",
    "replace": "replace: a row takes the place of the row of its grain",
}


def markdown(entries: Iterable[Entry]) -> str:
    """The whole dictionary, layer by layer; ends in a newline."""
    layers = groupby(entries, key=lambda entry: entry.layer)
    return _HEAD + "".join(f"\n## {layer}\n" + "".join(f"\n### {entry_markdown(entry)}" for entry in of) for layer, of in layers)


def entry_markdown(entry: Entry) -> str:
    """One entry: its name, what it means, how it comes about, and its columns; ends in a newline."""
    facts = [
        ("One row per", _names("", entry.grain)),
        ("Written", _WRITTEN.get(entry.written, entry.written)),
        ("Made by", f"{entry.made_by}{_names(' from ', entry.reads)}"),
        ("Feeds", _names("", entry.feeds)),
        ("Asked", "" if entry.shown or entry.kind == "topic" else "not by SQL: it holds personal data in clear"),
    ]
    lines = [f"{entry.name}\n\n{entry.description}\n", *(f"- {what}: {text}" for what, text in facts if text)]
    if entry.columns:
        kind = "field" if entry.kind == "topic" else "column"
        lines += ["", f"| {kind} | type | meaning |", "|---|---|---|"]
        lines += [f"| {' | '.join(map(_cell, (f'`{column.name}`', column.type, column.description)))} |" for column in entry.columns]
    return "\n".join(lines) + "\n"


def _names(before: str, names: tuple[str, ...]) -> str:
    return f"{before}{', '.join(f'`{name}`' for name in names)}" if names else ""


def _cell(text: str) -> str:
    """Text that cannot end its cell, nor be taken for an HTML tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")
